"""What the contract's tests append, and how they look at what they read."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Final

from backstory._events import Event
from backstory._recorded import NewEvent, RecordedEvent
from backstory._snapshot import Snapshot
from backstory.testing._events import new_event

PAGE_EVENT_COUNT: Final = 1_000
"""What iterators read at a time; the tests of long reads go beyond it."""


class Noted(Event, type="contract:noted"):
    """Something was written down."""

    text: str = ""


class Counted(Event, type="contract:counted", aliases=("contract:tallied",)):
    """Something was counted; it was once stored under another type."""

    by: int = 1


class Listed(Event, type="contract:listed"):
    """A list was made: data that a careless reader could change."""

    words: list[str] = []  # noqa: RUF012 - a struct's mutable default is fresh for each instance


def noted(*texts: str) -> list[NewEvent]:
    """Return a new event for each text."""
    return [new_event(Noted(text=text)) for text in texts]


async def drain(events: AsyncIterator[RecordedEvent]) -> list[RecordedEvent]:
    """Return everything that an iterator yields."""
    return [recorded async for recorded in events]


def texts_of(events: Sequence[RecordedEvent]) -> list[str]:
    """Return the texts of noted events."""
    return [event.data.text for event in events if isinstance(event.data, Noted)]


def snapshot(version: int, *, stream_id: str = "task-1", fingerprint: str = "f") -> Snapshot:
    """Return a snapshot that says which it is."""
    return Snapshot(stream_id, version, fingerprint, json.dumps({"v": version, "é": 1}).encode())
