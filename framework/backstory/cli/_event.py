"""`backstory event`: one event, what caused it, and what came of it."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, Final

import click
import msgspec
from msgspec import Struct

from backstory._errors import CodecError
from backstory._recorded import RecordedEvent
from backstory._store import EventStore
from backstory.cli._event_line import decode_options, event_line, prepare_decoding
from backstory.cli._help import EPILOG
from backstory.cli._output import print_fields, print_json, print_line, printable
from backstory.cli._session import json_option, open_store, run, store_option
from backstory.operations._transfer import read_as_today

_DEEPEST: Final = 30
"""Levels that are indented; deeper ones stand under each other, with their level in front."""


@click.command(short_help="Print one event, with its causes and effects.", epilog=EPILOG)
@click.argument("id")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=100,
    help="At most so many causes, and so many effects; those nearest to the event.",
)
@decode_options
@store_option
@json_option
def event(
    *, id: str, limit: int, decode: bool, modules: tuple[str, ...], store: str, as_json: bool
) -> None:
    """Print the event ID whole, then its tree: the chain of its causes, and all that came of it.

    ID is an event id, or @ and a position, such as @42. The tree runs over all streams. Each line
    holds position, stream, version, type, actor and the beginning of the data; an arrow marks the
    event itself. What --limit has cut off is said.

    With --json it is one object: `event` as stored, `today` as its class reads it (with --decode,
    null where it does not differ), `causes` from the nearest, `effects` by position, and what was
    cut. These are flat lists: `metadata.causation_id` of each names its own cause.

    \b
    Examples:
      backstory event 0192e4a0-7c1e-7d5a-8a3b-6f1c2d3e4f50
      backstory event @42 --limit 20
      backstory event @42 --decode --import shop
      backstory event @42 --json | jq '.effects[].stream_id'
    """  # noqa: D301 - \b keeps click from wrapping
    prepare_decoding(modules, decode=decode)
    trace = run(partial(_trace, store, id, limit))
    today = _today(trace.event) if decode else None
    if as_json:
        print_json(trace.named(today))
        return
    print_whole(trace.event, today)
    for line in trace.lines():
        print_line(line)


class Trace(Struct, frozen=True):
    """An event with what was read of its causes and effects."""

    event: RecordedEvent
    causes: list[RecordedEvent]
    """From the nearest."""
    has_more_causes: bool
    effects: list[RecordedEvent]
    """By position."""
    has_more_effects: bool

    def named(self, today: RecordedEvent | str | None) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "event": _raw(self.event),
            "today": _raw(today) if isinstance(today, RecordedEvent) else today,
            "causes": [_raw(cause) for cause in self.causes],
            "has_more_causes": self.has_more_causes,
            "effects": [_raw(effect) for effect in self.effects],
            "has_more_effects": self.has_more_effects,
        }

    def lines(self) -> Iterator[str]:
        """Yield the tree as lines."""
        first = self.causes[-1] if self.causes else self.event
        depth = 0
        if self.has_more_causes:
            yield "          … earlier causes; raise --limit to see them"
        elif causation_id := first.metadata.causation_id:
            yield f"          caused by {printable(causation_id)}, which is no event here"
        for depth, cause in enumerate(reversed(self.causes), 1):
            yield _line(cause, depth - 1)
        yield from self._effect_lines(depth)
        if self.has_more_effects:
            yield "          … further effects; raise --limit to see them"

    def _effect_lines(self, depth: int) -> Iterator[str]:
        by_cause: dict[str, list[RecordedEvent]] = {}
        for effect in self.effects:
            by_cause.setdefault(effect.metadata.causation_id or "", []).append(effect)
        # A stack and no recursion: a chain may be as long as --limit.
        waiting = [(depth, self.event)]
        while waiting:
            depth, recorded = waiting.pop()
            yield _line(recorded, depth, is_asked=recorded is self.event)
            effects = by_cause.pop(recorded.event_id, [])
            waiting.extend((depth + 1, effect) for effect in reversed(effects))


def _line(recorded: RecordedEvent, depth: int, *, is_asked: bool = False) -> str:
    text = event_line(recorded, has_time=False)
    position, rest = text[:8], text[8:].lstrip()
    level = "  " * depth if depth <= _DEEPEST else "  " * _DEEPEST + f"({depth}) "
    return f"{position} {'→' if is_asked else ' '} {level}{rest}"


def _raw(recorded: RecordedEvent) -> msgspec.Raw:
    return msgspec.Raw(recorded.to_json())


def _today(recorded: RecordedEvent) -> RecordedEvent | str | None:
    """Return the event as today's class reads it, None where that is as stored, or why not."""
    try:
        today = read_as_today(recorded)
    except CodecError as error:
        return str(error)
    return None if today == recorded else today


def print_whole(recorded: RecordedEvent, today: RecordedEvent | str | None = None) -> None:
    """Print an event with all its fields, and as today's class reads it where that is given."""
    fields = msgspec.json.decode(recorded.to_json())
    # As stored, and not as it would be written anew.
    fields["metadata"], fields["data"] = _text(recorded.metadata_json), _text(recorded.data_json)
    if isinstance(today, str):
        fields["today"] = today
    elif today is not None:
        fields["today"] = f"{today.type}, schema version {today.schema_version}"
        fields["data today"] = _text(today.data_json)
    print_fields(f"event {recorded.event_id}", fields)


def _text(json: bytes) -> str:
    return json.decode(errors="replace")


async def _trace(url: str, id: str, limit: int) -> Trace:
    async with open_store(url, read_only=True) as store:
        recorded = await _find(store, id)
        if recorded is None:
            raise click.ClickException(
                f"there is no event {printable(id)}; `backstory log` shows the positions, and with "
                "--json the ids"
            )
        event_id = recorded.event_id
        causes, has_more_causes = await _first(store.read_causes(event_id), limit)
        effects, has_more_effects = await _first(store.read_effects(event_id), limit)
        return Trace(recorded, causes, has_more_causes, effects, has_more_effects)


async def _find(store: EventStore, id: str) -> RecordedEvent | None:
    if not id.startswith("@"):
        return await store.read_event(id)
    if not (id[1:].isascii() and id[1:].isdigit() and 0 < len(id[1:].lstrip("0")) < 19):  # noqa: PLR2004 - digits of the largest position
        raise click.UsageError(f"{id!r} is no position: write @ and a whole number from 1")
    position = int(id[1:])
    log = store.read_log(after_position=position - 1, until_position=position)
    async for recorded in log:
        return recorded
    return None


async def _first(
    events: AsyncIterator[RecordedEvent], limit: int
) -> tuple[list[RecordedEvent], bool]:
    """Return so many events, and whether there are more."""
    found: list[RecordedEvent] = []
    async for recorded in events:
        if len(found) == limit:
            return found, True
        found.append(recorded)
    return found, False
