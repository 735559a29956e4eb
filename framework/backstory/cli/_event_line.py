"""An event as a command prints it: as a line or as JSON, as stored or as its class reads it."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
import msgspec

from backstory._recorded import RecordedEvent
from backstory.cli._modules import import_classes, import_option
from backstory.cli._output import print_json, print_line, printable
from backstory.operations._transfer import read_as_today

F = TypeVar("F", bound=Callable[..., Any])

Reading = Callable[[RecordedEvent], RecordedEvent]
"""How an event is to be shown."""

_DATA_WIDTH: Final = 80


def decode_options(command: F) -> F:
    """Give a command `--decode` and `--import`, as its parameters `decode` and `modules`."""
    decode = click.option(
        "--decode",
        is_flag=True,
        help="Show types, schema versions and data as today's classes read them, not as stored.",
    )
    return decode(import_option(command))


def prepare_decoding(modules: tuple[str, ...], *, decode: bool) -> None:
    """Import the classes that `--decode` and `--import` ask for.

    Raises:
        UsageError: Modules are named that nothing would be read by.
        ConfigurationError: A module cannot be imported.
    """
    if decode:
        import_classes(modules)
    elif modules:
        raise click.UsageError("--import is for --decode: give both")


def reading_of(modules: tuple[str, ...], *, decode: bool) -> Reading:
    """Return how events are to be shown, with the classes that it takes imported.

    Raises:
        UsageError: As for `prepare_decoding`.
        ConfigurationError: As for `prepare_decoding`.
    """
    prepare_decoding(modules, decode=decode)
    return read_as_today if decode else lambda recorded: recorded


def event_line(recorded: RecordedEvent, *, has_time: bool = True) -> str:
    """Return an event as one line: position, time, stream, version, type, actor, its data begun."""
    data = printable(recorded.data_json.decode(errors="replace"))
    shown = data if len(data) <= _DATA_WIDTH else data[: _DATA_WIDTH - 1] + "…"
    time = f"{recorded.recorded_at:%Y-%m-%d %H:%M:%S}  " if has_time else ""
    place = f"{printable(recorded.stream_id)} {recorded.version}"
    actor = f"  by {printable(who)}" if (who := recorded.metadata.actor) else ""
    return f"{recorded.position:>8}  {time}{place}  {printable(recorded.type)}{actor}  {shown}"


def print_event(recorded: RecordedEvent, *, as_json: bool) -> None:
    """Print an event as one line, or whole as JSON."""
    if as_json:
        print_json(msgspec.Raw(recorded.to_json()))
    else:
        print_line(event_line(recorded))
