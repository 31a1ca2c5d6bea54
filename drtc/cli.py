"""The command line: reads the configuration, hands over to the part that does the work, ends with its exit code.

A DrtcError is a sentence for a person: it goes to stderr without a traceback. Anything else is a mistake of ours and
keeps its traceback. Whatever a command needs is imported when it runs, so that ``--help`` is quick.
"""
from __future__ import annotations

import os
import select
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any, Callable, Sequence, TypeVar, cast

import click

from .errors import INTERRUPTED, DrtcError

if TYPE_CHECKING:
    from .config import Config

Command = TypeVar("Command", bound=Callable[..., Any])


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0, the exit code of a DrtcError, or 2 for a wrong command line."""
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    try:
        with drtc.make_context("drtc", arguments) as context:
            code = drtc.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as asked:
        return asked.exit_code
    except click.exceptions.NoArgsIsHelpError as shown:
        shown.show()
        return shown.exit_code
    except click.ClickException as mistake:
        context_of = getattr(mistake, "ctx", None)
        _complain(mistake.format_message())
        if context_of is not None:
            click.echo(f"Try: {context_of.command_path} --help", err=True)
        return mistake.exit_code
    except DrtcError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        if not _reader_left():
            raise
        return 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("", err=True)
        return INTERRUPTED


def _complain(text: str) -> None:
    for line in text.splitlines():
        click.echo(f"drtc: {line}", err=True)


def _reader_left() -> bool:
    """Whether it was stdout's reader that went away (``drtc query | head``), which is not worth a word."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # no file: nobody can leave
        return False
    watch = select.poll()
    watch.register(output, 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # or Python complains while it exits
    return True


def configured(command: Command) -> Command:
    """Gives a command ``-c`` and ``--set``; it gets the ``config`` made of them as its first argument.

    ``--listen``, where the command has it, is one more setting of the role's section.
    """

    @wraps(command)
    def with_config(path: str, sets: tuple[str, ...], listen: str = "", **others: Any) -> Any:
        from .config import load

        if listen:
            sets += (f"{command.__name__}.listen={listen}",)
        return command(load(path, sets), **others)

    with_sets = click.option("--set", "sets", multiple=True, metavar="SECTION.KEY=VALUE",
                             help="Overrides one setting; may be repeated.")(with_config)
    with_file = click.option("-c", "--config", "path", required=True, metavar="FILE", envvar="DRTC_CONFIG",
                             show_envvar=True, help="The INI file.")(with_sets)
    return cast(Command, with_file)  # another signature for click, the same kind of thing for its decorators


until_end = click.option("--until-end", is_flag=True,
                         help="Stop when everything that was there at the start is stored.")
listening = click.option("--listen", default="", metavar="HOST:PORT", help="Where to listen; port 0: any free one.")
named = click.option("--name", default="", metavar="NODE", help="The node's name; one is made up otherwise.")


@click.group(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, help="Show the version and exit.",
              callback=lambda context, _, asked: _show_version(context) if asked else None)
def drtc() -> None:
    """Real-time computing, exact to the event: from a source through your Job to a store.

    One INI file serves every command.
    """


@drtc.command()
@configured
@until_end
def run(config: Config, until_end: bool) -> int:
    """Run a whole job on this machine, one process per role."""
    from .supervisor import run

    _start_logs(config)
    return run(config, until_end)


@drtc.command()
@configured
@named
@until_end
@click.option("--with-coordinator", is_flag=True, help="A coordinator in the same process, named NODE-coordinator.")
def collector(config: Config, name: str, until_end: bool, with_coordinator: bool) -> int:
    """Start one collector: it reads the source."""
    from .collector.service import main

    _start_logs(config)
    return main(config, name, until_end, with_coordinator)


@drtc.command()
@configured
@named
@listening
def coordinator(config: Config, name: str) -> int:
    """Start one coordinator: it queues and deals out batches."""
    from .coordinator.service import main

    _start_logs(config)
    return main(config, name)


@drtc.command()
@configured
@named
@listening
def compute(config: Config, name: str) -> int:
    """Start one compute node: it runs the Job and stores results."""
    from .compute.service import main

    _start_logs(config)
    return main(config, name)


@drtc.command()
@configured
@click.argument("key", required=False)
@click.option("--window", metavar="TIME", help="Only windows that contain this instant: 2013-07-04, 2013-07-04T12:00 "
                                               "(UTC unless it says otherwise) or epoch seconds.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Most records; 20 for a table, else all.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
def query(config: Config, key: str | None, window: str | None, limit: int | None, form: str) -> None:
    """Show the results, all of them or those of KEY."""
    from .commands.query import query

    query(config, key, window, limit, form)


@drtc.command()
@configured
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
def status(config: Config, form: str, watch: bool) -> None:
    """Say what is running and how far it is.

    Exit code 0: all are there and the work gets on; 10: stalled; 11: members are missing; 7: no coordinator answers.
    With json it is 0 whenever there is an answer.
    """
    from .commands.show import show_status, watch_status

    _start_logs(config, asks=True)
    (watch_status if watch else show_status)(config, form)


@drtc.command()
@configured
@click.argument("node")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
              metavar="SECONDS", help="How long to wait until it has left.")
def drain(config: Config, node: str, timeout: float) -> None:
    """Tell NODE to finish what it has begun and to end.

    NODE is a collector, a coordinator or a compute node, by its name, ROLE/NAME or address. Waits until it has left
    the cluster; the others go on with its share. Exit code 8: it has not in time.
    """
    from .commands.drain import drain

    _start_logs(config, asks=True)
    drain(config, node, timeout)


@drtc.command("config")
@configured
def show_config(config: Config) -> None:
    """Print the settings in force, each with its origin.

    Secrets are masked."""
    from .commands.show import show_config

    show_config(config)


@drtc.group()
def dead() -> None:
    """Look at events that could not be counted; replay them."""


@dead.command("list")
@configured
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_dead(config: Config, limit: int, form: str) -> None:
    """List the dead letters."""
    from .commands.dead import list_letters

    list_letters(config, limit, form)


@dead.command("show")
@configured
@click.argument("letter")
def show_dead(config: Config, letter: str) -> None:
    """Show one dead letter whole: its error, traceback and raw bytes."""
    from .commands.dead import show_letter

    show_letter(config, letter)


@dead.command("replay")
@configured
@click.argument("letters", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Replay every dead letter.")
def replay_dead(config: Config, letters: tuple[str, ...], everything: bool) -> None:
    """Count dead letters again, with today's Job; those that succeed are removed."""
    from .commands.dead import replay_letters

    if bool(letters) == everything:
        raise click.UsageError("name the dead letters to replay, or say --all")
    replay_letters(config, list(letters))


@drtc.command("init-store")
@configured
def init_store(config: Config) -> None:
    """Make what the job needs in its store: tables, indexes, sets.

    What is there already is left as it is. Roles do the same at their start; this is for those whose roles may not."""
    from .commands.init_store import init_store

    _start_logs(config, asks=True)
    init_store(config)


@drtc.command()
@configured
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(config: Config, yes: bool) -> None:
    """Drop the job's results, offsets and dead letters.

    Says how many there are, and asks."""
    from .commands.reset import reset

    _start_logs(config, asks=True)
    reset(config, yes)


def _show_version(context: click.Context) -> None:
    from .commands.show import version

    click.echo(version())
    context.exit()


def _start_logs(config: Config, asks: bool = False) -> None:
    """``asks``: the command only asks the others something; it has nothing to tell but trouble."""
    from logging import INFO, WARNING

    from .observe.logs import start

    watched = "DRTC_SUPERVISED" in os.environ and sys.stderr.isatty()  # there the progress line of drtc run says it
    start(config.cluster.log, level=WARNING if watched or asks else INFO)
