"""``membership = zookeeper``: one thread keeps us registered and reads who is there; nobody else ever waits for it.

States of the session, as kazoo tells them, and what is done:

CONNECTED   we are registered; every role that somebody asked for is watched, and read again now and then
SUSPENDED   the servers do not answer: ``members`` is what was known last, work goes on
LOST        the session has ended, and our node with it: with the next session everything is registered and read anew;
            until that has been read ``members`` is what was known last

kazoo's callbacks only wake the thread: a call to ZooKeeper inside of them could wait for itself.
"""
from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Callable

from ..errors import ClusterError
from ..observe.logs import Log
from .ensemble import parse_ensemble
from .known import Known
from .membership import JOIN_SECONDS, Member, Membership, taken

if TYPE_CHECKING:
    from ..settings import Cluster

try:
    import puresasl  # noqa: F401  what kazoo takes for SASL: without it, it would try for ever
    from kazoo.client import KazooClient
    from kazoo.exceptions import AuthFailedError, InvalidACLError, KazooException, NoAuthError
    from kazoo.handlers.threading import KazooTimeoutError
    from kazoo.protocol.states import KeeperState
    from kazoo.security import CREATOR_ALL_ACL

    from .nodes import NoChroot, Nodes
except ImportError as error:
    raise ClusterError("[cluster] membership = zookeeper needs kazoo: pip install 'drtc[zookeeper]'") from error

READ_SECONDS = 15.0  # between two full readings: a watch can be lost
LEAVE_SECONDS = 1.0
AGAIN_SECONDS = 0.2  # between two looks at a name that may become free
SLACK_SECONDS = 4.0  # how much later than a session's timeout its nodes may be gone
LONGEST_WAIT = 30.0  # between two words about servers that do not answer


class ZooKeeper(Membership):
    """Works on with the last known members whenever the servers are away."""

    wide = True

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ensemble = parse_ensemble(cluster.zookeeper)
        self._timeout = cluster.zookeeper_timeout
        self._log = Log("zookeeper")
        self._known = Known(grace=2 * self._timeout)
        self._asked: tuple[str, ...] = ()  # the roles that are watched
        self._own: Member | None = None  # who is to be registered
        self._held: Member | None = None  # who is
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._woken = threading.Event()
        self._news = threading.Condition()
        # the thread's own:
        self._dirty: set[str] = set()  # roles that have changed; "" is our own node
        self._session = 0
        self._stood = False  # whether everything was right once: then nothing but a taken name ends us
        self._refused = False
        self._contended: float | None = None  # since when somebody else has our name
        self._away: float | None = None  # since when nobody answers
        self._attempt = 0
        self._next_word = 0.0
        self._next_reading = 0.0

    # --- what the role calls ---

    def join(self, member: Member) -> None:
        self._own = member
        self._wake()
        self._until(lambda: self._held is not None, JOIN_SECONDS)
        if self._contended is not None:
            self._until(lambda: self._held is not None, self._timeout + SLACK_SECONDS + 1)
        self.check()

    def members(self, role: str) -> list[Member]:
        if role not in self._asked:
            self._asked = (*self._asked, role)
            self._dirty.add(role)
            self._wake()
        return self._known.members(role)

    def look(self, role: str, patience: float = JOIN_SECONDS) -> list[Member]:
        self.members(role)
        if not self._until(lambda: self._known.has(role), patience):
            self.check()
            raise ClusterError(f"zookeeper {self._ensemble.hosts} does not answer: start it, or correct [cluster] "
                               "zookeeper")
        return self._known.members(role)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def leave(self) -> None:
        self._own = None
        if self._thread is not None:
            self._wake()
            if self._away is None:
                self._until(lambda: self._held is None, LEAVE_SECONDS)

    def close(self) -> None:
        self.leave()
        self._closing = True
        if self._thread is not None:
            self._woken.set()
            self._thread.join(LEAVE_SECONDS)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="zookeeper", daemon=True)
            self._thread.start()
        self._woken.set()

    def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Waits until something is done; False where it is not, or never will be."""
        with self._news:
            self._news.wait_for(lambda: done() or self._failure is not None, seconds)
        return done()

    # --- the thread ---

    def _run(self) -> None:
        client = self._client()
        nodes = Nodes(client, self._cluster.name, self._changed)

        def state_changed(state: str) -> None:
            self._refused = self._refused or client.client_state == KeeperState.AUTH_FAILED
            self._woken.set()

        client.add_listener(state_changed)
        try:
            while not self._closing:
                self._woken.clear()
                wait = self._turn(client, nodes)
                with self._news:
                    self._news.notify_all()
                self._woken.wait(wait)
        except Exception as error:  # check() raises it, on the role's own thread
            self._failure = error
        finally:
            with self._news:
                self._news.notify_all()
            try:
                client.stop()
                client.close()
            except (KazooException, OSError):
                pass  # it could not say goodbye: the session times out

    def _client(self) -> KazooClient:
        settings: dict[str, Any] = {}
        user, _, password = self._cluster.zookeeper_auth.partition(":")
        if self._cluster.zookeeper_sasl:
            settings["sasl_options"] = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
        elif user:
            settings["auth_data"] = [("digest", self._cluster.zookeeper_auth)]
        silent = logging.getLogger("drtc.zookeeper.client")  # what it would say, we say in a sentence
        silent.setLevel(logging.CRITICAL + 1)
        again = {"max_tries": -1, "delay": 0.1, "max_delay": min(3.0, self._timeout / 3)}
        return KazooClient(self._ensemble.hosts + self._ensemble.chroot, timeout=self._timeout, connection_retry=again,
                           default_acl=CREATOR_ALL_ACL if user else None, logger=silent, **settings)

    def _changed(self, role: str) -> None:
        self._dirty.add(role)
        self._woken.set()

    def _turn(self, client: KazooClient, nodes: Nodes) -> float:
        """Does what is to be done now; returns after how many seconds there may be more."""
        now = time.monotonic()
        try:
            if self._refused:
                self._refused = False
                raise AuthFailedError
            identity = client.client_id
            if identity is None:
                return self._wait(client, now)
            self._answered(now)
            self._begin(nodes, identity[0], now)
            registered = self._register(nodes, now)
            self._read(nodes, now)
        except (AuthFailedError, NoAuthError, InvalidACLError):
            return self._wrong(self._refusal(), now)
        except NoChroot:
            return self._wrong(f"zookeeper {self._ensemble.hosts} has no {self._ensemble.chroot}: create it (zkCli.sh "
                               f"-server {self._ensemble.servers[0]} create {self._ensemble.chroot}), or correct "
                               "[cluster] zookeeper", now)
        except (KazooException, KazooTimeoutError) as error:
            self.trouble = f"zookeeper {self._ensemble.hosts}: {type(error).__name__}"
            return AGAIN_SECONDS
        if not registered:
            return AGAIN_SECONDS
        self._stood = True
        self.trouble = ""
        return max(0.0, self._next_reading - now)

    def _wait(self, client: KazooClient, now: float) -> float:
        """Nobody answers: says so now and then. kazoo tries in shorter intervals, and wakes us."""
        if client._connection.connection_stopped.is_set():  # at the start, and after refused credentials
            client.start_async()
        if self._away is None:
            self._away, self._attempt, self._next_word = now, 0, now + 1.0
        if now - self._away > self._timeout:
            # Servers that have lost their data refuse whoever has seen a later transaction than they have, for ever.
            client.last_zxid = 0
        if now >= self._next_word:
            self._attempt += 1
            wait = min(LONGEST_WAIT, 2.0 ** self._attempt)
            self._next_word = now + wait
            self.trouble = f"waiting for zookeeper {self._ensemble.hosts}, attempt {self._attempt}, next in {wait:g} s"
            self._log.warning("membership waits", why=self.trouble)
        return self._next_word - now

    def _answered(self, now: float) -> None:
        if self._away is not None and self._attempt:
            self._log.info("zookeeper answers", servers=self._ensemble.hosts, after=f"{now - self._away:.0f}s")
        self._away = None

    def _wrong(self, why: str, now: float) -> float:
        """What only a person can mend ends a start; a role that was registered once goes on without."""
        if not self._stood:
            raise ClusterError(why)
        if self.trouble != why:
            self.trouble = why
            self._log.error("membership lost", why=why)
        return LONGEST_WAIT / 6

    def _refusal(self) -> str:
        place = f"zookeeper {self._ensemble.hosts} at {self._ensemble.chroot}/{self._cluster.name}"
        if self._cluster.zookeeper_auth:
            return f"{place} refuses the credentials in [cluster] zookeeper_auth: set those that its nodes were made by"
        return f"{place} is not open to everybody: set [cluster] zookeeper_auth = USER:PASSWORD"

    def _begin(self, nodes: Nodes, session: int, now: float) -> None:
        if session == self._session:
            return
        if self._session:
            self._known.session_lost(now)
            self._log.warning("zookeeper session lost, registering again")
        self._held = None
        nodes.begin()
        self._session = session
        self._next_reading = now

    def _register(self, nodes: Nodes, now: float) -> bool:
        """Whether all is as it should be; False where somebody else has our name, for the moment."""
        own, held, session = self._own, self._held, self._session
        if own is None:
            if held is not None:
                nodes.remove(held, session)
                self._held = None
            return True
        if held is not None and "" not in self._dirty and now < self._next_reading:
            return True
        self._dirty.discard("")
        if nodes.is_registered(own, session) or (nodes.register(own, session) and nodes.is_registered(own, session)):
            self._held, self._contended = own, None
            return True
        self._held = None
        if self._contended is None:
            self._contended = now
            self._log.info("name taken, waiting for its session to end", node=own.node, role=own.role,
                           most=f"{self._timeout + SLACK_SECONDS:g}s")
        if now - self._contended > self._timeout + SLACK_SECONDS:
            raise taken(own, self._cluster.name)
        return False

    def _read(self, nodes: Nodes, now: float) -> None:
        everything = now >= self._next_reading
        for role in self._asked:
            if everything or role in self._dirty:
                self._dirty.discard(role)  # first: a change that comes meanwhile is not overlooked
                try:
                    self._known.read(role, nodes.read(role), now)
                except Exception:
                    self._dirty.add(role)
                    raise
        if everything:
            self._next_reading = now + READ_SECONDS * random.uniform(0.8, 1.2)
            if now < self._known.until:
                self._next_reading = min(self._next_reading, self._known.until)
