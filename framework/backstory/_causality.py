"""Causes and effects: which event came of which, over all streams.

Every event names in its metadata what directly caused it: another event, or the command that began
it all. So the events form trees, whose roots are commands. A cause lies before its effects in the
log, since it had to be recorded before anything could react to it; an event that names a later one,
or itself, is not believed. That is why neither direction can run in circles.
"""

import heapq
from collections.abc import AsyncIterator
from typing import Protocol, cast

from backstory._errors import InvalidInputError
from backstory._filter import EventFilter, FilterItem
from backstory._ids import parse_event_id
from backstory._recorded import RecordedEvent


class CausedLog(Protocol):
    """What is needed of a store."""

    async def find_event(self, event_id: str) -> RecordedEvent | None:
        """Return the event with an id, or None."""
        ...

    def read_log(self, *, after_position: int, where: EventFilter) -> AsyncIterator[RecordedEvent]:
        """Iterate over the events of the whole store."""
        ...


async def causes_of(log: CausedLog, event: RecordedEvent) -> AsyncIterator[RecordedEvent]:
    """Iterate over an event's causes, from the direct one to the first."""
    while True:
        cause = await find_cause(log, event.metadata.causation_id)
        if cause is None or cause.position >= event.position:
            return
        yield cause
        event = cause


async def effects_of(
    log: CausedLog, causation_id: str, *, after_position: int
) -> AsyncIterator[RecordedEvent]:
    """Iterate over what came of an event or a command, directly or not, in order of positions."""
    # Effects lie behind their causes: so the nearest of those found is the nearest of all.
    found: list[tuple[int, RecordedEvent]] = []
    while True:
        direct = EventFilter((FilterItem(causation_id=causation_id),))
        async for effect in log.read_log(after_position=after_position, where=direct):
            heapq.heappush(found, (effect.position, effect))
        if not found:
            return
        after_position, nearest = heapq.heappop(found)
        yield nearest
        causation_id = nearest.event_id


async def find_cause(log: CausedLog, causation_id: str | None) -> RecordedEvent | None:
    """Return the event that a causation id names, or None where it names a command, or nothing."""
    try:
        # To the letter, as effects are found: an id in another spelling is another text.
        is_event_id = parse_event_id(causation_id) == causation_id
    except InvalidInputError:
        is_event_id = False
    return await log.find_event(cast("str", causation_id)) if is_event_id else None
