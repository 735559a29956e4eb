"""What an append does, refuses, and answers when it is made again."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from backstory._commit import Receipt, StreamAppend
from backstory._errors import (
    DuplicateEventError,
    InvalidInputError,
    VersionConflictError,
)
from backstory._events import Metadata, RawEvent
from backstory._recorded import NewEvent
from backstory._store import EventStore
from backstory._versions import ANY, NO_STREAM, STREAM_EXISTS
from backstory.testing._clock import ManualClock
from backstory.testing._events import new_event
from backstory.testing._store_contract._contract import Contract, skip_unless_durable
from backstory.testing._store_contract._sample import (
    Counted,
    Noted,
    drain,
    noted,
    texts_of,
)


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

        receipt, _ = await self.gather(append, empty)

        assert isinstance(receipt, Receipt)
        assert receipt.last_version == 2
        assert texts_of(await drain(store.read_stream("task-1"))) == ["a", "b"]

    async def test_thousand_events_fit_into_an_append(self, store: EventStore) -> None:
        receipt = await store.append(
            "task-1", noted(*map(str, range(1_000))), expected_version=NO_STREAM
        )

        assert receipt.last_version == 1_000
        assert receipt.last_position - receipt.first_position == 999
        assert len(await drain(store.read_stream("task-1"))) == 1_000

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

    async def test_repetition_is_known_after_thousands_of_events(self, store: EventStore) -> None:
        events = noted("a", "b")
        first = await store.append("task-1", events, expected_version=NO_STREAM)
        for _ in range(3):
            await store.append("task-2", noted(*["x"] * 1_000), expected_version=ANY)

        again = await store.append("task-1", events, expected_version=NO_STREAM)

        assert again == first
        assert await store.read_event(events[0].event_id) is not None

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
        first = await store.append(
            "task-1", [new_event(Noted(), event_id=event_id)], expected_version=0
        )

        again = await store.append(
            "task-1",
            [new_event(Noted(), event_id=f"{{{str(event_id).upper()}}}")],
            expected_version=0,
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
        await store.append(
            "task-1", [new_event(Noted(), event_id=event_id, actor="a")], expected_version=0
        )

        with pytest.raises(DuplicateEventError, match="metadata"):
            await store.append(
                "task-1", [new_event(Noted(), event_id=event_id, actor="b")], expected_version=ANY
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

        receipts = await self.gather(*[append] * 16)

        assert set(receipts) == {receipts[0]}
        assert isinstance(receipts[0], Receipt)
        assert texts_of(await drain(store.read_log())) == ["a", "b"]
