"""A whole cluster of decision objects without a socket, a clock or a process: every step is one random choice.

Collectors (Flow), coordinators (Dispatch) and compute nodes (Plan, Mapper, Merger) are the product's own. What lies
between them, links that deliver in order until they are cut, processes that die and zombies, is played here.
"""
from __future__ import annotations

import itertools
import json
import random
from collections import deque
from typing import Any

import drtc
from drtc.batch import Batch, Chunk
from drtc.collector.flow import Flow
from drtc.compute.letters import read
from drtc.compute.mapper import Mapper
from drtc.compute.merge import Merger, Piece
from drtc.compute.pack import EMPTY, pack_dead, pack_parts, unpack_dead, unpack_parts
from drtc.compute.plan import DeadLetterOf, MapOn, MergeOn, Plan, Reply, SupplyTo
from drtc.compute.records import Layout
from drtc.coordinator.dispatch import Dispatch
from drtc.coordinator.spill import Spill
from drtc.encodings.messages import pack
from drtc.errors import StoreUnavailable
from drtc.job import describe
from drtc.stores.base import Row, View
from drtc.stores.memory import MemorySettings, MemoryStore
from drtc.wire.messages import Draining, MappedSpan
from drtc.wire.parting import Parting

PARTITIONS = ("p0", "p1")
KEYS = 3
WORLDS = itertools.count()
POISON = 7  # every seventh message does not decode


class Sums(drtc.Job):
    """What the world computes: how many messages a key has, and which were the last ones."""

    decode = drtc.json()
    events = drtc.Count()
    last = drtc.Recent(3)

    def map(self, event: Any) -> Any:
        if quiet(event["n"]):
            return
        yield event["k"], {"events": 1, "last": event["n"]}
        yield event["p"], {"events": 1, "last": event["n"]}
        yield "all", {"events": 1}


def quiet(number: int) -> bool:
    """Whether an event yields nothing. They come in runs, so that whole batches yield nothing and are done at once."""
    return number % 8 < 4


class FlakyStore(MemoryStore):
    """Saves may be refused before or after they were done."""

    dice: random.Random
    trouble = 0.0

    def save(self, view: View, rows: Any) -> Any:
        luck = self.dice.random()
        if luck < self.trouble / 2:
            raise StoreUnavailable("refused before")
        moved = super().save(view, rows)
        if luck < self.trouble:
            raise StoreUnavailable("the answer was lost")
        return moved


class Ear:
    """The other end of a link, as far as Parting knows it: it hears in its turn, behind what is on its way."""

    def __init__(self, send: Any) -> None:
        self.send = send


class Worker:
    """A worker process: its pipe, its mapper, its merger."""

    def __init__(self, world: World) -> None:
        self.inbox: deque[Any] = deque()
        self.mapper = Mapper(world.spec, Sums())
        self.merger = Merger(world.store, world.layout, 4, clock=lambda: 0.0, dice=world.dice)


class Node:
    """A compute node: a plan, workers, and links to coordinators."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.plan = Plan(2, fork_bytes=200, kills=3, ordered=False)
        self.workers = [Worker(world), Worker(world)]
        self.links: dict[int, Coordinator] = {}
        self.outbox: deque[tuple[int, int, list[Any]]] = deque()  # answers on their way; task 0: Draining
        self.parting = Parting()
        self.ears: dict[int, Any] = {}  # by link
        self.alive = True
        for number in range(2):
            self.plan.ready(number, 2)

    def obey(self) -> None:
        for command in self.plan.commands():
            if isinstance(command, (MapOn, MergeOn, SupplyTo)):
                self.workers[command.worker].inbox.append(command)
            elif isinstance(command, Reply):
                assert command.link in self.links, "an answer to a link that is gone"
                self.outbox.append((command.link, command.task, command.stored))
            elif isinstance(command, DeadLetterOf):
                self.plan.mapped(command.piece, [command.span], [EMPTY] * 2, pack_dead([command.letter]))

    def work(self, number: int) -> None:
        """One step of one worker."""
        worker = self.workers[number]
        if worker.inbox:
            command = worker.inbox.popleft()
            if isinstance(command, MapOn):
                mapped = worker.mapper.map(command.batches)
                spans = [MappedSpan(s.lane.partition, s.lane.slot, s.first, s.last, t, c.messages, c.dead, c.skipped)
                         for s, t, c in zip(mapped.spans, mapped.times, mapped.counts)]
                self.plan.mapped(command.piece, spans, list(pack_parts(mapped.parts, 2, self.world.layout.aggregates)),
                                 pack_dead(mapped.dead))
            elif isinstance(command, MergeOn):
                batches = self.plan._pieces[command.piece].batches
                parts = unpack_parts(command.parts, self.world.layout.aggregates)
                spans = [self.world.span(span) for span in command.spans]
                worker.merger.add(Piece(command.piece, spans, parts, unpack_dead(command.dead),
                                        lambda floors: worker.mapper.refine(batches, floors)))
        elif len(worker.merger):
            done = worker.merger.attempt().done
            if done:
                self.plan.merged(number, [p.number for p in done], [p.saved for p in done], [p.replayed for p in done])
        self.obey()

    def lose_worker(self, number: int) -> None:
        self.plan.died(number)
        self.workers[number] = Worker(self.world)
        self.plan.ready(number, 2)
        self.obey()


class Coordinator:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.spill = Spill(200, 2000)  # much less than what is under way: nearly everything sees the disk
        self.dispatch = Dispatch(400, self.spill)
        self.disk: dict[int, bytes] = {}
        self.writing: list[bytes] = []
        self.reading: list[int] = []
        self.collectors: dict[int, Collector] = {}
        self.parting = Parting()
        self.ears: dict[int, Any] = {}  # by link
        self.nodes: dict[str, tuple[Node, int, deque[Any]]] = {}  # node, our link number there, tasks on their way
        self.alive = True

    def act(self) -> None:
        for task in list(self.dispatch.next()):
            self.nodes[task.node][2].append((task, [bytes(payload) for payload in task.payloads]))

    def use_disk(self, faults: bool) -> None:
        """A write or a read begins or ends; writes may be refused, what is read may be damaged."""
        dice, spill = self.world.dice, self.spill
        if dice.random() < 0.5:
            if self.writing:
                if faults and dice.random() < 0.1:
                    spill.refused()
                else:
                    tickets = [next(self.world.numbers) for _ in self.writing]
                    self.disk.update(zip(tickets, self.writing))
                    spill.written(tickets)
                self.writing = []
            else:
                spill.retry()
                self.writing = [bytes(entry.payload or b"") for entry in spill.writes()]
        elif self.reading:
            found = [None if faults and dice.random() < 0.05 else self.disk[ticket] for ticket in self.reading]
            self.reading = []
            lost = {entry.link for entry in spill.read(found)}
            for collector in self.world.collectors:
                for name, (coordinator, link, _, _) in list(collector.links.items()):
                    if coordinator is self and link in lost:
                        self.world.cut_collector(collector, name)
            self.world.connect_all()
        else:
            self.reading = [entry.ticket or 0 for entry in spill.reads()]
        for ticket in spill.discards():
            del self.disk[ticket]
        assert spill.disk == sum(map(len, self.disk.values()))
        self.act()


class Collector:
    """A collector and the source that it reads: partitions as lists, offsets with gaps."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.epochs = itertools.count(1)
        self.flow = Flow(f"c{next(world.numbers)}", 300, self.epochs)
        self.positions: dict[str, tuple[int, int]] = {}  # next offset, epoch
        self.links: dict[str, tuple[Coordinator, int, deque[Any], deque[Any]]] = {}  # link, sends, answers
        for partition in PARTITIONS:
            epoch = next(self.epochs)
            self.positions[partition] = (world.committed[partition], epoch)
            self.flow.assigned(partition, world.committed[partition], epoch, clean=False)

    def read(self, partition: str, most: int) -> None:
        """Reads up to ``most`` messages: how a replay is cut is up to chance."""
        at, epoch = self.positions[partition]
        found = [(offset, value) for offset, value in self.world.messages[partition] if offset >= at][:most]
        if not found:
            return
        slots: dict[int, list[tuple[int, bytes]]] = {}
        for offset, value in found:
            slots.setdefault(offset // 2 % self.world.slots, []).append((offset, value))
        pieces = [
            (slot, Chunk(partition, pairs[0][0], pairs[-1][0], len(pairs), "messages",
                         pack([o for o, _ in pairs], [v for _, v in pairs])))
            for slot, pairs in slots.items()
        ]
        self.flow.read(epoch, partition, found[-1][0], pieces)
        self.positions[partition] = (found[-1][0] + 1, epoch)
        self.act()

    def act(self) -> None:
        for rewind in self.flow.rewinds():
            self.positions[rewind.partition] = (rewind.offset, rewind.epoch)
        for send in self.flow.sends(0.0):
            self.links[send.coordinator][2].append(send)

    def commit(self) -> None:
        for partition, offset in self.flow.frontiers().items():
            self.world.commit(partition, offset)


class World:
    """Two partitions, some coordinators, some nodes, one store, one committed offset for each partition."""

    def __init__(self, dice: random.Random, slots: int = 2, count: int = 30) -> None:
        self.dice = dice
        self.slots = slots
        self.numbers = itertools.count(1)
        self.spec = describe(Sums)
        self.layout = Layout(self.spec, 1)
        self.store = FlakyStore(MemorySettings(name=f"world {next(WORLDS)}"))
        self.store.open()
        self.store.dice = dice
        self.store.prepare(self.layout.view)
        self.committed = dict.fromkeys(PARTITIONS, 0)
        self.messages: dict[str, list[tuple[int, bytes]]] = {}
        numbers = itertools.count()
        for partition in PARTITIONS:
            offset = 0
            found = []
            for _ in range(count):
                offset += dice.choice((1, 1, 1, 2, 5))  # gaps, as compaction and transactions leave them
                number = next(numbers)
                text = f'{{"k": "k{number % KEYS}", "p": "{partition}", "n": {number}}}'
                text = text if number % POISON else "no json"
                found.append((offset, text.encode()))
            self.messages[partition] = found
        self.left = 0  # members that have drained
        self.coordinators = [Coordinator(self, "a1"), Coordinator(self, "a2")]
        self.nodes = [Node(self, "n1"), Node(self, "n2")]
        self.collectors: list[Collector] = [Collector(self)]
        self.connect_all()

    @staticmethod
    def span(span: MappedSpan) -> Any:
        from drtc.batch import Lane
        from drtc.compute.mapper import Span

        return Span(Lane(span.partition, span.slot), span.first, span.last)

    def commit(self, partition: str, offset: int) -> None:
        """What a broker does: the last commit wins, even a late one that goes back."""
        self.committed[partition] = offset

    # --- links ---

    def connect_all(self) -> None:
        for coordinator in self.coordinators:
            for node in self.nodes:
                if node.name not in coordinator.nodes:
                    self.connect_node(coordinator, node)
            for collector in self.collectors:
                if coordinator.name not in collector.links:
                    self.connect_collector(collector, coordinator)

    def connect_node(self, coordinator: Coordinator, node: Node) -> None:
        link = next(self.numbers)
        node.links[link] = coordinator
        coordinator.nodes[node.name] = (node, link, deque())
        coordinator.dispatch.node_joined(node.name, 1.0, 3, 500)
        node.ears[link] = Ear(lambda _: node.outbox.append((link, 0, [])))
        node.parting.joined(node.ears[link])
        coordinator.act()

    def connect_collector(self, collector: Collector, coordinator: Coordinator) -> None:
        link = next(self.numbers)
        coordinator.collectors[link] = collector
        _, _, _, answers = collector.links[coordinator.name] = (coordinator, link, deque(), deque())
        coordinator.ears[link] = Ear(answers.append)
        coordinator.parting.joined(coordinator.ears[link])
        collector.flow.link_up(coordinator.name, 900)
        collector.act()

    def cut_collector(self, collector: Collector, name: str, told: bool = True) -> None:
        """Cuts a link; what is on its way is lost. ``told``: the collector lives to notice."""
        coordinator, link, _, _ = collector.links.pop(name)
        coordinator.collectors.pop(link, None)
        coordinator.parting.gone(coordinator.ears.pop(link))
        coordinator.dispatch.link_lost(link)
        if told:
            collector.flow.link_down(name)
            collector.act()

    def cut_node(self, coordinator: Coordinator, name: str, told: bool = True) -> None:
        node, link, _ = coordinator.nodes.pop(name)
        node.links.pop(link, None)
        node.parting.gone(node.ears.pop(link))
        node.plan.link_lost(link)
        node.obey()
        if told:
            coordinator.dispatch.node_lost(name)
            coordinator.act()

    # --- steps ---

    def step(self, faults: bool) -> None:
        calm = [self.read, self.deliver_batches, self.deliver_task, self.work, self.work, self.deliver_answer,
                self.deliver_stored, self.commit_some, lambda: self.dice.choice(self.coordinators).use_disk(faults),
                self.leave_coordinator, self.leave_node]
        wild = [self.crash_collector, self.crash_coordinator, self.crash_node, self.crash_worker, self.cut_some_link,
                self.second_collector, self.drop_collector, self.drain_coordinator, self.drain_node]
        self.dice.choice(wild)() if faults and self.dice.random() < 0.06 else self.dice.choice(calm)()

    def read(self) -> None:
        self.dice.choice(self.collectors).read(self.dice.choice(PARTITIONS), self.dice.randint(1, 9))

    def deliver_batches(self) -> None:
        collector = self.dice.choice(self.collectors)
        for coordinator, link, sends, _ in collector.links.values():
            if sends:
                send = sends.popleft()
                if isinstance(send, Draining):
                    coordinator.parting.answered(coordinator.ears[link])
                    continue
                for header, payload in zip(send.headers, _shares(send)):
                    coordinator.dispatch.accept(link, Batch(header, payload))
                coordinator.act()

    def deliver_task(self) -> None:
        coordinator = self.dice.choice(self.coordinators)
        for node, link, tasks in coordinator.nodes.values():
            if tasks:
                task, payloads = tasks.popleft()
                if isinstance(task, Draining):
                    node.parting.answered(node.ears[link])
                    continue
                whole = memoryview(b"".join(payloads))
                batches = []
                for header in task.headers:
                    batches.append(Batch(header, bytes(whole[:header.size])))
                    whole = whole[header.size:]
                node.plan.arrived(link, task.number, batches)
                node.obey()

    def work(self) -> None:
        self.dice.choice(self.nodes).work(self.dice.randrange(2))

    def deliver_answer(self) -> None:
        self.hear_node(self.dice.choice(self.nodes))

    def hear_node(self, node: Node) -> None:
        if node.outbox:
            link, number, stored = node.outbox.popleft()
            coordinator = node.links.get(link)
            if coordinator is not None and not number:
                coordinator.dispatch.node_draining(node.name)
                coordinator.nodes[node.name][2].append((Draining(), []))
                coordinator.act()
            elif coordinator is not None:
                for reply in coordinator.dispatch.answered(node.name, number, stored):
                    collector = coordinator.collectors.get(reply.link)
                    if collector is not None:
                        collector.links[coordinator.name][3].append(reply.stored)
                coordinator.act()

    def deliver_stored(self) -> None:
        collector = self.dice.choice(self.collectors)
        for name in list(collector.links):
            self.hear_coordinator(collector, name)

    def hear_coordinator(self, collector: Collector, name: str) -> None:
        _, _, sends, answers = collector.links[name]
        if answers:
            answer = answers.popleft()
            if isinstance(answer, Draining):
                collector.flow.link_draining(name)
                assert collector.flow.rewinds() == []
                sends.append(answer)
            else:
                for stored in answer:
                    collector.flow.stored(name, stored)
            collector.act()

    def commit_some(self) -> None:
        self.dice.choice(self.collectors).commit()

    # --- drains ---

    def drain_coordinator(self) -> None:
        coordinator = self.dice.choice(self.coordinators)
        coordinator.parting.begin(list(coordinator.ears.values()))

    def drain_node(self) -> None:
        node = self.dice.choice(self.nodes)
        node.parting.begin(list(node.ears.values()))

    def leave_coordinator(self) -> None:
        """One whose drain is through leaves, and another comes. Nothing is read again for its sake."""
        for number, coordinator in enumerate(self.coordinators):
            if coordinator.parting.over and not coordinator.dispatch.depth:
                for collector in self.collectors:
                    while coordinator.name in collector.links and collector.links[coordinator.name][3]:
                        self.hear_coordinator(collector, coordinator.name)  # a close comes behind what was sent
                    if coordinator.name in collector.links:
                        collector.flow.link_down(coordinator.name)
                        assert collector.flow.rewinds() == []
                        self.cut_collector(collector, coordinator.name)
                for name in list(coordinator.nodes):
                    self.cut_node(coordinator, name, told=False)
                self.coordinators[number] = Coordinator(self, f"a{next(self.numbers)}")
                self.left += 1
        self.connect_all()

    def leave_node(self) -> None:
        """One whose drain is through leaves, and another comes. Nothing is sent again for its sake."""
        for number, node in enumerate(self.nodes):
            if node.parting.over and not node.plan.bytes:
                while node.outbox:
                    self.hear_node(node)
                for coordinator in self.coordinators:
                    if node.name in coordinator.nodes:
                        assert coordinator.dispatch.nodes()[node.name]["tasks"] == 0
                        self.cut_node(coordinator, node.name)
                self.nodes[number] = Node(self, f"n{next(self.numbers)}")
                self.left += 1
        self.connect_all()

    # --- faults ---

    def crash_collector(self) -> None:
        self.drop(self.collectors[0])
        self.collectors[0] = Collector(self)
        self.connect_all()

    def drop(self, collector: Collector) -> None:
        for name in list(collector.links):
            self.cut_collector(collector, name, told=False)

    def second_collector(self) -> None:
        """Another one on the same partitions, while the first, thought dead, goes on."""
        if len(self.collectors) < 2:
            self.collectors.append(Collector(self))
            self.connect_all()

    def drop_collector(self) -> None:
        if len(self.collectors) > 1:
            self.drop(self.collectors.pop(self.dice.randrange(2)))

    def crash_coordinator(self) -> None:
        number = self.dice.randrange(len(self.coordinators))
        gone = self.coordinators[number]
        for collector in self.collectors:
            if gone.name in collector.links:
                self.cut_collector(collector, gone.name)
        for name in list(gone.nodes):
            self.cut_node(gone, name, told=False)
        self.coordinators[number] = Coordinator(self, f"a{next(self.numbers)}")
        self.connect_all()

    def crash_node(self) -> None:
        number = self.dice.randrange(len(self.nodes))
        gone = self.nodes[number]
        for coordinator in self.coordinators:
            if gone.name in coordinator.nodes:
                self.cut_node(coordinator, gone.name)
        self.nodes[number] = Node(self, f"n{next(self.numbers)}")
        self.connect_all()

    def crash_worker(self) -> None:
        self.dice.choice(self.nodes).lose_worker(self.dice.randrange(2))

    def cut_some_link(self) -> None:
        if self.dice.random() < 0.5:
            collector = self.dice.choice(self.collectors)
            if collector.links:
                self.cut_collector(collector, self.dice.choice(sorted(collector.links)))
        else:
            coordinator = self.dice.choice(self.coordinators)
            if coordinator.nodes:
                self.cut_node(coordinator, self.dice.choice(sorted(coordinator.nodes)))
        self.connect_all()

    # --- the end, and the truth ---

    def settle(self) -> None:
        """No more faults: everything that there is gets stored and committed."""
        self.store.trouble = 0.0
        goal = {partition: messages[-1][0] + 1 for partition, messages in self.messages.items()}
        for _ in range(20_000):
            for collector in self.collectors:
                for partition in PARTITIONS:
                    collector.read(partition, 5)
            for _ in range(10):
                self.step(faults=False)
            if all(collector.flow.frontiers() == goal for collector in self.collectors):
                for collector in self.collectors:
                    collector.commit()
                return
        raise AssertionError(f"no progress: {[c.flow.frontiers() for c in self.collectors]}, goal {goal}")

    def results(self) -> dict[Any, dict[str, Any]]:
        names = [column.name for column in self.layout.view.columns]
        return {row.id.key: dict(zip(names, row.values)) for row in self.store.scan(self.layout.view)}

    def dead(self) -> list[bytes]:
        from drtc.compute.letters import dead_view

        rows: list[Row] = list(self.store.scan(dead_view(self.layout.view.name)))
        return [read(row).raw for row in rows]

    def truth(self) -> dict[Any, int]:
        found: dict[Any, int] = {}
        for partition in PARTITIONS:
            for event in self.events(partition):
                for key in (event["k"], partition, "all"):
                    found[key] = found.get(key, 0) + 1
        return found

    def events(self, partition: str) -> list[dict[str, Any]]:
        """Those that count, in order."""
        events = [json.loads(value) for _, value in self.messages[partition] if value != b"no json"]
        return [event for event in events if not quiet(event["n"])]


def _shares(send: Any) -> list[bytes]:
    whole = b"".join(send.payloads)
    found = []
    at = 0
    for header in send.headers:
        found.append(whole[at:at + header.size])
        at += header.size
    return found
