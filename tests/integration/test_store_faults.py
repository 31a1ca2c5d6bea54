"""Every store under faults, with equality to the truth: roles killed, the server killed and hung under load, and two
compute nodes that write the same records at once.

The seed is printed; ``DRTC_SEED=N`` repeats a run as far as the machine's own timing lets it. DRTC_LONG=1 gives a
storm of a minute over a million events, and a server that is away for a minute.
"""
from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any, Iterator, Mapping

import msgpack
import psutil
import pytest

from drtc.settings import settings_of
from drtc.stores import settings_class

from ..chaos import scenarios
from ..chaos.crew import Failed, Seat
from ..chaos.job import MANY_GROUPS
from ..chaos.trial import Outcome, Shape, Storm, Trial, files_source
from ..chaos.truth import Events, make, stored
from ..contract.backends import BACKENDS, SECOND, Backend, parameters
from ..services import Servers, Service

SEED = int(os.environ.get("DRTC_SEED") or random.SystemRandom().randrange(10 ** 6))
LONG = os.environ.get("DRTC_LONG") == "1"
AWAY_SECONDS = 60.0 if LONG else 4.0
ROUTE = "csv:0"
MB = 1 << 20
BULK = b"quiet" + b"." * 3000  # of each event that yields nothing: far more waits than the roles may hold
ALLOWANCE = 40 * MB  # what the roles together may grow by while the store is away: their budgets, and some slack
EVENTS = 30_000  # of a trial whose server is struck
LOOK_SECONDS, NOTICE_SECONDS = 0.1, 20.0
DEADLINE = 240.0  # seconds of one trial, on a machine that has other things to do
SLOW = SECOND | {"cassandra", "mongodb", "redis_cluster"}  # minutes here, and the short suite has the others
READY = {"collector": "partition assigned", "coordinator": "listening", "compute": "listening"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(params=parameters())
def backend(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[Backend]:
    with BACKENDS[request.param](tmp_path, servers) as found:
        if not found.shared:
            pytest.skip("this store is one process's own")
        yield found


@pytest.fixture
def server(backend: Backend) -> Service:
    """The store's server. One that is not ours says so when it is struck."""
    if backend.server is None:
        pytest.skip("this store has no server")
    return backend.server


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    print(f"DRTC_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


def source(directory: Path, events: Events, **settings: str) -> dict[str, Any]:
    """The events in files of their own, a source partition each."""
    directory.mkdir()
    for number, lines in enumerate(events.lines):
        (directory / f"part-{number}.csv").write_bytes(b"".join(line + b"\n" for _, line in lines))
    return {**files_source(directory / "part-*.csv"), **settings}


def impatience(backend: Backend) -> Mapping[str, str]:
    """Settings with which the roles do not just wait for a server that hangs: saves of unknown outcome are repeated."""
    keys = {each.key for each in settings_of(settings_class(backend.section["type"]))}
    return {**({"timeout": "1"} if "timeout" in keys else {}), **backend.impatient}


def live(trial: Trial) -> Outcome:
    outcome = trial.run()
    print(scenarios.told(trial.shape.store["type"], outcome))
    return outcome


def test_exact_whoever_is_killed(backend: Backend, dice: random.Random, tmp_path: Path) -> None:
    """Roles die around the store's calls, and at random times besides. The faults of one trial are those that nobody
    got to in the one before, which read the same events into another version of the view."""
    events = make(SEED, 1_000_000 if LONG else 40_000, 2)
    given = source(tmp_path / "events", events)
    sqlite = backend.section["type"] == "sqlite"
    faults = [fault for fault in scenarios.kills("worker", dice) if sqlite or ":write:" not in fault]
    faults += dice.sample(scenarios.kills("compute", dice), 3) + dice.sample(scenarios.kills("collector", dice), 3)
    storm: Storm | None = scenarios.storm(SEED, 60 if LONG else 4, 0.8)
    for version in (1, 2, 3):
        shape = Shape(ROUTE, version=version, store=backend.section)
        outcome = live(Trial(tmp_path / f"trial-{version}", shape, given, events.truth, faults, storm,
                             deadline=DEADLINE))
        assert outcome.verdict.right, outcome.verdict
        faults, storm = scenarios.sooner(outcome.missed), None
        if not faults:
            return
    pytest.fail(f"nobody got to these points: {faults}")


@pytest.mark.parametrize("backend", parameters(SLOW), indirect=True)
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_the_server_goes_away_under_load(how: str, backend: Backend, server: Service, tmp_path: Path) -> None:
    """The roles wait for it, within their memory, and go on by themselves when it is back."""
    events = make(SEED, EVENTS, 2, quiet=BULK)
    section = {**backend.section, **(impatience(backend) if how == "frozen" else {})}
    shape = Shape(ROUTE, batch_bytes="64K", store=section)
    given = source(tmp_path / "events", events, chunk_bytes="64K")
    trial = Trial(tmp_path / "trial", shape, given, events.truth, deadline=DEADLINE + AWAY_SECONDS)
    outage = Outage(trial, server, how)
    trial.beside = outage
    try:
        outcome = live(trial)
    finally:
        outage.end()
    print(outage)
    assert outage.over, "the run was at its end before the server was struck"
    if how == "killed" and backend.loses:
        print(f"what a killed server loses: {backend.loses}")
        assert not outcome.verdict.doubled and not outcome.verdict.wrong, outcome.verdict
        assert counted(trial) > 0.9 * EVENTS - outage.seen, "what was stored after it came back is lost too"
    else:
        assert outcome.verdict.right, outcome.verdict
    assert [seat.begun for seat in trial.crew.seats if seat.role != "collector"] == [1, 1], "somebody had to help"
    assert "worker died" not in trial.crew.log(trial.crew.of("compute")[0]).read_text()
    assert outage.noticed, "nobody said what they waited for"
    assert outage.grown < ALLOWANCE, "the roles' memory grows while the store is away"


@pytest.mark.parametrize("backend", parameters(SLOW), indirect=True)
def test_two_nodes_write_the_same_records(backend: Backend, tmp_path: Path) -> None:
    events = make(SEED, 24_000, 4, groups=MANY_GROUPS)
    trial = meeting(tmp_path, events, backend)
    outcome = live(trial)
    assert outcome.verdict.right, outcome.verdict
    assert len(outcome.handled) == 2 and min(outcome.handled.values()) > 0, "one node did it alone"
    with trial.results() as (store, view):
        lanes = [len(msgpack.unpackb(row.hidden)[0]) // 2 for row in store.scan(view)
                 if str(row.id.key).startswith("group")]
    assert len(lanes) == MANY_GROUPS and min(lanes) > 2, "a record was met by few lanes"


def test_without_versions_two_nodes_lose_events(tmp_path: Path, servers: Servers) -> None:
    """The suite can fail: what it is to notice, it notices."""
    events = make(SEED, 24_000, 4, groups=MANY_GROUPS)
    with BACKENDS["sqlite"](tmp_path, servers) as backend:
        outcome = live(meeting(tmp_path, events, backend, "versions"))
    assert outcome.verdict.lost and not outcome.verdict.doubled, outcome.verdict


def meeting(directory: Path, events: Events, backend: Backend, broken: str = "") -> Trial:
    """Two nodes, and records that every lane touches."""
    shape = Shape(ROUTE, slots=8, computes=2, job="Meeting", store=backend.section)
    return Trial(directory / "trial", shape, source(directory / "events", events), events.truth, broken=broken,
                 deadline=DEADLINE)


class Outage:
    """Strikes the server when a tenth of the events is stored, and heals it ``AWAY_SECONDS`` later, when somebody has
    noticed. Looks at the roles' memory meanwhile, and holds it against what they took when they were ready and had
    read nothing yet."""

    def __init__(self, trial: Trial, server: Service, how: str) -> None:
        self.over = False
        self.seen = 0  # events stored when it was struck
        self.grown = 0  # bytes, of the roles together, their workers apart
        self._trial, self._server, self._how = trial, server, how
        self._ready: dict[str, int] = {}  # bytes, by seat
        self._looked = 0.0
        self._until: float | None = None

    def __call__(self, now: float) -> None:
        self._await_ready()
        if self.over or now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        if self._until is None:
            self.seen = counted(self._trial)
            if self.seen > EVENTS / 10:
                self._strike()
        else:
            sizes = {seat.name: resident(seat) for seat in self._trial.crew.seats}
            self.grown = max(self.grown, sum(size - self._ready[name] for name, size in sizes.items()))
            if now > self._until + NOTICE_SECONDS or now > self._until and self.noticed:
                self.end()

    @property
    def noticed(self) -> bool:
        """Whether a node has said that its store is away."""
        crew = self._trial.crew
        return any("store waits" in crew.log(seat).read_text("utf-8", "replace") for seat in crew.of("compute"))

    def end(self) -> None:
        """Heals what was struck. Called in every case."""
        if self._until is not None and not self.over:
            self.over = True
            if self._how == "killed":
                self._server.start()
            else:
                self._server.thaw()

    def _await_ready(self) -> None:
        for seat in self._trial.crew.seats:
            log = self._trial.crew.log(seat)
            if seat.name not in self._ready and READY[seat.role] in log.read_text("utf-8", "replace"):
                self._ready[seat.name] = resident(seat)

    def _strike(self) -> None:
        if self._how == "killed":
            self._server.kill()
        else:
            self._server.freeze()
        self._until = time.monotonic() + AWAY_SECONDS

    def __str__(self) -> str:
        return (f"{self._server.name} {self._how} after {self.seen:,} events for {AWAY_SECONDS:g} s;"
                f" the roles grew by {self.grown / MB:.1f} MB")


def counted(trial: Trial) -> int:
    """Events that are stored: every one is in one group."""
    with trial.results() as (store, view):
        found = stored(store, view)
    return sum(account.events for key, account in found.items() if key.startswith("group"))


def resident(seat: Seat) -> int:
    """Bytes of its process.

    Raises:
        Failed: it has ended.
    """
    try:
        size: int = psutil.Process(seat.running.pid).memory_info().rss
    except psutil.NoSuchProcess:
        raise Failed(f"{seat.name} has ended") from None
    return size
