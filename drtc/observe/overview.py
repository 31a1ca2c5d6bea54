"""``drtc status`` for a person: one line that says how it goes, then who is there and who has what."""
from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Iterable, Mapping, NamedTuple, Sequence

from ..errors import DrtcError, Incomplete, Stalled
from .health import judge, lags
from .progress import Snapshot, trouble
from .status import ROLES, summarize
from .tables import console, counted, print_table, show_amount, show_cell, show_span

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROWS = 20  # of lanes and of partitions
MOST_NAMED = 3  # in a sentence

Status = Mapping[str, Any]


class Table(NamedTuple):
    """A table of the overview; ``left`` rows did not fit in."""

    heads: Sequence[str]
    kinds: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 0


def problem(status: Status) -> DrtcError | None:
    """What a script must know; its exit code is the command's. None: all are there, and the work gets on."""
    view = status["view"]
    stalled = [report for report in status["members"] if report.get("stalled")]
    if stalled:
        return Stalled(f"{view} is stalled: " + _named(
            f"{report['node']}: {judge(report).why}" for report in stalled))
    missing = status.get("missing", ())
    if missing:
        return Incomplete(f"{view} is incomplete: " + _named(map(_lacking, missing)))
    return None


def print_overview(status: Status, stream: IO[str] | None = None) -> None:
    """Prints all of it."""
    target = console(stream)
    _print_head(target, status)
    for table in (members(status), lanes(status), partitions(status)):
        if table.rows:
            target.print()
            print_table(table.heads, table.kinds, table.rows, target.file)
        if table.left:
            target.print(f"… and {table.left:,} more: --format json shows all")


def headline(status: Status) -> str:
    """``flights_v1 · running``, or what is wrong."""
    found = problem(status)
    if found is not None:
        return str(found)
    reports = status["members"]
    waiting = trouble(summarize(status))
    if waiting:
        return f"{status['view']} · {waiting}"
    return f"{status['view']} · {'draining' if any(report.get('draining') for report in reports) else 'running'}"


def figures(status: Status) -> str:
    """The cluster in one line."""
    snapshot: Snapshot = summarize(status)
    queues = [report for report in status["members"] if report["role"] == "coordinator"]
    disk = sum(report.get("disk", 0) for report in queues)
    memory = sum(report.get("memory", report.get("depth", 0)) for report in queues)
    parts = [f"{counted(snapshot.events, 'event')} stored", f"{snapshot.events_per_second:,.0f}/s"]
    if snapshot.lag is not None:
        parts.append(f"lag {snapshot.lag:,}")
    parts += [f"oldest unacknowledged {show_span(snapshot.oldest_unacknowledged)}",
              f"queued {show_amount(memory)} in memory, {show_amount(disk)} on disk",
              counted(snapshot.dead, "dead letter")]
    return " · ".join(parts)


def members(status: Status) -> Table:
    """Who is there, who should be, and who has left."""
    shares = _shares(status)
    heads = ["role", "node", "address", "http", "version", "uptime", "state", "events/s", "in_hand", "share", "says"]
    kinds = ["name", "name", "name", "name", "name", "real", "name", "real", "real", "real", "text"]
    rows = []
    for report in sorted(status["members"], key=lambda each: (ROLES.index(each["role"]), each["node"])):
        health = judge(report)
        share = shares.get(report["node"]) if report["role"] == "compute" else None
        says = health.why or (f"earlier: {report['last_error']}" if report.get("last_error") else "")
        rows.append([report["role"], report["node"], report.get("address", ""), report.get("http", ""),
                     report.get("version", ""), show_span(report["uptime"]) if "uptime" in report else "",
                     health.state, f"{report.get('rate', 0.0):,.0f}", show_amount(_in_hand(report)),
                     f"{100 * share:.0f} %" if share is not None and share < 1 else "", says])
    blank = [""] * (len(heads) - 4)
    rows += [[each["role"], each["node"], *blank[:4], "MISSING", *blank[4:], each["why"]]
             for each in status.get("missing", ())]
    rows += [[report["role"], report["node"], *blank[:4], "left", *blank[4:],
              f"{counted(report.get('events', 0), 'event')} stored"] for report in status.get("departed", ())]
    return _without_empty(Table(heads, kinds, rows))


def lanes(status: Status) -> Table:
    """Lanes with something in hand, and who has them. A coordinator without a node for one shows none."""
    owned = [[lane, report["node"], node or "–"] for report in status["members"] if report["role"] == "coordinator"
             for lane, node in report.get("lanes", {}).items()]
    return Table(["lane", "coordinator", "compute"], ["name"] * 3, sorted(owned)[:MOST_ROWS],
                 max(0, len(owned) - MOST_ROWS))


def partitions(status: Status) -> Table:
    """How far each partition is; those that are furthest behind stand first."""
    found = []
    for report in status["members"]:
        behind = lags(report.get("partitions", {}))
        for name, each in report.get("partitions", {}).items():
            found.append((-behind.get(name, 0), name, [name, report["node"], show_cell(each["offset"]),
                                                       show_cell(each["end"]), show_cell(behind.get(name))]))
    return Table(["partition", "collector", "stored_up_to", "end", "lag"], ["name", "name", *["integer"] * 3],
                 [row for *_, row in sorted(found)[:MOST_ROWS]], max(0, len(found) - MOST_ROWS))


def _print_head(target: Console, status: Status) -> None:
    from rich.text import Text

    found = problem(status)
    waiting = trouble(summarize(status))
    target.print(Text(headline(status), "bold red" if found else "bold yellow" if waiting else "bold green"))
    target.print(Text(figures(status)))


def _in_hand(report: Mapping[str, Any]) -> int:
    return sum(report.get(key, 0) for key in ("pending", "flying", "depth", "bytes"))


def _shares(status: Status) -> dict[str, float]:
    """The least share that any coordinator gives to a node."""
    found: dict[str, float] = {}
    for report in status["members"]:
        for node, each in report.get("nodes", {}).items():
            found[node] = min(found.get(node, 1.0), each.get("share", 1.0))
    return found


def _without_empty(table: Table) -> Table:
    """Leaves out columns in which nothing stands."""
    kept = [index for index in range(len(table.heads)) if any(row[index] for row in table.rows)]
    return Table([table.heads[index] for index in kept], [table.kinds[index] for index in kept],
                 [[row[index] or "–" for index in kept] for row in table.rows], table.left)


def _lacking(each: Mapping[str, str]) -> str:
    return f"{each['role']} {each['node']}: {each['why']}" if each["node"] else f"{each['role']}: {each['why']}"


def _named(sentences: Iterable[str]) -> str:
    all_of_them = list(sentences)
    more = len(all_of_them) - MOST_NAMED
    return "; ".join(all_of_them[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
