"""The program `backstory`: its own commands, and those that other packages bring."""

import os
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any, Final

import click

from backstory._errors import BackstoryError
from backstory.cli._actors import actors
from backstory.cli._check_compat import check_compat
from backstory.cli._completion import COMPLETE_VARIABLE, PROGRAM, completion
from backstory.cli._event import event
from backstory.cli._log import log
from backstory.cli._migrate import migrate
from backstory.cli._output import printable
from backstory.cli._parked import parked
from backstory.cli._projections import projections
from backstory.cli._salvage import salvage
from backstory.cli._state import state
from backstory.cli._stats import stats
from backstory.cli._stream import stream
from backstory.cli._streams import streams
from backstory.cli._verify import verify

_FAILED: Final = 1
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141

_SECTIONS: Final = {
    "What happened": ("log", "stream", "event"),
    "What there is": ("show", "state", "streams", "stats"),
    "Programs at work": ("projections", "parked", "actors"),
    "Into a store and out of it": ("import", "export"),
    "Care": ("migrate", "verify", "salvage", "check-compat", "completion"),
}
"""Where the help lists a command; one that stands nowhere is listed behind them."""


class _Commands(click.Group):
    """A group that also finds commands by entry point, and loads one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_further_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        further = _further_commands()
        if own is not None or cmd_name not in further:
            return own
        try:
            command = further[cmd_name].load()
        except Exception as error:  # noqa: BLE001 - another package's; it must not take `--help` along
            return _broken(cmd_name, f"{further[cmd_name].value} cannot be loaded: {error}")
        if not isinstance(command, click.Command):
            return _broken(cmd_name, f"{further[cmd_name].value} is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        placed = {name for section in _SECTIONS.values() for name in section}
        sections = {**_SECTIONS, "Further commands": [name for name in names if name not in placed]}
        for title, section in sections.items():
            self._format_section(ctx, formatter, title, [name for name in section if name in names])

    def _format_section(
        self, ctx: click.Context, formatter: click.HelpFormatter, title: str, names: Iterable[str]
    ) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in names]
        rows = [
            (name, command.get_short_help_str(formatter.width))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _PipeClosedError from error


class _PipeClosedError(Exception):
    """The reader of standard output went away; not an OSError, which click would answer itself."""


def _broken(name: str, reason: str) -> click.Command:
    def fail(**_: object) -> None:
        raise click.ClickException(reason)

    # Whatever it is called with, the reason is the answer.
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=fail, help=reason, context_settings=settings)


def _further_commands() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="backstory.commands")}


_EPILOG: Final = """`backstory COMMAND --help` says what a command does, with examples, its exit
codes and its environment. The documentation, under docs/how-to, has whole tasks."""


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog=_EPILOG,
)
@click.version_option(version("backstory"), prog_name=PROGRAM)
def backstory() -> None:
    """Ask a store of events what happened, in what order, and why.

    Every command takes the store with --store URL or from BACKSTORY_STORE; without either it is
    sqlite:///backstory.db, a file in the current folder. With --json it prints JSON.

    \b
    Examples:
      backstory log --limit 10
      backstory stats --store sqlite:///story.db
    """  # noqa: D301 - \b keeps click from wrapping


for command in (
    *(log, stream, event, state, streams, stats, projections, parked, actors),
    *(migrate, verify, salvage, check_compat, completion),
):
    backstory.add_command(command)


def main() -> None:
    """Run the program and exit with its code."""
    sys.exit(_exit_code())


def _exit_code() -> int:
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        # What the terminal's encoding has not is escaped, as on standard error.
        reconfigure(errors="backslashreplace")
    try:
        code = backstory.main(
            # By name, so that `python -m backstory` is the same program.
            prog_name=PROGRAM,
            complete_var=COMPLETE_VARIABLE,
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BackstoryError as error:
        # One line, and nothing a terminal obeys: a reason may quote what is stored.
        click.echo(f"backstory: {printable(error)}", err=True)
        return _FAILED
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except _PipeClosedError:
        # Nobody reads on. What is still buffered must not raise again when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        # A file, or standard output, that cannot be written; stores say so by errors of their own.
        click.echo(f"backstory: {error}", err=True)
        sys.stdout = None  # what is still buffered cannot be written either
        return _FAILED
    return code if isinstance(code, int) else 0
