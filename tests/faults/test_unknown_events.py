"""An older program meets a newer event: it keeps it, passes it on, and decides nothing upon it."""

import json
import uuid
from typing import Any

import pytest
from tests.conftest import Counted, Counter, drain, new_event, unchecked
from tests.faults.account import faults

from backstory import (
    ANY,
    Aggregate,
    Backstory,
    DecodeError,
    Event,
    EventStore,
    NewEvent,
    OnFailure,
    Projection,
    ProjectionFailedError,
    RawEvent,
    UnknownEventTypeError,
    on,
)
from backstory.operations import export_events, import_events
from backstory.stores.in_memory import InMemoryStore

pytestmark = pytest.mark.anyio

FUTURE = {
    "a type of the future": ("x.future", 99, b'{"b":[1,{"c":null}],"a":1e2}'),
    "a newer schema version": ("test:counted", 99, b'{"by":"as many as you like"}'),
}


async def store_future(store: EventStore, name: str) -> bytes:
    """Append an event of the future between two of today; return its data."""
    faults.count()
    event_type, schema_version, data_json = FUTURE[name]
    future = NewEvent.raw(
        event_type, data_json, event_id=uuid.uuid4(), schema_version=schema_version
    )
    events = [new_event(Counted()), future, new_event(Counted())]
    await store.append("counter-1", events, expected_version=ANY)
    return data_json


class Sums(Projection, on_failure=OnFailure.STOP, attempt_count_max=1):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


class Careful(Aggregate, category="counter"):
    """Says what it does with what it does not know."""

    total: int = 0
    unknown_count: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by

    @on(RawEvent)
    def _unknown(self, event: RawEvent) -> None:
        self.unknown_count += 1


@pytest.mark.fault(26, "T18", without="the raw event in place of an unknown one")
@pytest.mark.parametrize("name", FUTURE)
async def test_event_of_the_future_is_passed_on_byte_for_byte(store: EventStore, name: str) -> None:
    data_json = await store_future(store, name)

    events = await drain(store.read_log())

    assert [event.data for event in events] == [
        Counted(),
        RawEvent(content=json.loads(data_json)),
        Counted(),
    ]
    assert events[1].data_json == data_json
    async with InMemoryStore() as copy:
        lines = [line async for line in export_events(store)]
        await import_events(copy, lines)
        assert (await drain(copy.read_log()))[1].data_json == data_json


@pytest.mark.fault(26, "T18", without="the refusal to fold what is unknown")
@pytest.mark.parametrize("name", FUTURE)
async def test_older_program_decides_nothing_upon_a_newer_event(
    store: EventStore, name: str
) -> None:
    await store_future(store, name)

    async with Backstory(store) as story:
        with pytest.raises(UnknownEventTypeError, match="version 2 of stream 'counter-1'"):
            await story.execute(Counter.count, "1")
        assert (await story.load(Counter, "1", at_version=1)).total == 1
        careful = await story.load(Careful, "1")

    assert await store.head() == 3
    assert (careful.total, careful.unknown_count) == (2, 1)


@pytest.mark.fault(26, "T18", without="the refusal to fold what is unknown")
async def test_projection_passes_over_a_new_type_and_stops_at_a_newer_one(
    store: EventStore,
) -> None:
    await store_future(store, "a type of the future")
    async with Backstory(store, projections=[Sums]) as story:
        assert (await story.read_model(Sums)).total == 2

    await store_future(store, "a newer schema version")
    async with Backstory(store, projections=[Sums]) as story:
        with pytest.raises(ProjectionFailedError, match="UnknownEventTypeError") as failed:
            await story.read_model(Sums)

    assert failed.value.position == 5


def _fail(data: dict[str, Any]) -> dict[str, Any]:
    return {"text": data["words"]["first"]}


class Improved(Event, type="fault:improved", schema_version=2, upcasters={1: _fail}):
    text: str


@pytest.mark.fault(26, 30, "T17", without="the translation of what an upcaster raises")
@pytest.mark.parametrize("data_json", [b"{}", b'{"words":1}', b'{"words":{"first":7}}', b"[]"])
async def test_upcaster_that_raises_is_named_with_its_event(
    store: EventStore, data_json: bytes
) -> None:
    faults.count()
    bad = unchecked(str(uuid.uuid4()), "fault:improved", 1, data_json)
    good = new_event(Improved(text="whole"))
    await store.append("note-1", [bad, good], expected_version=ANY)

    first, second = await drain(store.read_log())

    with pytest.raises(DecodeError, match="version 1 of stream 'note-1'"):
        _ = first.data
    assert second.data == Improved(text="whole")
    assert first.data_json == data_json
