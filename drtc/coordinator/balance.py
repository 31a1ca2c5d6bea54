"""How much of the work each compute node gets: its capacity, times a share that follows how it keeps up.

The rule, with its hysteresis. Once a second each node that had work at both ends of the second is compared with the
others by its pace, the bytes that it stored per second and worker, smoothed over some seconds (of a node that had
nothing left over, what it stored, which is less than it can):

- below half of the pace that half of the nodes reach for SLOW_LOOKS looks in a row: its share is halved, down to LEAST;
- above four fifths of it, or without work left over, for GOOD_LOOKS looks in a row: its share is doubled, up to 1.

A raise that is followed by a cut was too much: the next one takes twice as many good looks, up to ten minutes.

Between the two nothing changes. Down is quick and up is slow, and what lies between half and four fifths belongs to
neither, so a node does not swing from one to the other. A share moves only the lanes that weighted rendezvous hashing
moves with it.
"""
from __future__ import annotations

from statistics import median_high

SLOW, GOOD = 0.5, 0.8  # of the others' pace
SLOW_LOOKS, GOOD_LOOKS = 3, 10
LEAST = 1 / 16
MOST_PATIENCE = 64 * GOOD_LOOKS
SMOOTHING = 0.4  # the weight of the last look


class Pace:
    """One node, as it was seen. ``share`` is what it gets of its capacity."""

    __slots__ = ("share", "pace", "slow", "good", "busy", "patience", "raised")

    def __init__(self) -> None:
        self.share = 1.0
        self.pace: float | None = None  # bytes per second and worker; None: not known
        self.slow = 0  # looks in a row
        self.good = 0
        self.busy = False  # it had work at the last look
        self.patience = GOOD_LOOKS  # looks that it must be good before it gets more
        self.raised = False  # the last change was for more

    def measure(self, rate: float, busy: bool) -> bool:
        """What it stored since the last look, and whether it has work now. Whether its pace can be told."""
        known = self.busy and busy
        self.busy = busy
        if known:
            self.pace = rate if self.pace is None else self.pace + SMOOTHING * (rate - self.pace)
        return known

    def judge(self, others: float) -> bool:
        """Compares with the pace of the others. Returns whether the share has changed."""
        assert self.pace is not None
        self.slow = self.slow + 1 if self.pace < SLOW * others else 0
        self.good = self.good + 1 if self.pace > GOOD * others else 0
        return self._act()

    def idle(self) -> bool:
        """It had nothing left over: it keeps up. Returns whether the share has changed."""
        self.slow = 0
        self.good += 1
        return self._act()

    def _act(self) -> bool:
        share = self.share
        if self.slow >= SLOW_LOOKS:
            self.share = max(LEAST, share / 2)
            if self.raised:  # that was too much: it is not tried again so soon
                self.patience = min(MOST_PATIENCE, self.patience * 2)
        elif self.good >= self.patience:
            self.share = min(1.0, share * 2)
            if self.raised:
                self.patience = GOOD_LOOKS  # and the last time it was not too much
        else:
            return False
        self.raised = self.share > share
        self.slow = self.good = 0
        self.pace = None  # with another share it is another matter
        return self.share != share


def balance(nodes: dict[str, Pace], rates: dict[str, float], busy: dict[str, bool]) -> bool:
    """One look at all nodes: ``rates`` are the bytes that each stored per second and worker since the last look,
    ``busy`` says which have work now. Returns whether any share has changed."""
    known = {name: node for name, node in nodes.items() if node.measure(rates[name], busy[name])}
    changed = False
    for name, node in nodes.items():
        if name not in known:
            changed |= node.idle()
    if len(nodes) > 1:
        others = median_high([node.pace if name in known and node.pace is not None else rates[name]
                              for name, node in nodes.items()])
        for node in known.values():
            changed |= node.judge(others)
    return changed
