"""The clock, the ids and the events that tests are made with."""

from datetime import UTC, datetime

import pytest
from tests.conftest import Counter, Noted

from backstory import ANY, Clock, IdSource, InvalidInputError, Metadata, Repository
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import ManualClock, SequentialIds, new_event, recorded_event, recorded_on


def test_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    as_clock: Clock = clock

    assert as_clock.now() == as_clock.now() == clock.moment
    clock.advance(90)
    clock.advance(-30)
    assert as_clock.now() == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def test_ids_are_the_same_in_every_run() -> None:
    ids: IdSource = SequentialIds()

    assert [ids.new(), ids.new()] == [
        "00000000-0000-7000-8000-000000000001",
        "00000000-0000-7000-8000-000000000002",
    ]
    assert SequentialIds().new() == "00000000-0000-7000-8000-000000000001"


@pytest.mark.anyio
async def test_repository_takes_its_ids_from_a_sequence() -> None:
    async with InMemoryStore() as store:
        await Repository(store, ids=SequentialIds()).execute(Counter.count, "c")

        (recorded,) = [event async for event in store.read_log()]
        assert recorded.event_id.startswith("00000000-0000-7000-8000-0000000000")


def test_new_event_has_a_fresh_id_and_the_metadata_it_is_given() -> None:
    one = new_event(Noted(text="a"), actor="ada", tags=["x"], free={"k": 1}, causation_id="b")
    other = new_event(Noted(text="a"), event_id="{00000000-0000-7000-8000-0000000000AB}")

    assert one.event_id != other.event_id == "00000000-0000-7000-8000-0000000000ab"
    assert (one.type, one.data_json, one.tags) == ("test:noted", b'{"text":"a"}', ("x",))
    assert other.metadata_json == b"{}"


def test_recorded_event_has_sensible_places_unless_others_are_given() -> None:
    plain = recorded_event(Noted(text="a"))
    placed = recorded_event(
        Noted(), stream_id="note-7", version=3, position=9, actor="ada", correlation_id="c"
    )

    assert (plain.stream_id, plain.version, plain.position) == ("test-1", 1, 1)
    assert plain.data == Noted(text="a")
    assert (placed.category, placed.id, placed.version, placed.position) == ("note", "7", 3, 9)
    assert placed.metadata == Metadata(actor="ada", correlation_id="c")


@pytest.mark.anyio
async def test_recorded_event_is_the_one_that_a_store_records() -> None:
    clock = ManualClock()
    new = new_event(Noted(text="a"), actor="ada", tags=["x"])
    async with InMemoryStore(clock=clock) as store:
        await store.append("note-1", [new], expected_version=ANY)
        (stored,) = [event async for event in store.read_log()]

    assert recorded_event(new, stream_id="note-1", recorded_at=clock.now()) == stored


@pytest.mark.parametrize("stream_id", ["note", "", "1-a"])
def test_what_is_no_stream_is_refused(stream_id: str) -> None:
    with pytest.raises(InvalidInputError):
        recorded_event(Noted(), stream_id=stream_id)
    with pytest.raises(InvalidInputError):
        recorded_on(stream_id, Noted())
