"""How the tests of read models fold a history."""

from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec

from backstory import ANY, Event, Metadata, NewEvent, Projection, derive_event_id, fold_log
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import ManualClock

P = TypeVar("P", bound=Projection)

RECORDED_AT: Final = datetime(2026, 1, 7, 12, tzinfo=UTC)
"""When the store hears of the first event; each further one is a minute later."""


def minutes(count: float) -> datetime:
    """Return the time so many minutes after the first event was recorded."""
    return RECORDED_AT + timedelta(minutes=count)


async def fold(projection: type[P], *history: tuple[str, Event], actor: str | None = None) -> P:
    """Return the read model of a history: pairs of stream id and event.

    It is folded twice, and kept as JSON in between, as a checkpoint keeps it; neither may make a
    difference.
    """
    clock = ManualClock()
    async with InMemoryStore(clock=clock) as store:
        for place, (stream_id, event) in enumerate(history):
            new = NewEvent.of(
                event, event_id=derive_event_id("test", place), metadata=Metadata(actor=actor)
            )
            await store.append(stream_id, [new], expected_version=ANY)
            clock.advance(60)
        model = await fold_log(store, projection)
        assert await fold_log(store, projection) == model
    assert msgspec.json.decode(msgspec.json.encode(model), type=projection) == model
    return model
