"""`backstory actors`: what the actors of running programs are doing."""

from functools import partial
from typing import Final

import click

from backstory._control import ProcessReport, ask_all, control_file
from backstory._errors import ConfigurationError
from backstory.actors import ActorState, ActorStatus
from backstory.cli._help import EPILOG
from backstory.cli._output import print_json, print_line, print_table, printable
from backstory.cli._session import json_option, open_store, run, store_option

_FAILED: Final = 1
_TIMEOUT_SECONDS: Final = 5.0
_ERROR_LENGTH_MAX: Final = 120
_COLUMNS: Final = (
    *("actor", "state", "mailbox", "handled", "failures", "restarts", "idle seconds"),
    "last error",
)


@click.command(short_help="See the actors of running programs.", epilog=EPILOG)
@store_option
@json_option
@click.pass_context
def actors(context: click.Context, *, store: str, as_json: bool) -> None:
    """List the actors of each program that runs on the store with a control socket.

    A program has one when it says so: Backstory(..., control=True). It lies beside the store's
    file, and only who runs the program may ask there. Of each actor there is what it does, how many
    messages wait, how many it has handled, its failures and restarts, how long it has been idle,
    and the beginning of its last error; those with the most waiting come first. With --json there
    is a line for each program, with its live aggregates and projections too.

    A program that does not answer is named on standard error, and the exit code is 1.

    \b
    Examples:
      backstory actors --store sqlite:///story.db
      backstory actors --json | jq '.actors[] | select(.failure_count > 0)'
    """  # noqa: D301 - \b keeps click from wrapping
    reports = run(partial(_ask, store))
    for report in reports:
        _print_json(report) if as_json else _print_actors(report)
    if not reports and not as_json:
        print_line("no program with a control socket")
    if any(report.error is not None for report in reports):
        context.exit(_FAILED)


async def _ask(url: str) -> list[ProcessReport]:
    file = control_file(open_store(url, read_only=True))
    # The store itself is not opened: what is wrong with it may be why somebody asks.
    if not file.exists():
        raise ConfigurationError(f"there is no store at {file}; name one that exists")
    return await ask_all(file, timeout_seconds=_TIMEOUT_SECONDS)


def _print_json(report: ProcessReport) -> None:
    print_json(report)
    _print_error(report)


def _print_actors(report: ProcessReport) -> None:
    _print_error(report)
    if report.error is not None:
        return
    title = f"process {report.process_id}, live aggregates: {len(report.live_aggregates):,}"
    rows = [_row(status) for status in sorted(report.actors, key=_urgency)]
    print_table(title, _COLUMNS, rows, empty=f"{title}, no actors")


def _print_error(report: ProcessReport) -> None:
    if report.error is not None:
        click.echo(f"process {report.process_id}: {printable(report.error)}", err=True)


def _urgency(status: ActorStatus) -> tuple[object, ...]:
    is_idle = status.state is ActorState.IDLE
    return (-status.mailbox_depth, is_idle, -status.failure_count, status.idle_seconds)


def _row(status: ActorStatus) -> tuple[object, ...]:
    return (
        *(status.name, status.state.value, status.mailbox_depth, status.handled_count),
        *(status.failure_count, status.restart_count, round(status.idle_seconds, 1)),
        _shortened(status.last_error),
    )


def _shortened(text: str | None) -> str | None:
    if text is None or len(text) <= _ERROR_LENGTH_MAX:
        return text
    return f"{text[:_ERROR_LENGTH_MAX]}…"
