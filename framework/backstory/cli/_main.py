"""The program `backstory`: its own commands, and those that other packages bring."""

import os
import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any, Final

import click

from backstory._errors import BackstoryError
from backstory.cli._log import log
from backstory.cli._state import state
from backstory.cli._stream import stream

_FAILED: Final = 1
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141


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


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("backstory"), prog_name="backstory")
def backstory() -> None:
    """Ask a store of events what happened, in what order, and why.

    Every command takes the store with --store or from BACKSTORY_STORE.
    """


backstory.add_command(log)
backstory.add_command(stream)
backstory.add_command(state)


def main() -> None:
    """Run the program and exit with its code."""
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        code = backstory.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BackstoryError as error:
        click.echo(f"backstory: {error}", err=True)
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
