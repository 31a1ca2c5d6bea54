"""``python -m tests.bench NAME``; ``--help`` says which there are. Ends with 1 if any answer was wrong."""
from __future__ import annotations

import sys

import click


setting = click.option("--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE",
                       help="Handed on to every drtc run; may be repeated.")
store = click.option("--store", "stores", multiple=True, metavar="NAME",
                     help="Also into this store of the contract suite, beside SQLite; may be repeated.")


@click.group(no_args_is_help=True)
def bench() -> None:
    """Benchmarks of drtc; every one checks the answer and writes tests/bench/results/NAME-TIME.json."""


@bench.command()
@click.option("--events", default=5_000_000, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="How often each system runs; they alternate.")
@click.option("--route", "routes", multiple=True, default=("partition", "json:user_id"), show_default=True)
@click.option("--plain/--no-plain", default=True, show_default=True, help="Also without the hot modules compiled.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="The hand-written loops as well.")
@store
@setting
def campaigns(events: int, rounds: int, routes: tuple[str, ...], plain: bool, peers: bool, stores: tuple[str, ...],
              sets: tuple[str, ...]) -> int:
    """The Yahoo streaming benchmark: a Kafka topic into SQLite, beside hand-written loops."""
    from .campaigns import run

    return run(events, rounds, routes, plain, peers, stores, sets)


@bench.command()
@click.option("--lines", default=1_000_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--route", "routes", multiple=True, default=("partition", "csv:0"), show_default=True)
@click.option("--plain/--no-plain", default=False, show_default=True, help="Also without the hot modules compiled.")
@store
@setting
def profile(lines: int, rounds: int, routes: tuple[str, ...], plain: bool, stores: tuple[str, ...],
            sets: tuple[str, ...]) -> int:
    """A CSV file into almost as many records as there are lines in a batch: the store is what is measured."""
    from .profile import run

    return run(lines, rounds, routes, plain, stores, sets)


@bench.command()
@click.option("--rate", default=10_000, show_default=True, help="Events a second.")
@click.option("--seconds", default=60, show_default=True)
@click.option("--route", default="partition", show_default=True)
@setting
def latency(rate: int, seconds: int, route: str, sets: tuple[str, ...]) -> int:
    """From the producer's clock to the record visible in the store, under a steady light load."""
    from .latency import run

    return run(rate, seconds, route, sets)


@bench.command()
@click.option("--events", default=5_000_000, show_default=True)
@click.option("--seconds", default=60, show_default=True, help="How long the store takes nothing.")
@click.option("--budget", default=64, show_default=True, help="MB that each role may hold.")
@click.option("--route", default="partition", show_default=True)
@setting
def memory(events: int, seconds: int, budget: int, route: str, sets: tuple[str, ...]) -> int:
    """Resident memory of each role while the store is stopped, and the answer afterwards."""
    from .memory import run

    return run(events, seconds, budget, route, sets)


@bench.command()
@click.option("--rounds", default=5, show_default=True, help="How often each queue runs; they alternate.")
@click.option("--megabytes", default=32, show_default=True, help="Most that one run writes.")
@click.option("--group", default=1, show_default=True, help="Items in one call.")
@click.option("--directory", default=None, type=click.Path(exists=True, file_okay=False), help="On which disk.")
def overflow(rounds: int, megabytes: int, group: int, directory: str | None) -> int:
    """The queue on disk: write and drain rates from 4 KiB to 4 MiB, each type in each mode, and the disk alone."""
    from .overflow import run

    return run(rounds, megabytes, group, directory)


@bench.command()
@click.option("--rounds", default=7, show_default=True)
def start(rounds: int) -> int:
    """How long it takes to import drtc, and from starting drtc run to the first result."""
    from .start import run

    return run(rounds)


@bench.command()
@click.option("--nodes", multiple=True, type=click.IntRange(min=1), default=(1, 2, 3, 4), show_default=True)
@click.option("--coordinators", multiple=True, type=click.IntRange(min=1), default=(1, 2, 3), show_default=True)
@click.option("--sleep", default=0.002, show_default=True, help="Seconds that the Job sleeps for each event.")
@click.option("--seconds", default=15.0, show_default=True, help="How long each node is busy in a run.")
@click.option("--slots", default=256, show_default=True, help="Four files: four times as many lanes.")
@click.option("--rounds", default=1, show_default=True)
@click.option("--compiled/--plain", default=True, show_default=True, help="With the hot modules compiled.")
@setting
def scaling(nodes: tuple[int, ...], coordinators: tuple[int, ...], sleep: float, seconds: float, slots: int,
            rounds: int, compiled: bool, sets: tuple[str, ...]) -> int:
    """Throughput against compute nodes and coordinators, with an expensive map."""
    from .scaling import run

    return run(nodes, coordinators, sleep, seconds, slots, rounds, compiled, sets)


@bench.command()
@click.option("--nodes", multiple=True, type=click.IntRange(min=1), default=(1, 10, 50), show_default=True)
@click.option("--membership", type=click.Choice(["local", "static", "zookeeper"]), default="local", show_default=True)
@click.option("--events", default=1_000_000, show_default=True)
@click.option("--seconds", default=15.0, show_default=True, help="How long nothing flows.")
@click.option("--rounds", default=1, show_default=True)
@click.option("--compiled/--plain", default=True, show_default=True, help="With the hot modules compiled.")
@setting
def idle(nodes: tuple[int, ...], membership: str, events: int, seconds: float, rounds: int, compiled: bool,
         sets: tuple[str, ...]) -> int:
    """What members that have nothing to do cost: by the second, and for each event of the others."""
    from .idle import run

    return run(nodes, membership, events, seconds, rounds, compiled, sets)


@bench.command()
@click.option("--seconds", default=60.0, show_default=True, help="How long the burst lasts.")
@click.option("--factor", default=10.0, show_default=True, help="Times the sustainable rate.")
@click.option("--sleep", default=0.002, show_default=True, help="Seconds that the Job sleeps for each event.")
@click.option("--nodes", default=2, show_default=True)
@click.option("--coordinators", default=1, show_default=True)
@click.option("--filler", default=500, show_default=True, help="Bytes of each event that nobody looks at.")
@click.option("--budget", default=16, show_default=True, help="MB that each role may hold.")
@click.option("--disk", default=2_000, show_default=True, help="MB that each coordinator may have on disk.")
@click.option("--relief", default=10.0, show_default=True,
              help="How much faster the Job is in the second part of the drain.")
@click.option("--compiled/--plain", default=True, show_default=True, help="With the hot modules compiled.")
@setting
def burst(seconds: float, factor: float, sleep: float, nodes: int, coordinators: int, filler: int, budget: int,
          disk: int, relief: float, compiled: bool, sets: tuple[str, ...]) -> int:
    """Ten times the sustainable rate for a minute: memory, disk, and order all the while."""
    from .burst import Plan, run

    return run(Plan(seconds, factor, sleep, nodes, coordinators, filler, budget, disk, relief), compiled, sets)


@bench.command()
@click.option("--type", "types", multiple=True, metavar="NAME", help="Of the contract suite's; without it, all.")
@click.option("--rows", default=1_000, show_default=True, help="In one call.")
@click.option("--seconds", default=5.0, show_default=True, help="Of each measurement.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Of [store]; may be repeated.")
def stores(types: tuple[str, ...], rows: int, seconds: float, sets: tuple[str, ...]) -> int:
    """Each store by itself: conditional saves and loads, from one process and from two."""
    from .stores import run

    return run(types, rows, seconds, sets)


sys.exit(bench(standalone_mode=False))
