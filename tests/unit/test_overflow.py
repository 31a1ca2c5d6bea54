"""What the queue on disk decides without a disk: numbers, gaps, seals, which file systems are refused."""
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from drtc.errors import QueueError
from drtc.overflow.ledger import MARK, Ledger
from drtc.overflow.place import REMOTE, file_system, refuse_remote
from drtc.overflow.sealed import OVERHEAD, seal, unseal


class Rows:
    """A shelf in memory, written as DiskQueue writes."""

    def __init__(self, durable: bool = True) -> None:
        self.rows: dict[int, bytes] = {}
        self.durable = durable
        self.ledger = Ledger(1, durable)
        self.rows.update(self.ledger.mark())

    def append(self, sizes: list[int]) -> list[int]:
        numbers = self.ledger.numbers(len(sizes))
        owed = self.ledger.owed()
        for number in owed.removes if owed else ():
            self.rows.pop(number, None)
        self.rows.update(owed.puts if owed else {})
        self.rows.update({number: seal(number, bytes(size)) for number, size in zip(numbers, sizes)})
        self.rows.update(self.ledger.mark(len(sizes)))
        self.ledger.paid()
        self.ledger.appended(sizes)
        return numbers

    def pay(self) -> None:
        owed = self.ledger.owed()
        if owed is not None:
            for number in owed.removes:
                self.rows.pop(number, None)
            self.rows.update(owed.puts)
            self.ledger.paid()

    def reopened(self) -> Ledger:
        ledger = Ledger(0, durable=True)
        ledger.recover(self.rows.get(MARK), sorted((number, len(row)) for number, row in self.rows.items()))
        return ledger


ACTIONS = st.one_of(st.tuples(st.just("append"), st.lists(st.integers(0, 3), max_size=3)),
                    st.tuples(st.sampled_from(["discard", "aside", "forget"]), st.lists(st.integers(0, 9), max_size=4)))


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTIONS, max_size=25), st.data())
def test_what_is_written_is_enough_to_go_on(actions: list[tuple[str, list[int]]], data: st.DataObject) -> None:
    """After any history a new ledger over the rows knows what the old one knew, and every row that is taken away."""
    shelf = Rows()
    for action, values in actions:
        waiting = shelf.ledger.pending()
        chosen = sorted({waiting[at] for at in values if at < len(waiting)})
        if action == "append":
            shelf.append(values)
        elif action == "forget":  # discarded, and the disk was full at that moment
            shelf.ledger.discard(chosen)
        elif action == "discard":
            shelf.ledger.discard(chosen)
            shelf.pay()
        else:
            for number in chosen:
                shelf.ledger.set_aside(number)
            shelf.pay()
    shelf.pay()
    again = shelf.reopened()
    assert again.pending() == shelf.ledger.pending() and again.bytes == shelf.ledger.bytes
    assert again.gaps == [] and again.numbers(1) == shelf.ledger.numbers(1) and again.aside() == shelf.ledger.aside()
    floor = shelf.ledger.floor
    assert not [number for number in shelf.rows if 0 < number < floor and number not in again.aside()], "room kept"
    if again.pending():
        gone = data.draw(st.sampled_from(again.pending()))
        del shelf.rows[gone]
        assert shelf.reopened().gaps == [(gone, gone)]


def test_gaps_are_runs() -> None:
    shelf = Rows()
    numbers = shelf.append([1] * 10)
    for at in (0, 1, 4, 8, 9):
        del shelf.rows[numbers[at]]
    again = shelf.reopened()
    assert again.gaps == [(1, 2), (5, 5), (9, 10)] and again.pending() == [3, 4, 6, 7, 8]


def test_a_cache_writes_items_only() -> None:
    shelf = Rows(durable=False)
    numbers = shelf.append([1, 2, 3])
    shelf.ledger.discard(numbers[1:])
    shelf.pay()
    shelf.ledger.set_aside(numbers[0])
    shelf.pay()
    assert list(shelf.rows) == numbers[:1] and shelf.ledger.bytes == 0


@pytest.mark.parametrize("spoil, reason", [
    (lambda rows: rows.pop(MARK), "is missing"),
    (lambda rows: rows.update({MARK: rows[MARK][:-1] + b"x"}), "checksum"),
    (lambda rows: rows.update({99: b"x"}), "the next one was to be 4"),
])
def test_what_cannot_be_trusted_is_refused(spoil: object, reason: str) -> None:
    shelf = Rows()
    shelf.append([1, 2, 3])
    spoil(shelf.rows)  # type: ignore[operator]
    with pytest.raises(ValueError, match=reason):
        shelf.reopened()


@given(st.integers(-2 ** 63, 2 ** 63 - 1), st.binary(max_size=50), st.data())
def test_a_seal_tells_every_changed_bit(number: int, item: bytes, data: st.DataObject) -> None:
    sealed = seal(number, item)
    assert unseal(number, sealed) == item and len(sealed) == OVERHEAD + len(item)
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    for wrong in (bytes(changed), sealed[:bit // 8], sealed + b"x"):
        with pytest.raises(ValueError):
            unseal(number, wrong)
    with pytest.raises(ValueError, match=f"item {number} is in its place"):
        unseal(number ^ 1, sealed)


MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /net rw - nfs4 server:/x rw
31 30 0:31 / /net/local rw shared:5 master:1 - xfs /dev/vdb rw
32 22 0:32 / /with\040space rw - fuse.sshfs host:/ rw
33 22 0:33 / /over rw - ext4 /dev/vdc rw
34 22 0:34 / /over rw - cifs //host/share rw
""".lstrip()


@pytest.mark.parametrize("path, kind", [
    ("/var/lib", "ext4"), ("/", "ext4"), ("/net", "nfs4"), ("/net/queue", "nfs4"), ("/network", "ext4"),
    ("/net/local/queue", "xfs"), ("/with space/queue", "fuse.sshfs"), ("/over/queue", "cifs"),
])
def test_network_file_systems_are_refused(path: str, kind: str, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert file_system(Path(path), mounts) == kind
    if kind in REMOTE:
        with pytest.raises(QueueError, match=rf"network file system \({kind}\).*local disk"):
            refuse_remote(Path(path), mounts)
    else:
        refuse_remote(Path(path), mounts)


def test_where_mounts_cannot_be_read_nothing_is_refused(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "absent") == ""
    refuse_remote(tmp_path, tmp_path / "absent")
