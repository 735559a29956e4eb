"""The contract of an event store, as tests that every store runs.

A store's own test file gives a factory and nothing else:

    class TestMyStore(StoreContract):
        def make_store(self, folder: Path, clock: Clock) -> EventStore:
            return MyStore(folder / "story", clock=clock)

The groups can also be taken one by one. A test that a store's capabilities rule out is skipped, and
the skip names the capability. `InMemoryStore` passes first, and so specifies what is meant.
"""

import json
import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import anyio
import anyio.lowlevel
import pytest

from backstory import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    Checkpoint,
    Clock,
    DuplicateEventError,
    Durability,
    Event,
    EventFilter,
    EventStore,
    InvalidInputError,
    Metadata,
    NewEvent,
    RawEvent,
    Receipt,
    RecordedEvent,
    Snapshot,
    StoreClosedError,
    StreamAppend,
    Subscription,
    SubscriptionState,
    VersionConflictError,
    where,
)

DEADLINE_SECONDS: Final = 30
"""How long a test waits for what must happen. It is a limit, never a measurement."""

EVENTS_OF_A_PAGE: Final = 1_000
"""What iterators read at a time; the tests of long reads go beyond it."""


class Noted(Event, type="contract:noted"):
    """Something was written down."""

    text: str = ""


class Counted(Event, type="contract:counted", aliases=("contract:tallied",)):
    """Something was counted; it was once stored under another type."""

    by: int = 1


class Listed(Event, type="contract:listed"):
    """A list was made: data that a careless reader could change."""

    words: list[str] = []


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 7, 12, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the moment that the clock shows."""
        return self.moment

    def advance(self, seconds: float) -> None:
        """Move the clock; a negative number moves it back."""
        self.moment += timedelta(seconds=seconds)


def new_event(event: Event | None = None, *, event_id: object = None, **metadata: Any) -> NewEvent:
    """Return a new event, with a fresh id unless one is given."""
    return NewEvent.of(
        Noted() if event is None else event,
        event_id=uuid.uuid4() if event_id is None else event_id,
        metadata=Metadata(**metadata),
    )


def noted(*texts: str) -> list[NewEvent]:
    """Return a new event for each text."""
    return [new_event(Noted(text=text)) for text in texts]


async def drain(events: AsyncIterator[RecordedEvent]) -> list[RecordedEvent]:
    """Return everything that an iterator yields."""
    return [recorded async for recorded in events]


def texts_of(events: Sequence[RecordedEvent]) -> list[str]:
    """Return the texts of noted events."""
    return [event.data.text for event in events if isinstance(event.data, Noted)]


async def gather(*calls: Callable[[], Awaitable[object]]) -> list[object]:
    """Make calls at the same time, and return what each returned or raised."""
    answers: list[object] = [None] * len(calls)

    async def make(place: int, call: Callable[[], Awaitable[object]]) -> None:
        try:
            answers[place] = await call()
        except Exception as error:  # noqa: BLE001 - what was raised is the answer
            answers[place] = error

    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:
            for place, call in enumerate(calls):
                group.start_soon(make, place, call)
    return answers


class Contract(ABC):
    """What every group needs: the factory, and the fixtures that use it."""

    pytestmark: ClassVar = [pytest.mark.anyio]

    @abstractmethod
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        """Return a store that is not open yet; for the same folder the same log, if it can."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock of the store under test."""
        return ManualClock()

    @pytest.fixture
    async def store(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[EventStore]:
        """Yield the store under test, open and empty."""
        async with self.make_store(tmp_path, clock) as store:
            yield store


class Append(Contract):
    """Where events come to lie."""

    async def test_first_append_begins_at_version_one(self, store: EventStore) -> None:
        receipt = await store.append("task-1", noted("a"), expected_version=NO_STREAM)

        assert (receipt.first_version, receipt.last_version) == (1, 1)
        assert receipt.first_position >= 1

    async def test_versions_of_a_stream_have_no_gap(self, store: EventStore) -> None:
        await store.append("task-1", noted("a", "b"), expected_version=ANY)
        await store.append("task-2", noted("x"), expected_version=ANY)
        await store.append("task-1", noted("c"), expected_version=ANY)

        events = await drain(store.read_stream("task-1"))

        assert [event.version for event in events] == [1, 2, 3]
        assert texts_of(events) == ["a", "b", "c"]

    async def test_positions_rise_over_all_streams(self, store: EventStore) -> None:
        receipts = [
            await store.append(f"task-{number % 3}", noted("a", "b"), expected_version=ANY)
            for number in range(6)
        ]

        ends = [end for r in receipts for end in (r.first_position, r.last_position)]
        assert ends == sorted(set(ends))

    async def test_receipt_says_where_the_events_are(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)

        receipt = await store.append("task-1", noted("b", "c"), expected_version=1)

        events = await drain(store.read_stream("task-1", after_version=1))
        assert receipt == Receipt(
            stream_id="task-1",
            first_version=2,
            last_version=3,
            first_position=events[0].position,
            last_position=events[1].position,
            durability=store.capabilities.durability,
        )

    async def test_recorded_event_says_what_was_appended(
        self, store: EventStore, clock: ManualClock
    ) -> None:
        event_id = uuid.uuid4()
        metadata = Metadata(
            correlation_id="c", causation_id="b", actor="ada", tags=("x", "y"), free={"k": [1]}
        )
        event = NewEvent.of(Counted(by=3), event_id=event_id, metadata=metadata)

        await store.append("task-a-b", [event], expected_version=ANY)

        (recorded,) = await drain(store.read_log())
        assert (recorded.stream_id, recorded.category, recorded.id) == ("task-a-b", "task", "a-b")
        assert (recorded.event_id, recorded.version) == (str(event_id), 1)
        assert (recorded.type, recorded.schema_version) == ("contract:counted", 1)
        assert (recorded.data, recorded.metadata) == (Counted(by=3), metadata)
        assert recorded.recorded_at == clock.moment

    async def test_data_comes_back_byte_for_byte(self, store: EventStore) -> None:
        data_json = b'{ "b": 1e2,\t"a": "\\u00e9\xc3\xa9\xf0\x9f\x8e\xad", "a": null }'
        event = NewEvent.raw("other:happened", data_json, event_id=uuid.uuid4(), schema_version=7)

        await store.append("task-1", [event], expected_version=ANY)

        (recorded,) = await drain(store.read_stream("task-1"))
        assert recorded.data_json == data_json
        assert recorded.metadata_json == event.metadata_json
        assert (recorded.type, recorded.schema_version) == ("other:happened", 7)

    async def test_event_of_unknown_type_is_passed_on_raw(self, store: EventStore) -> None:
        event = NewEvent.raw("x.future", b'{"a":[1]}', event_id=uuid.uuid4(), schema_version=99)

        await store.append("task-1", [event], expected_version=ANY)

        (recorded,) = await drain(store.read_log())
        assert recorded.data == RawEvent(content={"a": [1]})

    async def test_times_may_repeat_and_step_back(
        self, store: EventStore, clock: ManualClock
    ) -> None:
        for seconds in (0, -3600, 0):
            clock.advance(seconds)
            await store.append("task-1", noted("a"), expected_version=ANY)

        events = await drain(store.read_log())

        assert [event.version for event in events] == [1, 2, 3]
        assert events[0].recorded_at > events[1].recorded_at == events[2].recorded_at

    async def test_several_streams_are_one_commit(self, store: EventStore) -> None:
        receipts = await store.append_many(
            [
                StreamAppend("task-1", noted("a"), NO_STREAM),
                StreamAppend("memo-1", noted("b", "c"), NO_STREAM),
                StreamAppend("task-1", noted("d"), 1),
            ]
        )

        assert [(r.stream_id, r.last_version) for r in receipts] == [
            ("task-1", 1),
            ("memo-1", 2),
            ("task-1", 2),
        ]
        assert texts_of(await drain(store.read_log())) == ["a", "b", "c", "d"]

    async def test_several_streams_are_all_or_none(self, store: EventStore) -> None:
        await store.append("task-2", noted("a"), expected_version=ANY)
        head = await store.head()

        with pytest.raises(VersionConflictError):
            await store.append_many(
                [
                    StreamAppend("task-1", noted("b"), NO_STREAM),
                    StreamAppend("task-2", noted("c"), NO_STREAM),
                ]
            )

        assert texts_of(await drain(store.read_log())) == ["a"]
        assert await store.head() == head
        assert (await store.append("task-1", noted("d"), expected_version=0)).first_version == 1

    async def test_events_of_an_iterator_are_all_written(self, store: EventStore) -> None:
        events = cast("Sequence[NewEvent]", iter(noted("a", "b")))

        receipt = await store.append("task-1", events, expected_version=ANY)

        assert (receipt.first_version, receipt.last_version) == (1, 2)
        assert texts_of(await drain(store.read_stream("task-1"))) == ["a", "b"]

    async def test_list_emptied_after_the_call_is_still_written(self, store: EventStore) -> None:
        events = noted("a", "b")

        async def append() -> object:
            return await store.append("task-1", events, expected_version=ANY)

        async def empty() -> None:
            await anyio.lowlevel.checkpoint()
            events.clear()

        receipt, _ = await gather(append, empty)

        assert isinstance(receipt, Receipt)
        assert receipt.last_version == 2
        assert texts_of(await drain(store.read_stream("task-1"))) == ["a", "b"]

    async def test_thousand_events_fit_into_an_append(self, store: EventStore) -> None:
        receipt = await store.append(
            "task-1", noted(*map(str, range(1_000))), expected_version=NO_STREAM
        )

        assert receipt.last_version == 1_000
        assert receipt.last_position - receipt.first_position == 999

    @pytest.mark.parametrize("count", [0, 1_001])
    async def test_append_of_too_few_or_many_is_refused(
        self, store: EventStore, count: int
    ) -> None:
        with pytest.raises(InvalidInputError, match="append"):
            await store.append("task-1", noted(*["a"] * count), expected_version=ANY)

        assert await store.head() == 0

    async def test_events_are_counted_over_all_streams(self, store: EventStore) -> None:
        appends = [StreamAppend(f"task-{number}", noted(*["a"] * 501), ANY) for number in range(2)]

        with pytest.raises(InvalidInputError, match="1,002 events"):
            await store.append_many(appends)

        assert await store.head() == 0

    async def test_append_of_too_many_bytes_is_refused(self, store: EventStore) -> None:
        large = new_event(Noted(text="x" * 999_900))
        copies = [
            NewEvent.raw(large.type, large.data_json, event_id=uuid.uuid4()) for _ in range(17)
        ]

        with pytest.raises(InvalidInputError, match="bytes"):
            await store.append("task-1", copies, expected_version=ANY)

        assert await store.head() == 0

    async def test_append_to_no_stream_is_refused(self, store: EventStore) -> None:
        with pytest.raises(InvalidInputError, match="append"):
            await store.append_many([])

    async def test_what_is_no_new_event_is_refused(self, store: EventStore) -> None:
        with pytest.raises(InvalidInputError, match="NewEvent"):
            await store.append("task-1", cast("Any", [Noted()]), expected_version=ANY)

        assert await store.head() == 0


class ExpectedVersions(Contract):
    """Who may append when."""

    @pytest.mark.parametrize("expected", [ANY, NO_STREAM, 0])
    async def test_new_stream_passes(self, store: EventStore, expected: Any) -> None:
        receipt = await store.append("task-1", noted("a"), expected_version=expected)

        assert receipt.last_version == 1

    @pytest.mark.parametrize("expected", [STREAM_EXISTS, 1, 2**63 - 1])
    async def test_missing_stream_is_a_conflict(self, store: EventStore, expected: Any) -> None:
        with pytest.raises(VersionConflictError) as caught:
            await store.append("task-1", noted("a"), expected_version=expected)

        assert (caught.value.stream_id, caught.value.actual_version) == ("task-1", 0)
        assert caught.value.expected_version == expected
        assert await drain(store.read_log()) == []

    @pytest.mark.parametrize("expected", [ANY, STREAM_EXISTS, 2])
    async def test_existing_stream_passes(self, store: EventStore, expected: Any) -> None:
        await store.append("task-1", noted("a", "b"), expected_version=ANY)

        receipt = await store.append("task-1", noted("c"), expected_version=expected)

        assert receipt.last_version == 3

    @pytest.mark.parametrize("expected", [NO_STREAM, 0, 1, 3])
    async def test_append_at_wrong_version_writes_nothing(
        self, store: EventStore, expected: Any
    ) -> None:
        await store.append("task-1", noted("a", "b"), expected_version=ANY)
        head = await store.head()

        with pytest.raises(VersionConflictError) as caught:
            await store.append("task-1", noted("c"), expected_version=expected)

        assert (caught.value.expected_version, caught.value.actual_version) == (expected, 2)
        assert texts_of(await drain(store.read_log())) == ["a", "b"]
        assert await store.head() == head

    async def test_version_counts_the_stream_and_not_the_log(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)
        await store.append("task-10", noted("x", "y"), expected_version=ANY)

        receipt = await store.append("task-1", noted("b"), expected_version=1)

        assert receipt.last_version == 2

    @pytest.mark.parametrize("expected", [True, -1, 2**63, 1.0, "1", None])
    async def test_what_is_no_version_is_refused(self, store: EventStore, expected: Any) -> None:
        with pytest.raises(InvalidInputError, match="expected version"):
            await store.append("task-1", noted("a"), expected_version=expected)

        assert await store.head() == 0


class Idempotence(Contract):
    """What an append says that is made again."""

    @pytest.mark.parametrize("expected", [ANY, NO_STREAM, STREAM_EXISTS, 0, 2, 77])
    async def test_repetition_is_answered_with_the_first_receipt(
        self, store: EventStore, expected: Any
    ) -> None:
        events = noted("a", "b")
        first = await store.append("task-1", events, expected_version=NO_STREAM)

        again = await store.append("task-1", events, expected_version=expected)

        assert again == first
        assert texts_of(await drain(store.read_log())) == ["a", "b"]

    async def test_repetition_is_known_after_others_appended(self, store: EventStore) -> None:
        events = noted("a", "b")
        first = await store.append("task-1", events, expected_version=NO_STREAM)
        await store.append("task-1", noted("c"), expected_version=2)
        await store.append("task-2", noted("d"), expected_version=ANY)

        again = await store.append("task-1", events, expected_version=NO_STREAM)

        assert again == first

    async def test_repetition_is_known_after_closing(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        events = noted("a")
        async with self.make_store(tmp_path, clock) as store:
            skip_unless_durable(store)
            first = await store.append("task-1", events, expected_version=NO_STREAM)

        async with self.make_store(tmp_path, clock) as store:
            clock.advance(1_000_000)
            again = await store.append("task-1", events, expected_version=NO_STREAM)

        assert again == first

    async def test_same_event_id_may_be_written_otherwise(self, store: EventStore) -> None:
        event_id = uuid.uuid4()
        first = await store.append("task-1", [new_event(event_id=event_id)], expected_version=0)

        again = await store.append(
            "task-1", [new_event(event_id=f"{{{str(event_id).upper()}}}")], expected_version=0
        )

        assert again == first

    async def test_same_values_may_be_written_otherwise(self, store: EventStore) -> None:
        event_id = uuid.uuid4()
        one = NewEvent.raw("other:said", b'{"a":1,"b":"\\u00e9"}', event_id=event_id)
        other = NewEvent.raw("other:said", '{ "b": "é", "a": 1 }'.encode(), event_id=event_id)
        first = await store.append("task-1", [one], expected_version=0)

        again = await store.append("task-1", [other], expected_version=0)

        assert again == first

    @pytest.mark.parametrize("value", [b"1.0", b"true", b'"1"', b"2", b"null", b"[1]"])
    async def test_same_event_id_with_other_data_is_refused(
        self, store: EventStore, value: bytes
    ) -> None:
        event_id = uuid.uuid4()
        one = NewEvent.raw("other:said", b'{"a":1}', event_id=event_id)
        other = NewEvent.raw("other:said", b'{"a":' + value + b"}", event_id=event_id)
        await store.append("task-1", [one], expected_version=0)

        with pytest.raises(DuplicateEventError, match="other data") as caught:
            await store.append("task-1", [other], expected_version=ANY)

        assert caught.value.event_id == str(event_id)
        assert (caught.value.stream_id, caught.value.version) == ("task-1", 1)
        assert len(await drain(store.read_log())) == 1

    async def test_same_event_id_with_other_metadata_is_refused(self, store: EventStore) -> None:
        event_id = uuid.uuid4()
        await store.append("task-1", [new_event(event_id=event_id, actor="a")], expected_version=0)

        with pytest.raises(DuplicateEventError, match="metadata"):
            await store.append(
                "task-1", [new_event(event_id=event_id, actor="b")], expected_version=ANY
            )

    @pytest.mark.parametrize(("type", "schema_version"), [("other:said", 2), ("other:sung", 1)])
    async def test_same_event_id_of_another_type_is_refused(
        self, store: EventStore, type: str, schema_version: int
    ) -> None:
        event_id = uuid.uuid4()
        one = NewEvent.raw("other:said", b"{}", event_id=event_id)
        other = NewEvent.raw(type, b"{}", event_id=event_id, schema_version=schema_version)
        await store.append("task-1", [one], expected_version=0)

        with pytest.raises(DuplicateEventError, match="schema version"):
            await store.append("task-1", [other], expected_version=ANY)

    async def test_same_event_id_in_another_stream_is_refused(self, store: EventStore) -> None:
        events = noted("a")
        await store.append("task-1", events, expected_version=ANY)

        with pytest.raises(DuplicateEventError, match="task-10"):
            await store.append("task-10", events, expected_version=ANY)

        assert await drain(store.read_stream("task-10")) == []

    @pytest.mark.parametrize("places", [(0, 1, 2), (2, 0), (0, 2), (1, 0), (0, 0)])
    async def test_repetition_with_other_events_is_refused(
        self, store: EventStore, places: tuple[int, ...]
    ) -> None:
        events = noted("a", "b", "c")
        await store.append("task-1", events[:2], expected_version=ANY)

        with pytest.raises(DuplicateEventError):
            await store.append("task-1", [events[place] for place in places], expected_version=ANY)

        assert texts_of(await drain(store.read_log())) == ["a", "b"]

    async def test_event_id_twice_in_one_append_is_refused(self, store: EventStore) -> None:
        events = noted("a")

        with pytest.raises(DuplicateEventError, match="twice"):
            await store.append("task-1", events * 2, expected_version=ANY)

        assert await drain(store.read_log()) == []
        assert (await store.append("task-1", events, expected_version=0)).last_version == 1

    async def test_event_id_in_two_streams_of_one_append_is_refused(
        self, store: EventStore
    ) -> None:
        events = noted("a")

        with pytest.raises(DuplicateEventError):
            await store.append_many(
                [StreamAppend("task-1", events, ANY), StreamAppend("task-2", events, ANY)]
            )

        assert await drain(store.read_log()) == []

    async def test_repeated_part_of_a_commit_keeps_its_receipt(self, store: EventStore) -> None:
        events = noted("a")
        first = await store.append("task-1", events, expected_version=ANY)

        again, fresh = await store.append_many(
            [StreamAppend("task-1", events, 0), StreamAppend("task-2", noted("b"), NO_STREAM)]
        )

        assert again == first
        assert fresh.first_position > first.last_position
        assert texts_of(await drain(store.read_log())) == ["a", "b"]

    async def test_same_append_made_at_once_happens_once(self, store: EventStore) -> None:
        events = noted("a", "b")

        async def append() -> object:
            return await store.append("task-1", events, expected_version=NO_STREAM)

        receipts = await gather(*[append] * 16)

        assert set(receipts) == {receipts[0]}
        assert isinstance(receipts[0], Receipt)
        assert texts_of(await drain(store.read_log())) == ["a", "b"]


class Read(Contract):
    """What a reader of one stream sees."""

    @pytest.fixture
    async def letters(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[EventStore]:
        async with self.make_store(tmp_path, clock) as store:
            for text in "abcde":
                await store.append("task-1", noted(text), expected_version=ANY)
                await store.append("task-10", noted(text.upper()), expected_version=ANY)
            yield store

    @pytest.mark.parametrize(
        ("bounds", "texts"),
        [
            ({}, "abcde"),
            ({"after_version": 2}, "cde"),
            ({"until_version": 2}, "ab"),
            ({"after_version": 1, "until_version": 4}, "bcd"),
            ({"after_version": 5}, ""),
            ({"after_version": 4, "until_version": 2}, ""),
            ({"until_version": 0}, ""),
            ({"until_version": 2**63 - 1}, "abcde"),
            ({"limit": 2}, "ab"),
            ({"limit": 0}, ""),
            ({"limit": 99}, "abcde"),
            ({"after_version": 1, "limit": 2}, "bc"),
        ],
    )
    async def test_bounds_leave_the_versions_between(
        self, letters: EventStore, bounds: dict[str, Any], texts: str
    ) -> None:
        assert texts_of(await drain(letters.read_stream("task-1", **bounds))) == list(texts)

    @pytest.mark.parametrize(
        ("bounds", "texts"),
        [
            ({}, "edcba"),
            ({"after_version": 2}, "edc"),
            ({"until_version": 2}, "ba"),
            ({"after_version": 1, "until_version": 4}, "dcb"),
            ({"limit": 2}, "ed"),
            ({"until_version": 3, "limit": 2}, "cb"),
        ],
    )
    async def test_backward_keeps_the_bounds_and_turns_the_order(
        self, letters: EventStore, bounds: dict[str, Any], texts: str
    ) -> None:
        events = await drain(letters.read_stream("task-1", backward=True, **bounds))

        assert texts_of(events) == list(texts)

    @pytest.mark.parametrize("backward", [False, True])
    async def test_until_position_shows_the_stream_as_it_was(
        self, letters: EventStore, *, backward: bool
    ) -> None:
        for recorded in await drain(letters.read_log()):
            then = await drain(
                letters.read_stream("task-1", until_position=recorded.position, backward=backward)
            )

            every = await drain(letters.read_stream("task-1", backward=backward))
            assert then == [event for event in every if event.position <= recorded.position]

    async def test_missing_stream_has_no_events(self, letters: EventStore) -> None:
        assert await drain(letters.read_stream("task-100")) == []
        assert await drain(letters.read_stream("task-100", backward=True)) == []

    async def test_filter_leaves_the_versions_as_they_are(self, letters: EventStore) -> None:
        await letters.append("task-1", [new_event(Counted())], expected_version=5)
        await letters.append("task-1", noted("f"), expected_version=6)

        events = await drain(letters.read_stream("task-1", where=where(types=[Noted]), limit=7))

        assert [event.version for event in events] == [1, 2, 3, 4, 5, 7]

    @pytest.mark.parametrize(
        "bounds",
        [
            {"after_version": -1},
            {"after_version": True},
            {"after_version": 2**63},
            {"after_version": 1.0},
            {"until_version": -1},
            {"until_version": "1"},
            {"until_position": -1},
            {"limit": -1},
            {"limit": False},
        ],
    )
    async def test_bounds_that_are_no_versions_are_refused(
        self, letters: EventStore, bounds: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInputError, match=next(iter(bounds))):
            await drain(letters.read_stream("task-1", **bounds))

    async def test_stream_longer_than_a_page_is_read_whole(self, letters: EventStore) -> None:
        texts = [str(number) for number in range(EVENTS_OF_A_PAGE)]
        await letters.append("long-1", noted(*texts), expected_version=0)
        await letters.append("long-1", noted("the", "end"), expected_version=ANY)
        texts += ["the", "end"]

        assert texts_of(await drain(letters.read_stream("long-1"))) == texts
        assert texts_of(await drain(letters.read_stream("long-1", backward=True))) == texts[::-1]
        assert texts_of(await drain(letters.read_stream("long-1", limit=1_001))) == texts[:1_001]

    async def test_reader_that_stops_early_holds_nothing(self, letters: EventStore) -> None:
        events = letters.read_stream("task-1")
        first = await anext(events)

        await letters.append("task-1", noted("f"), expected_version=5)

        assert first.version == 1
        assert [event.version async for event in events] in ([2, 3, 4, 5], [2, 3, 4, 5, 6])


class Log(Contract):
    """What a reader of the whole store sees."""

    async def test_empty_log_has_no_events(self, store: EventStore) -> None:
        assert await drain(store.read_log()) == []
        assert await drain(store.read_log(backward=True)) == []
        assert await store.head() == 0

    async def test_log_has_every_event_in_order(self, store: EventStore) -> None:
        for number in range(6):
            await store.append(f"task-{number % 3}", noted(str(number)), expected_version=ANY)

        events = await drain(store.read_log())

        assert texts_of(events) == list("012345")
        positions = [event.position for event in events]
        assert positions == sorted(set(positions))
        assert await store.head() == positions[-1]

    @pytest.mark.parametrize("backward", [False, True])
    @pytest.mark.parametrize("limit", [None, 0, 2, 99])
    @pytest.mark.parametrize(("after", "until"), [(0, None), (2, None), (0, 3), (1, 4), (4, 1)])
    async def test_bounds_leave_the_positions_between(
        self, store: EventStore, after: int, until: int | None, limit: int | None, *, backward: bool
    ) -> None:
        for text in "abcde":
            await store.append("task-1", noted(text), expected_version=ANY)
        every = await drain(store.read_log())
        position = [0, *(event.position for event in every)]

        events = await drain(
            store.read_log(
                after_position=position[after],
                until_position=None if until is None else position[until],
                limit=limit,
                backward=backward,
            )
        )

        expected = every[after:until][:: -1 if backward else 1]
        assert events == expected[:limit]

    @pytest.mark.parametrize(
        "bounds",
        [
            {"after_position": -1},
            {"after_position": True},
            {"after_position": "1"},
            {"after_position": 2**63},
            {"until_position": -1},
            {"until_position": 0.5},
            {"limit": -1},
        ],
    )
    async def test_bounds_that_are_no_positions_are_refused(
        self, store: EventStore, bounds: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInputError, match=next(iter(bounds))):
            await drain(store.read_log(**bounds))

    async def test_log_longer_than_a_page_is_read_whole(self, store: EventStore) -> None:
        for _ in range(2):
            await store.append("task-1", noted(*["a"] * 1_000), expected_version=ANY)
        await store.append("task-1", noted("z"), expected_version=ANY)

        forward = await drain(store.read_log())
        backward = await drain(store.read_log(backward=True))

        assert [event.version for event in forward] == list(range(1, 2_002))
        assert backward == forward[::-1]

    async def test_what_was_read_once_stays(self, store: EventStore) -> None:
        seen: list[RecordedEvent] = []

        for number in range(10):
            await store.append(f"task-{number % 2}", noted(str(number)), expected_version=ANY)
            events = await drain(store.read_log())
            assert events[: len(seen)] == seen
            seen = events

        assert len(seen) == 10

    async def test_reader_who_changes_data_changes_nothing(self, store: EventStore) -> None:
        await store.append("task-1", [new_event(Listed(words=["a"]))], expected_version=ANY)

        for events in (store.read_log(), store.read_stream("task-1")):
            (recorded,) = await drain(events)
            cast("Listed", recorded.data).words.append("b")

        (recorded,) = await drain(store.read_log())
        assert recorded.data == Listed(words=["a"])

    async def test_event_is_found_by_its_id(self, store: EventStore) -> None:
        first, second = noted("a", "b")
        await store.append("task-1", [first, second], expected_version=ANY)

        found = await store.read_event(second.event_id.upper())

        assert found is not None
        assert (found.version, found.data) == (2, Noted(text="b"))

    async def test_event_that_is_not_there_is_none(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)

        assert await store.read_event(uuid.uuid4()) is None

    @pytest.mark.parametrize("event_id", ["", "7", None, "' OR 1=1", "a" * 32 + "\0"])
    async def test_what_is_no_event_id_is_refused(
        self, store: EventStore, event_id: object
    ) -> None:
        with pytest.raises(InvalidInputError, match="event id"):
            await store.read_event(event_id)


def sample_log() -> Iterator[StreamAppend]:
    """Yield appends in which every part of a filter matches something and leaves something out."""
    chance = random.Random(7)  # noqa: S311 - a fixed sample
    for number in range(120):
        event = chance.choice([Noted(text=str(number)), Counted(by=number), Listed()])
        metadata: dict[str, Any] = {
            "correlation_id": chance.choice([None, "c1", "c2"]),
            "causation_id": chance.choice([None, "b1", "b2"]),
            "actor": chance.choice([None, "ada", "Ada", "ada%"]),
            "tags": tuple(chance.sample(["red", "green", "re", "red%"], chance.randrange(4))),
        }
        new = new_event(event, **metadata)
        if chance.random() < 0.2:
            new = NewEvent.raw(
                "contract:tallied",
                b'{"by":7}',
                event_id=new.event_id,
                metadata=Metadata(**metadata),
            )
        category = chance.choice(["task", "tasks", "task.x", "Task", "t_sk"])
        yield StreamAppend(f"{category}-{chance.randrange(3)}", [new], ANY)


def is_wanted(recorded: RecordedEvent, condition: EventFilter) -> bool:
    """Say by other means than the framework's whether a filter wants an event."""
    metadata = json.loads(recorded.metadata_json)
    category = recorded.stream_id[: recorded.stream_id.index("-")]
    moment = recorded.recorded_microseconds
    return any(
        all(
            [
                recorded.type in item.types or not item.types,
                category in item.categories or not item.categories,
                recorded.stream_id in item.streams or not item.streams,
                item.correlation_id in (None, metadata.get("correlation_id")),
                item.causation_id in (None, metadata.get("causation_id")),
                item.actor in (None, metadata.get("actor")),
                all(tag in metadata.get("tags", []) for tag in item.tags),
                item.recorded_after is None or moment > item.recorded_after,
                item.recorded_until is None or moment <= item.recorded_until,
            ]
        )
        for item in condition.items
    )


START: Final = ManualClock().moment
FILTERS: Final = {
    "everything": where(),
    "one class": where(types=[Noted]),
    "a class and its alias": where(types=[Counted]),
    "two types": where(types=[Noted, "contract:tallied"]),
    "a type that is nowhere": where(types=["contract:nothing"]),
    "many types": where(types=[Noted, *(f"contract:no-{number}" for number in range(20))]),
    "one category": where(categories=["task"]),
    "two categories": where(categories=["tasks", "t_sk"]),
    "many categories": where(categories=["Task", *(f"no{number}" for number in range(20))]),
    "a correlation": where(correlation_id="c1"),
    "an actor": where(actor="ada"),
    "an actor with a wildcard": where(actor="ada%"),
    "a tag": where(tags=["red"]),
    "two tags": where(tags=["green", "re"]),
    "later": where(recorded_after=START + timedelta(seconds=30)),
    "until": where(recorded_until=START + timedelta(seconds=30)),
    "a span": where(
        recorded_after=START + timedelta(seconds=9), recorded_until=START + timedelta(seconds=60)
    ),
    "all at once": where(
        types=[Noted, Listed],
        categories=["task", "tasks", "Task"],
        correlation_id="c2",
        actor="Ada",
        tags=["red"],
        recorded_after=START,
    ),
    "type and category": where(types=[Counted], categories=["task.x", "task"]),
    "category and actor": where(categories=["task"], actor="ada"),
    "correlation and tag": where(correlation_id="c1", tags=["green"]),
    "a cause": where(causation_id="b1"),
    "one stream": where(streams=["task-1"]),
    "streams and a type": where(streams=["task-0", "tasks-2", "none-0"], types=[Noted]),
    "many streams": where(streams=["task-1", *(f"none-{number}" for number in range(20))]),
    "one or the other": where(types=[Listed]) | where(tags=["red"]),
    "either, overlapping": where(actor="ada") | where(categories=["task"]) | where(tags=["green"]),
    "anything or red": where(tags=["red"]) | where(),
}


class Filters(Contract):
    """Which events a reader gets who asks for some."""

    @pytest.fixture
    async def sampled(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[EventStore]:
        async with self.make_store(tmp_path, clock) as store:
            for append in sample_log():
                await store.append_many([append])
                clock.advance(1)
            yield store

    @pytest.mark.parametrize("name", FILTERS)
    async def test_filter_gives_what_it_says(self, sampled: EventStore, name: str) -> None:
        condition = FILTERS[name]
        wanted = [e for e in await drain(sampled.read_log()) if is_wanted(e, condition)]

        assert await drain(sampled.read_log(where=condition)) == wanted
        assert await drain(sampled.read_log(where=condition, backward=True)) == wanted[::-1]
        assert await drain(sampled.read_log(where=condition, limit=3)) == wanted[:3]
        assert bool(wanted) == (name != "a type that is nowhere")

    @pytest.mark.parametrize("name", FILTERS)
    async def test_filter_holds_within_a_stream(self, sampled: EventStore, name: str) -> None:
        condition = FILTERS[name]

        for stream_id in ("task-0", "tasks-1", "Task-2"):
            events = await drain(sampled.read_stream(stream_id))
            wanted = [event for event in events if is_wanted(event, condition)]
            assert await drain(sampled.read_stream(stream_id, where=condition)) == wanted

    @pytest.mark.parametrize("name", FILTERS)
    async def test_filter_and_bounds_hold_together(self, sampled: EventStore, name: str) -> None:
        condition = FILTERS[name]
        every = await drain(sampled.read_log())
        after, until = every[20].position, every[90].position

        events = await drain(
            sampled.read_log(after_position=after, until_position=until, where=condition)
        )

        assert events == [event for event in every[21:91] if is_wanted(event, condition)]


class Pages(Contract):
    """What a user interface turns over."""

    @pytest.mark.parametrize("backward", [False, True])
    @pytest.mark.parametrize("limit", [1, 3, 5, 6, 7, 100])
    @pytest.mark.parametrize("types", [(), (Noted,)])
    async def test_cursors_lead_through_every_event_once(
        self, store: EventStore, limit: int, *, backward: bool, types: tuple[type[Event], ...]
    ) -> None:
        for number in range(6):
            await store.append("task-1", noted(str(number)), expected_version=ANY)
            await store.append("task-1", [new_event(Counted())], expected_version=ANY)
        condition = where(types=types)
        seen: list[RecordedEvent] = []
        cursor: int | None = None

        for _ in range(13):
            page = await store.read_log_page(
                cursor=cursor, limit=limit, where=condition, backward=backward
            )
            seen += page.events
            assert 0 < len(page.events) <= limit
            cursor = page.cursor
            if cursor is None:
                break

        assert cursor is None
        assert seen == await drain(store.read_log(where=condition, backward=backward))

    @pytest.mark.parametrize("backward", [False, True])
    async def test_empty_log_is_one_empty_page(self, store: EventStore, *, backward: bool) -> None:
        page = await store.read_log_page(backward=backward)

        assert (page.events, page.cursor) == ([], None)

    @pytest.mark.parametrize("backward", [False, True])
    async def test_bounds_hold_on_every_page(self, store: EventStore, *, backward: bool) -> None:
        for text in "abcdefgh":
            await store.append("task-1", noted(text), expected_version=ANY)
        every = await drain(store.read_log())
        bounds: dict[str, Any] = {
            "after_position": every[1].position,
            "until_position": every[6].position,
        }

        first = await store.read_log_page(limit=3, backward=backward, **bounds)
        second = await store.read_log_page(
            cursor=first.cursor, limit=3, backward=backward, **bounds
        )

        texts = texts_of([*first.events, *second.events])
        assert texts == list("gfedc" if backward else "cdefg")
        assert second.cursor is None

    async def test_backward_pages_are_not_moved_by_appends(self, store: EventStore) -> None:
        for text in "abcd":
            await store.append("task-1", noted(text), expected_version=ANY)
        first = await store.read_log_page(limit=2, backward=True)

        await store.append("task-1", noted("e"), expected_version=ANY)
        second = await store.read_log_page(cursor=first.cursor, limit=2, backward=True)

        assert texts_of([*first.events, *second.events]) == list("dcba")

    @pytest.mark.parametrize(
        "arguments", [{"limit": 0}, {"limit": 10_001}, {"cursor": -1}, {"cursor": "1"}]
    )
    async def test_arguments_that_are_none_are_refused(
        self, store: EventStore, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInputError, match=next(iter(arguments))):
            await store.read_log_page(**arguments)


class Streams(Contract):
    """Which streams there are."""

    async def test_streams_come_in_the_order_of_their_bytes(self, store: EventStore) -> None:
        ids = ["task-Z", "task-a", "task-é", "task-10", "task-1", "Task-1", "task-\U0001f3ad"]
        for stream_id in (*ids, "task-1"):
            await store.append(stream_id, noted("a"), expected_version=ANY)

        streams = [stream async for stream in store.read_streams()]

        assert [stream.stream_id for stream in streams] == sorted(ids, key=str.encode)
        assert {stream.stream_id: stream.version for stream in streams}["task-1"] == 2

    async def test_category_has_its_own_streams_only(self, store: EventStore) -> None:
        ids = ["task-1", "task--", "tasks-1", "task.x-1", "tas-k", "Task-1", "t_sk-1", "task_-1"]
        for stream_id in ids:
            await store.append(stream_id, noted("a"), expected_version=ANY)

        for category, expected in {
            "task": ["task--", "task-1"],
            "task.x": ["task.x-1"],
            "t_sk": ["t_sk-1"],
            "none": [],
        }.items():
            found = [stream.stream_id async for stream in store.read_streams(category)]
            assert found == expected

    async def test_streams_beyond_a_page_are_all_listed(self, store: EventStore) -> None:
        ids = [f"task-{number:04}" for number in range(EVENTS_OF_A_PAGE + 1)]
        await store.append_many([StreamAppend(id, noted("a"), 0) for id in ids[:-1]])
        await store.append(ids[-1], noted("a"), expected_version=0)

        assert [stream.stream_id async for stream in store.read_streams("task")] == ids

    @pytest.mark.parametrize("category", ["", "a-b", "1a", "%", "é"])
    async def test_what_is_no_category_is_refused(self, store: EventStore, category: str) -> None:
        with pytest.raises(InvalidInputError, match="category"):
            [stream async for stream in store.read_streams(category)]


async def take(subscription: Subscription, count: int) -> list[RecordedEvent]:
    """Return the next events of a subscription."""
    with anyio.fail_after(DEADLINE_SECONDS):
        return [await anext(subscription) for _ in range(count)]


class Subscribe(Contract):
    """What a subscriber gets."""

    async def test_past_and_present_come_in_one_order(self, store: EventStore) -> None:
        await store.append("task-1", noted("a", "b"), expected_version=ANY)

        async with store.subscribe() as subscription:
            past = await take(subscription, 2)
            await store.append("task-2", noted("c"), expected_version=ANY)
            present = await take(subscription, 1)

        assert texts_of([*past, *present]) == ["a", "b", "c"]
        assert subscription.position == present[0].position

    async def test_after_position_is_exclusive(self, store: EventStore) -> None:
        receipt = await store.append("task-1", noted("a", "b", "c"), expected_version=ANY)

        async with store.subscribe(after_position=receipt.first_position) as subscription:
            events = await take(subscription, 2)

        assert texts_of(events) == ["b", "c"]

    async def test_subscription_ahead_of_the_log_waits_for_it(self, store: EventStore) -> None:
        first = await store.append("task-1", noted("a"), expected_version=ANY)

        async with (
            store.subscribe(after_position=first.last_position) as subscription,
            anyio.create_task_group() as group,
        ):
            group.start_soon(caught_up_then, subscription, store)
            assert texts_of(await take(subscription, 1)) == ["b"]

    async def test_state_says_when_it_has_caught_up(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)
        states: list[SubscriptionState] = []

        async with store.subscribe() as subscription:
            states.append(subscription.state)
            async with anyio.create_task_group() as group:

                async def watch() -> None:
                    await subscription.wait_caught_up()
                    assert subscription.is_live
                    states.append(subscription.state)
                    await store.append("task-1", noted("b"), expected_version=ANY)

                group.start_soon(watch)
                await take(subscription, 2)

        assert states == [SubscriptionState.CATCHING_UP, SubscriptionState.LIVE]
        assert subscription.state is SubscriptionState.STOPPED
        assert not subscription.is_live

    async def test_filter_leaves_out_and_position_goes_on(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)
        await store.append("task-1", [new_event(Counted())], expected_version=ANY)
        head = await store.head()

        async with store.subscribe(where=where(types=[Noted])) as subscription:
            await take(subscription, 1)
            assert subscription.position == head

            await store.append("task-1", [new_event(Counted())], expected_version=ANY)
            await store.append("task-1", noted("b"), expected_version=ANY)
            events = await take(subscription, 1)

        assert texts_of(events) == ["b"]

    async def test_position_leads_to_the_next_event(self, store: EventStore) -> None:
        await store.append("task-1", noted(*"abcdef"), expected_version=ANY)
        seen: list[RecordedEvent] = []
        position = 0

        for count in (1, 2, 3):
            async with store.subscribe(after_position=position) as subscription:
                seen += await take(subscription, count)
                position = subscription.position

        assert texts_of(seen) == list("abcdef")

    async def test_past_longer_than_a_page_has_no_gap(self, store: EventStore) -> None:
        for _ in range(2):
            await store.append("task-1", noted(*["a"] * 1_000), expected_version=ANY)
        await store.append("task-1", noted("z"), expected_version=ANY)

        async with store.subscribe() as subscription:
            events = await take(subscription, 2_001)

        assert [event.version for event in events] == list(range(1, 2_002))

    async def test_time_limit_on_the_next_event_loses_nothing(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)

        async with store.subscribe() as subscription, anyio.create_task_group() as group:
            first = await take(subscription, 1)
            for _ in range(3):
                with anyio.CancelScope() as limit:
                    group.start_soon(cancel_when_live, limit, subscription)
                    await anext(subscription)
            await store.append("task-1", noted("b"), expected_version=ANY)
            second = await take(subscription, 1)

            assert texts_of([*first, *second]) == ["a", "b"]

    async def test_stop_ends_the_iteration(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)
        seen: list[RecordedEvent] = []

        async with store.subscribe() as subscription, anyio.create_task_group() as group:

            async def stop() -> None:
                await subscription.wait_caught_up()
                subscription.stop()

            group.start_soon(stop)
            with anyio.fail_after(DEADLINE_SECONDS):
                seen = await drain(aiter(subscription))

        assert texts_of(seen) == ["a"]

    async def test_leaving_ends_the_iteration_elsewhere(self, store: EventStore) -> None:
        async with anyio.create_task_group() as group, store.subscribe() as subscription:
            group.start_soon(drain, aiter(subscription))
            with anyio.fail_after(DEADLINE_SECONDS):
                await subscription.wait_caught_up()

        assert subscription.state is SubscriptionState.STOPPED

    async def test_stopped_subscription_gives_no_page(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)

        async with store.subscribe() as subscription:
            subscription.stop()

            assert await subscription.read() is None

    async def test_pages_hold_what_the_iteration_would(self, store: EventStore) -> None:
        await store.append("task-1", noted("a", "b"), expected_version=ANY)

        async with store.subscribe() as subscription:
            page = await subscription.read()

            assert page is not None
            assert texts_of(page.events) == ["a", "b"]
            assert subscription.position == page.reached == await store.head()

    async def test_every_subscriber_gets_every_event(self, store: EventStore) -> None:
        seen: dict[int, list[RecordedEvent]] = {}

        async def follow(number: int) -> None:
            async with store.subscribe() as subscription:
                seen[number] = await take(subscription, 20)

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(follow, number)
            for number in range(20):
                await store.append(f"task-{number}", noted("a"), expected_version=ANY)

        every = await drain(store.read_log())
        assert all(events == every for events in seen.values())
        assert len(seen) == 10

    @pytest.mark.parametrize("after_position", [-1, True, "0", 2**63])
    async def test_what_is_no_position_is_refused(
        self, store: EventStore, after_position: Any
    ) -> None:
        with pytest.raises(InvalidInputError, match="after_position"):
            async with store.subscribe(after_position=after_position):
                pass


async def caught_up_then(subscription: Subscription, store: EventStore) -> None:
    """Append once a subscription is live."""
    with anyio.fail_after(DEADLINE_SECONDS):
        await subscription.wait_caught_up()
    await store.append("task-2", noted("b"), expected_version=ANY)


async def cancel_when_live(limit: anyio.CancelScope, subscription: Subscription) -> None:
    """Cancel what waits for the next event, as a time limit would."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while not subscription.is_live:
            await anyio.lowlevel.checkpoint()
    limit.cancel()


def snapshot(version: int, *, stream_id: str = "task-1", fingerprint: str = "f") -> Snapshot:
    """Return a snapshot that says which it is."""
    return Snapshot(stream_id, version, fingerprint, json.dumps({"v": version, "é": 1}).encode())


class Snapshots(Contract):
    """How the saved states of aggregates are kept."""

    async def test_newest_snapshot_is_loaded(self, store: EventStore) -> None:
        for version in (5, 20, 10):
            await store.save_snapshot(snapshot(version))

        assert await store.load_snapshot("task-1", fingerprint="f") == snapshot(20)

    @pytest.mark.parametrize(
        ("until", "version"), [(4, None), (5, 5), (19, 10), (20, 20), (99, 20)]
    )
    async def test_snapshot_is_not_after_the_wanted_version(
        self, store: EventStore, until: int, version: int | None
    ) -> None:
        for saved in (5, 10, 20):
            await store.save_snapshot(snapshot(saved))

        found = await store.load_snapshot("task-1", fingerprint="f", until_version=until)

        assert found == (None if version is None else snapshot(version))

    async def test_snapshot_of_another_fingerprint_is_passed_over(self, store: EventStore) -> None:
        await store.save_snapshot(snapshot(5))
        await store.save_snapshot(snapshot(10, fingerprint="g"))

        assert await store.load_snapshot("task-1", fingerprint="f") == snapshot(5)
        assert await store.load_snapshot("task-1", fingerprint="h") is None

    async def test_snapshot_of_the_same_version_is_replaced(self, store: EventStore) -> None:
        await store.save_snapshot(snapshot(5))
        newer = Snapshot("task-1", 5, "f", b'{"v":"newer"}')

        await store.save_snapshot(newer)

        assert await store.load_snapshot("task-1", fingerprint="f") == newer
        assert await store.delete_snapshots() == 1

    async def test_snapshot_of_another_stream_is_not_loaded(self, store: EventStore) -> None:
        await store.save_snapshot(snapshot(5, stream_id="task-10"))

        assert await store.load_snapshot("task-1", fingerprint="f") is None
        assert await store.load_snapshot("task-%", fingerprint="f") is None

    async def test_snapshots_of_one_stream_are_deleted(self, store: EventStore) -> None:
        for version in (5, 10):
            await store.save_snapshot(snapshot(version))
        await store.save_snapshot(snapshot(5, stream_id="task-10"))

        assert await store.delete_snapshots("task-1") == 2
        assert await store.load_snapshot("task-1", fingerprint="f") is None
        assert await store.load_snapshot("task-10", fingerprint="f") is not None
        assert await store.delete_snapshots() == 1
        assert await store.delete_snapshots() == 0

    async def test_snapshots_are_there_after_closing(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        async with self.make_store(tmp_path, clock) as store:
            skip_unless_durable(store)
            await store.save_snapshot(snapshot(5))

        async with self.make_store(tmp_path, clock) as store:
            assert await store.load_snapshot("task-1", fingerprint="f") == snapshot(5)


class Checkpoints(Contract):
    """How the positions of projections are kept, with their read models."""

    async def test_checkpoint_comes_back_as_it_was_saved(self, store: EventStore) -> None:
        saved = Checkpoint("Counts", 7, "f", '{"é":1}'.encode())

        await store.save_checkpoint(saved)

        assert await store.load_checkpoint("Counts") == saved

    async def test_checkpoint_takes_the_place_of_the_one_before(self, store: EventStore) -> None:
        await store.save_checkpoint(Checkpoint("Counts", 7, "f", b"{}"))
        later = Checkpoint("Counts", 9, "g", b'{"a":1}')

        await store.save_checkpoint(later)

        assert await store.load_checkpoint("Counts") == later

    async def test_projections_do_not_share_checkpoints(self, store: EventStore) -> None:
        await store.save_checkpoint(Checkpoint("Counts", 7, "f", b"{}"))

        assert await store.load_checkpoint("counts") is None
        assert await store.load_checkpoint("Count_") is None

    async def test_deleted_checkpoint_is_gone(self, store: EventStore) -> None:
        await store.save_checkpoint(Checkpoint("Counts", 7, "f", b"{}"))
        await store.save_checkpoint(Checkpoint("Other", 8, "f", b"{}"))

        for _ in range(2):
            await store.delete_checkpoint("Counts")

        assert await store.load_checkpoint("Counts") is None
        assert await store.load_checkpoint("Other") is not None

    async def test_checkpoints_are_there_after_closing(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        saved = Checkpoint("Counts", 7, "f", b"{}")
        async with self.make_store(tmp_path, clock) as store:
            skip_unless_durable(store)
            await store.save_checkpoint(saved)

        async with self.make_store(tmp_path, clock) as store:
            assert await store.load_checkpoint("Counts") == saved


class Concurrency(Contract):
    """What holds when many act at a time."""

    async def test_appends_at_once_leave_no_gap(self, store: EventStore) -> None:
        async def append() -> object:
            return await store.append("task-1", noted("a"), expected_version=ANY)

        receipts = await gather(*[append] * 50)

        versions = [r.first_version for r in receipts if isinstance(r, Receipt)]
        assert sorted(versions) == list(range(1, 51))
        assert len(await drain(store.read_stream("task-1"))) == 50

    async def test_one_of_many_wins_an_expected_version(self, store: EventStore) -> None:
        async def append() -> object:
            return await store.append("task-1", noted("a"), expected_version=NO_STREAM)

        answers = await gather(*[append] * 50)

        assert sum(isinstance(answer, Receipt) for answer in answers) == 1
        assert sum(isinstance(answer, VersionConflictError) for answer in answers) == 49
        assert len(await drain(store.read_log())) == 1

    async def test_refused_append_fails_nobody_else(self, store: EventStore) -> None:
        taken = noted("taken")
        await store.append("task-0", taken, expected_version=NO_STREAM)

        def append(number: int) -> Callable[[], Awaitable[object]]:
            async def call() -> object:
                match number % 3:
                    case 0:
                        return await store.append("task-0", noted("x"), expected_version=NO_STREAM)
                    case 1:
                        return await store.append("task-9", taken, expected_version=ANY)
                    case _:
                        return await store.append(f"task-{number}", noted("b"), expected_version=0)

            return call

        answers = await gather(*[append(number) for number in range(30)])

        assert all(isinstance(answer, VersionConflictError) for answer in answers[0::3])
        assert all(isinstance(answer, DuplicateEventError) for answer in answers[1::3])
        assert all(isinstance(answer, Receipt) for answer in answers[2::3])
        assert len(await drain(store.read_log())) == 11

    async def test_reader_sees_whole_commits_only(self, store: EventStore) -> None:
        written = False

        async def write() -> None:
            nonlocal written
            for number in range(20):
                await store.append_many(
                    [
                        StreamAppend("task-1", noted("a", "a"), ANY),
                        StreamAppend(f"task-x{number}", noted("a"), ANY),
                    ]
                )
            written = True

        async def read() -> None:
            while not written:
                positions = [event.position for event in await drain(store.read_log())]
                assert len(positions) % 3 == 0
                assert positions == sorted(positions)

        answers = await gather(write, read, read)

        assert answers == [None, None, None]


def skip_unless_durable(store: EventStore) -> None:
    """Skip where nothing outlives the process."""
    if store.capabilities.durability is Durability.MEMORY:
        pytest.skip("capability: durability")


def calls_of(store: EventStore) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return a call of each method, by its name."""

    async def subscribe() -> object:
        async with store.subscribe() as subscription:
            return await anext(subscription)

    async def read_streams() -> object:
        return [stream async for stream in store.read_streams()]

    return {
        "append": lambda: store.append("task-1", noted("a"), expected_version=ANY),
        "append_many": lambda: store.append_many([StreamAppend("task-1", noted("a"), ANY)]),
        "read_stream": lambda: drain(store.read_stream("task-1")),
        "read_log": lambda: drain(store.read_log()),
        "read_log_page": store.read_log_page,
        "read_event": lambda: store.read_event(uuid.uuid4()),
        "read_streams": read_streams,
        "subscribe": subscribe,
        "head": store.head,
        "save_snapshot": lambda: store.save_snapshot(snapshot(1)),
        "load_snapshot": lambda: store.load_snapshot("task-1", fingerprint="f"),
        "delete_snapshots": store.delete_snapshots,
        "save_checkpoint": lambda: store.save_checkpoint(Checkpoint("Counts", 1, "f", b"{}")),
        "load_checkpoint": lambda: store.load_checkpoint("Counts"),
        "delete_checkpoint": lambda: store.delete_checkpoint("Counts"),
    }


class Closing(Contract):
    """What holds before a store is opened and after it is closed."""

    async def test_store_that_was_not_opened_says_so(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        for name, call in calls_of(self.make_store(tmp_path, clock)).items():
            with pytest.raises(StoreClosedError):
                raise AssertionError(name, await call())

    async def test_store_that_was_closed_says_so(self, tmp_path: Path, clock: ManualClock) -> None:
        async with self.make_store(tmp_path, clock) as store:
            await store.append("task-1", noted("a"), expected_version=ANY)

        for name, call in calls_of(store).items():
            with pytest.raises(StoreClosedError):
                raise AssertionError(name, await call())

    async def test_closing_twice_is_harmless(self, tmp_path: Path, clock: ManualClock) -> None:
        store = self.make_store(tmp_path, clock)
        await store.aclose()
        await store.open()

        await store.aclose()
        await store.aclose()

        with pytest.raises(StoreClosedError):
            await store.head()

    async def test_closed_store_opens_again_with_its_log(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        store = self.make_store(tmp_path, clock)

        for text in "abc":
            async with store:
                await store.append("task-1", noted(text), expected_version=ANY)

        async with store, store.subscribe() as subscription:
            assert texts_of(await take(subscription, 3)) == ["a", "b", "c"]

    async def test_log_is_there_in_another_store(self, tmp_path: Path, clock: ManualClock) -> None:
        async with self.make_store(tmp_path, clock) as store:
            skip_unless_durable(store)
            await store.append("task-1", noted("a", "b"), expected_version=ANY)
            before = await drain(store.read_log())

        async with self.make_store(tmp_path, clock) as store:
            receipt = await store.append("task-1", noted("c"), expected_version=2)
            assert (await drain(store.read_log()))[:2] == before

        assert receipt.first_position > before[-1].position

    async def test_closing_tells_who_waits_for_events(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        store = self.make_store(tmp_path, clock)
        await store.open()

        async def follow() -> None:
            async with store.subscribe() as subscription:
                await anext(subscription)

        async def close() -> None:
            async with store.subscribe() as subscription, anyio.create_task_group() as group:
                group.start_soon(drain, until_closed(subscription))
                await subscription.wait_caught_up()
                await store.aclose()

        followed, closed = await gather(follow, close)

        assert isinstance(followed, StoreClosedError)
        assert closed is None

    async def test_appends_under_way_end_when_it_closes(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        store = self.make_store(tmp_path, clock)
        await store.open()
        events = noted(*map(str, range(20)))

        def append(event: NewEvent) -> Callable[[], Awaitable[object]]:
            async def call() -> object:
                return await store.append("task-1", [event], expected_version=ANY)

            return call

        answers = await gather(*map(append, events), store.aclose)

        *appended, _ = answers
        assert all(isinstance(answer, Receipt | StoreClosedError) for answer in appended)
        await store.open()
        written = {event.event_id for event in await drain(store.read_log())}
        acknowledged = {
            event.event_id
            for event, answer in zip(events, appended, strict=True)
            if isinstance(answer, Receipt)
        }
        assert written == acknowledged
        await store.aclose()


async def until_closed(subscription: Subscription) -> AsyncIterator[RecordedEvent]:
    """Yield what a subscription yields, and end when its store is closed."""
    try:
        async for recorded in subscription:
            yield recorded
    except StoreClosedError:
        return


class StoreContract(
    Append,
    ExpectedVersions,
    Idempotence,
    Read,
    Log,
    Filters,
    Pages,
    Streams,
    Subscribe,
    Snapshots,
    Checkpoints,
    Concurrency,
    Closing,
):
    """The whole contract."""
