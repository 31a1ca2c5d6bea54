"""``python -m tests.bench NAME``; ``--help`` says which there are. Ends with 1 if any answer was wrong."""
from __future__ import annotations

import sys

import click


setting = click.option("--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE",
                       help="Handed on to every drtc run; may be repeated.")


@click.group(no_args_is_help=True)
def bench() -> None:
    """Benchmarks of drtc; every one checks the answer and writes tests/bench/results/NAME-TIME.json."""


@bench.command()
@click.option("--events", default=5_000_000, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="How often each system runs; they alternate.")
@click.option("--route", "routes", multiple=True, default=("partition", "json:user_id"), show_default=True)
@click.option("--plain/--no-plain", default=True, show_default=True, help="Also without the hot modules compiled.")
@click.option("--peers/--no-peers", default=True, show_default=True, help="The hand-written loops as well.")
@setting
def campaigns(events: int, rounds: int, routes: tuple[str, ...], plain: bool, peers: bool,
              sets: tuple[str, ...]) -> int:
    """The Yahoo streaming benchmark: a Kafka topic into SQLite, beside hand-written loops."""
    from .campaigns import run

    return run(events, rounds, routes, plain, peers, sets)


@bench.command()
@click.option("--lines", default=1_000_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--route", "routes", multiple=True, default=("partition", "csv:0"), show_default=True)
@click.option("--plain/--no-plain", default=False, show_default=True, help="Also without the hot modules compiled.")
@setting
def profile(lines: int, rounds: int, routes: tuple[str, ...], plain: bool, sets: tuple[str, ...]) -> int:
    """A CSV file into almost as many records as there are lines in a batch: the store is what is measured."""
    from .profile import run

    return run(lines, rounds, routes, plain, sets)


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
@click.option("--rounds", default=7, show_default=True)
def start(rounds: int) -> int:
    """How long it takes to import drtc, and from starting drtc run to the first result."""
    from .start import run

    return run(rounds)


sys.exit(bench(standalone_mode=False))
