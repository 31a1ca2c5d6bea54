"""One verdict for a role's report: is it well, and if not, why. Health is progress, not that a process answers."""
from __future__ import annotations

from typing import Any, Mapping, NamedTuple

_SCALARS = (bool, int, float, str)


class Health(NamedTuple):
    """``state``: starting, running, draining, trouble, stalled or silent."""

    state: str
    why: str = ""

    @property
    def well(self) -> bool:
        """Whether nobody has to look: a role that starts or drains does what it should."""
        return self.state in ("starting", "running", "draining") and not self.why

    @property
    def alive(self) -> bool:
        """Whether starting it again would be of no use."""
        return self.state != "silent"


def judge(report: Mapping[str, Any]) -> Health:
    """What a report comes to. One of another version of drtc may lack what it does not know."""
    why = trouble_of(report)
    if report.get("stalled"):
        return Health("stalled", why or f"nothing was stored for {report.get('idle', 0.0):.0f} s though there is work")
    if why:
        return Health("trouble", why)
    return Health(str(report.get("state", "running")))


def heard(report: Mapping[str, Any], age: float, timeout: float) -> Health:
    """The same of a report that is ``age`` seconds old: a loop that has not beaten for ``timeout`` seconds hangs."""
    health = judge(report)
    if age <= timeout:
        return health
    if health.state == "starting":
        return Health("starting", f"it has been starting for {age:.0f} s")
    return Health("silent", f"its loop has not come round for {age:.0f} s")


def trouble_of(report: Mapping[str, Any]) -> str:
    """What the role waits for: its source, its store, its peers; "" where it waits for nothing."""
    return str(next((report[key] for key in ("waiting", "trouble", "membership") if report.get(key)), ""))


def lags(partitions: Mapping[str, Any]) -> dict[str, int]:
    """How far each partition is behind, where its end is known."""
    return {name: max(0, each["end"] - each["offset"]) for name, each in partitions.items()
            if each.get("end") is not None}


def document(report: Mapping[str, Any], health: Health) -> dict[str, Any]:
    """What ``/health`` answers: the verdict, and those values of the report that are single figures or words."""
    plain = {key: value for key, value in report.items() if isinstance(value, _SCALARS)}
    return {"health": health.state, "why": health.why, **plain}
