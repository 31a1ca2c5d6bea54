"""What a compute node decides, without a process."""
from __future__ import annotations

from typing import Callable

import msgpack

from drtc.batch import Batch, Header
from drtc.compute.divide import cut, divide, halve
from drtc.compute.pack import EMPTY, pack_dead, unpack_dead
from drtc.compute.plan import Command, DeadLetterOf, MapOn, MergeOn, Plan, Reply
from drtc.encodings import unpack
from drtc.encodings.messages import pack
from drtc.wire.messages import MappedSpan

PARTS = msgpack.packb([["k", None, 1, [1]]])


def batch(first: int, count: int, partition: str = "p", seq: int = 0) -> Batch:
    offsets = list(range(first, first + count))
    payload = pack(offsets, [b"%d" % offset for offset in offsets])
    return Batch(Header(partition, 0, "s", seq, first, offsets[-1], count, "messages", len(payload)), payload)


def offsets_of(batches: list[Batch]) -> list[int]:
    found: list[int] = []
    for header, payload in batches:
        found += unpack(header.encoding, payload, header.first, header.last).offsets
    return found


def spans_of(batches: list[Batch]) -> list[MappedSpan]:
    return [MappedSpan(b.header.partition, b.header.slot, b.header.first, b.header.last, None, b.header.count, 0, 0)
            for b in batches]


def plan(workers: int, fork_bytes: int = 1 << 30, ordered: bool = False) -> Plan:
    made = Plan(workers, fork_bytes, 3, ordered)
    for number in range(workers):
        made.ready(number, 1)
    return made


def play(made: Plan, kills: Callable[[list[int]], bool] = lambda offsets: False) -> tuple[list[Command], int]:
    """Obeys until nothing is left to do; a worker that maps what ``kills`` says dies. Returns all commands, deaths."""
    seen: list[Command] = []
    deaths = 0
    while commands := made.commands():
        seen += commands
        dead: set[int] = set()
        for command in commands:
            if isinstance(command, (MapOn, MergeOn)) and command.worker in dead:
                continue  # its process is gone before it came to this
            if isinstance(command, MapOn):
                if kills(offsets_of(command.batches)):
                    deaths += 1
                    dead.add(command.worker)
                    made.died(command.worker)
                    made.ready(command.worker, 1)
                else:
                    made.mapped(command.piece, spans_of(command.batches), [PARTS] * made.owners, EMPTY)
            elif isinstance(command, MergeOn):
                made.merged(command.worker, [command.piece], [1], [0])
            elif isinstance(command, DeadLetterOf):
                made.mapped(command.piece, [command.span], [EMPTY] * made.owners, pack_dead([command.letter]))
        assert deaths < 200
    return seen, deaths


def test_a_task_is_answered_when_its_pieces_are_stored() -> None:
    made = plan(2)
    made.arrived(1, 5, [batch(0, 10), batch(0, 10, "q")])
    seen, _ = play(made)
    [reply] = [command for command in seen if isinstance(command, Reply)]
    assert (reply.link, reply.task) == (1, 5)
    assert [(s.partition, s.last, s.counts.messages) for s in reply.stored] == [("p", 9, 10), ("q", 9, 10)]
    assert made.bytes == 0


def test_a_large_task_is_spread_over_idle_workers_and_a_small_one_is_not() -> None:
    for fork_bytes, pieces in ((1, 4), (1 << 20, 1)):
        made = plan(4, fork_bytes)
        made.arrived(1, 1, [batch(0, 100)])
        maps = [command for command in made.commands() if isinstance(command, MapOn)]
        assert len(maps) == pieces
        assert sorted(offset for each in maps for offset in offsets_of(each.batches)) == list(range(100))
        assert len({each.worker for each in maps}) == pieces


def test_merges_of_a_lane_leave_in_order_whoever_is_mapped_first() -> None:
    made = plan(2)
    made.arrived(1, 1, [batch(0, 5)])
    made.arrived(1, 2, [batch(5, 5, seq=1)])
    one, two = [command for command in made.commands() if isinstance(command, MapOn)]
    made.mapped(two.piece, spans_of(two.batches), [PARTS], EMPTY)
    assert not made.commands()
    made.mapped(one.piece, spans_of(one.batches), [PARTS], EMPTY)
    assert [c.piece for c in made.commands() if isinstance(c, MergeOn)] == [one.piece, two.piece]


def test_merges_are_sent_again_in_order_to_an_owner_that_was_started_again() -> None:
    made = plan(1)
    for number in range(2):
        made.arrived(1, number, [batch(5 * number, 5, seq=number)])
    for command in made.commands():
        assert isinstance(command, MapOn)
        made.mapped(command.piece, spans_of(command.batches), [PARTS], EMPTY)
    sent = [c.piece for c in made.commands() if isinstance(c, MergeOn)]
    made.died(0)
    assert not made.commands()
    made.ready(0, 1)
    assert [c.piece for c in made.commands() if isinstance(c, MergeOn)] == sent


def test_the_event_that_kills_its_worker_is_found_and_set_aside_and_the_rest_counts() -> None:
    for workers in (1, 2, 3):
        made = plan(workers)
        for number in range(4):
            made.arrived(1, number, [batch(100 * number, 100, seq=number), batch(100 * number, 7, "q", number)])
        seen, deaths = play(made, lambda offsets: 142 in offsets and len(offsets) != 7)
        [letter] = [command.letter for command in seen if isinstance(command, DeadLetterOf)]
        assert (letter.lane.partition, letter.offset, letter.raw) == ("p", 142, b"142")
        assert deaths <= 14  # 2 on the whole, 7 halves, 3 on the event alone
        assert len([command for command in seen if isinstance(command, Reply)]) == 4
        dead = [unpack_dead(c.dead) for c in seen if isinstance(c, MergeOn) and len(c.dead) > 1]
        assert [each.offset for letters in dead for each in letters] == [142]


def test_a_worker_that_dies_by_chance_costs_no_event() -> None:
    made = plan(2)
    made.arrived(1, 1, [batch(0, 50)])
    deaths = iter([True, True])
    seen, _ = play(made, lambda offsets: next(deaths, False))
    assert not [command for command in seen if isinstance(command, DeadLetterOf)]
    last = {command.piece: command for command in seen if isinstance(command, MapOn)}
    assert [c for c in seen if isinstance(c, Reply)]
    assert last


def test_work_of_a_lost_link_is_given_up_but_for_what_has_left_for_the_store() -> None:
    made = plan(1)
    made.arrived(1, 1, [batch(0, 5)])
    made.arrived(1, 2, [batch(5, 5, seq=1)])
    made.link_lost(1)
    made.arrived(2, 1, [batch(0, 5)])
    seen, _ = play(made)
    assert [(c.link, c.task) for c in seen if isinstance(c, Reply)] == [(2, 1)]
    assert made.bytes == 0


def test_ordered_pieces_of_a_lane_are_mapped_one_after_another() -> None:
    made = plan(2, ordered=True)
    made.arrived(1, 1, [batch(0, 5)])
    made.arrived(1, 2, [batch(5, 5, seq=1)])
    made.arrived(1, 3, [batch(0, 5, "q")])
    first = [command for command in made.commands() if isinstance(command, MapOn)]
    assert [each.batches[0].header.partition for each in first] == ["p", "q"]
    made.mapped(first[0].piece, spans_of(first[0].batches), [EMPTY], EMPTY)
    again = [command for command in made.commands() if isinstance(command, MapOn)]
    assert [offsets_of(each.batches)[0] for each in again] == [5]


def test_shares_cuts_and_halves_keep_every_message_once_and_in_order() -> None:
    whole = [batch(0, 100), batch(0, 3, "q"), batch(50, 40, "r")]
    for shares in (1, 2, 3, 8):
        pieces = divide(whole, shares)
        assert len(pieces) <= shares
        for lane in "pqr":
            mine = [b for piece in pieces for b in piece if b.header.partition == lane]
            assert offsets_of(mine) == offsets_of([b for b in whole if b.header.partition == lane])
    assert offsets_of(cut(batch(7, 10), 4)) == list(range(7, 17))
    one, two = halve([batch(0, 9)])
    assert offsets_of(one) + offsets_of(two) == list(range(9))
    assert len(halve([batch(3, 1)])) == 1


def test_an_answer_waits_for_those_before_it_in_its_lanes() -> None:
    """What yields nothing is done at once; but its answer would speak for what is not stored yet."""
    made = plan(2)
    made.arrived(1, 1, [batch(0, 5), batch(0, 5, "q")])
    made.arrived(1, 2, [batch(5, 5, seq=1)])
    made.arrived(1, 3, [batch(10, 5, seq=2), batch(5, 5, "q", 1)])
    made.arrived(1, 4, [batch(0, 5, "r")])
    merges: list[MergeOn] = []
    replies: list[int] = []

    def obey() -> None:
        while commands := made.commands():
            for command in commands:
                if isinstance(command, MapOn):
                    parts = PARTS if command.batches[0].header.first == 0 else EMPTY
                    made.mapped(command.piece, spans_of(command.batches), [parts], EMPTY)
                elif isinstance(command, MergeOn):
                    merges.append(command)
                elif isinstance(command, Reply):
                    replies.append(command.task)

    obey()
    assert [merge.spans[0].partition for merge in merges] == ["p", "r"]
    assert replies == [], "tasks 2 and 3 are done, and stand behind 1"
    made.merged(0, [merges[1].piece], [1], [0])
    obey()
    assert replies == [4], "it has lanes of its own"
    before = made.bytes
    made.merged(0, [merges[0].piece], [1], [0])
    obey()
    assert replies == [4, 1, 2, 3] and before > 0 and made.bytes == 0


def test_nobody_is_answered_whose_link_is_gone() -> None:
    """Not even where the task was done, and only waited for one before it."""
    made = plan(1)
    made.arrived(1, 1, [batch(0, 5)])
    made.arrived(2, 1, [batch(5, 5, seq=1)])
    merges = []
    for command in made.commands():
        if isinstance(command, MapOn):
            parts = PARTS if command.batches[0].header.first == 0 else EMPTY
            made.mapped(command.piece, spans_of(command.batches), [parts], EMPTY)
    merges = [command for command in made.commands() if isinstance(command, MergeOn)]
    made.link_lost(2)
    assert made.orphaned > 0
    made.merged(0, [merges[0].piece], [1], [0])
    assert [command.link for command in made.commands() if isinstance(command, Reply)] == [1]
    assert (made.bytes, made.orphaned) == (0, 0)
