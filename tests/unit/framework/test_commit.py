"""`settle`: what becomes of a group of appends, told by a plainer program than itself."""

import hashlib
import struct
import uuid
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.conftest import new_event, noted, unchecked

from backstory import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    AppendCondition,
    Batch,
    ConditionConflictError,
    DuplicateEventError,
    Durability,
    ExpectedVersion,
    InvalidInputError,
    Metadata,
    NewEvent,
    RecordedEvent,
    StreamAppend,
    VersionConflictError,
    where,
)
from backstory._commit import (
    EMPTY_LOG,
    NO_HASH,
    LogHead,
    Settlement,
    StreamHead,
    event_hash,
    log_digest,
    settle,
)


class Book:
    """A store that is nothing but dictionaries: what is needed to ask `settle` again and again."""

    def __init__(self) -> None:
        self.log: list[RecordedEvent] = []
        self.by_id: dict[str, RecordedEvent] = {}
        self.heads: dict[str, StreamHead] = {}
        self.head: LogHead = EMPTY_LOG

    def matches(self, batches: Sequence[Batch]) -> dict[AppendCondition, RecordedEvent]:
        conditions = [batch.condition for batch in batches if batch.condition is not None]
        return {
            condition: recorded
            for condition in conditions
            for recorded in self.log[condition.after_position :]
            if condition.where.matches(recorded)
        }

    def settle(self, *batches: Batch) -> Settlement:
        settlement = settle(
            batches,
            heads=self.heads,
            known=self.by_id,
            matches=self.matches(batches),
            log=self.head,
            recorded_microseconds=7,
            durability=Durability.MEMORY,
        )
        self.log += [event.recorded for event in settlement.events]
        self.by_id = {recorded.event_id: recorded for recorded in self.log}
        self.heads |= settlement.heads
        self.head = settlement.log
        return settlement


def append(
    stream_id: str, events: Sequence[NewEvent], expected: ExpectedVersion | int = ANY
) -> Batch:
    return Batch([StreamAppend(stream_id, events, expected)])


def places(settlement: Settlement) -> list[tuple[int, str, int]]:
    return [
        (event.recorded.position, event.recorded.stream_id, event.recorded.version)
        for event in settlement.events
    ]


def test_batches_are_judged_on_what_those_before_left() -> None:
    settlement = Book().settle(
        append("a-1", noted("x", "y"), NO_STREAM),
        append("a-1", noted("z"), NO_STREAM),
        append("a-1", noted("z"), 2),
        append("a-2", noted("w"), STREAM_EXISTS),
    )

    kinds = [type(answer) for answer in settlement.answers]
    assert kinds == [tuple, VersionConflictError, tuple, VersionConflictError]
    assert places(settlement) == [(1, "a-1", 1), (2, "a-1", 2), (3, "a-1", 3)]


def test_refused_batch_leaves_no_trace() -> None:
    book, events = Book(), noted("x")

    settlement = book.settle(
        Batch([StreamAppend("a-1", events, ANY), StreamAppend("a-2", noted("y"), STREAM_EXISTS)]),
        append("a-1", events, NO_STREAM),
    )

    refused, receipts = settlement.answers
    assert isinstance(refused, VersionConflictError)
    assert isinstance(receipts, tuple)
    assert places(settlement) == [(1, "a-1", 1)]
    assert set(settlement.heads) == {"a-1"}


def test_group_knows_the_ids_of_its_own_batches() -> None:
    events = noted("x")

    settlement = Book().settle(append("a-1", events), append("a-1", events), append("a-2", events))

    first, again, elsewhere = settlement.answers
    assert first == again
    assert isinstance(elsewhere, DuplicateEventError)
    assert places(settlement) == [(1, "a-1", 1)]


def test_batch_that_cannot_be_judged_fails_alone() -> None:
    broken = unchecked("no id at all", "t", 2**70, b"{}", b"{}")

    settlement = Book().settle(append("a-1", [broken]), append("a-1", noted("x"), NO_STREAM))

    failed, receipts = settlement.answers
    assert isinstance(failed, struct.error)
    assert isinstance(receipts, tuple)
    assert places(settlement) == [(1, "a-1", 1)]


def test_settlement_of_nothing_changes_nothing() -> None:
    book = Book()
    book.settle(append("a-1", noted("x")))

    settlement = book.settle()

    assert (settlement.answers, settlement.events) == ([], [])
    assert settlement.log == book.head


def hash_by_hand(before: bytes, event: RecordedEvent) -> bytes:
    """Hash an event as the documentation says, field by field."""
    texts = [
        event.stream_id.encode(),
        event.event_id.encode(),
        event.type.encode(),
        event.metadata_json,
        event.data_json,
    ]
    digest = hashlib.sha256(before)
    for number in (event.version, event.schema_version, event.recorded_microseconds):
        digest.update(number.to_bytes(8, "little", signed=True))
    for text in texts:
        digest.update(len(text).to_bytes(4, "little"))
    for text in texts:
        digest.update(text)
    return digest.digest()


def test_streams_are_chained_and_the_log_is_digested() -> None:
    book = Book()

    settlement = book.settle(
        append("a-1", noted("x", "é")), append("a-2", [new_event(metadata=Metadata(actor="é"))])
    )

    chain: dict[str, bytes] = {}
    digest = bytes(32)
    for event in settlement.events:
        stream_id = event.recorded.stream_id
        chain[stream_id] = hash_by_hand(chain.get(stream_id, bytes(32)), event.recorded)
        assert event.hash == chain[stream_id]
        position = event.recorded.position.to_bytes(8, "little", signed=True)
        digest = hashlib.sha256(digest + position + event.hash).digest()
    assert settlement.log == LogHead(3, digest)
    assert {id: head.hash for id, head in settlement.heads.items()} == chain


def test_hash_is_the_same_for_ever() -> None:
    # Written down once: a change would make every stored chain look damaged.
    event_id = "0191d7a6-0000-7000-8000-000000000001"
    event = RecordedEvent(9, "task-1", 1, event_id, "a:b", 1, 1_500_000, b"{}", b'{"a":"x"}')

    chained = event_hash(NO_HASH, event)

    assert chained.hex() == "3747697a26300345c6215271c83d14c241d6f044bbee3905cee1abe4718f33e0"
    assert log_digest(NO_HASH, 9, chained).hex() == (
        "01c97b8a2e635f4bf7611994726522fdb6b242dfc86336ddcda3beff3206d4c6"
    )


PLAIN = RecordedEvent(
    9, "task-1", 1, "0191d7a6-0000-7000-8000-000000000001", "a:b", 1, 7, b"{}", b'{"a":"x"}'
)


@pytest.mark.parametrize(
    "change",
    [
        {"stream_id": "task-2"},
        {"version": 2},
        {"event_id": "0191d7a6-0000-7000-8000-000000000002"},
        {"type": "a:c"},
        {"schema_version": 2},
        {"recorded_microseconds": 8},
        {"metadata_json": b'{"a":1}'},
        {"data_json": b'{"a":"y"}'},
    ],
)
def test_hash_covers_every_field_of_an_event(change: dict[str, object]) -> None:
    assert event_hash(NO_HASH, replace(PLAIN, **change)) != event_hash(NO_HASH, PLAIN)


def test_position_is_in_the_digest_and_not_in_the_hash() -> None:
    assert event_hash(NO_HASH, replace(PLAIN, position=10)) == event_hash(NO_HASH, PLAIN)
    assert log_digest(NO_HASH, 1, NO_HASH) != log_digest(NO_HASH, 2, NO_HASH)


def test_bytes_moved_from_field_to_field_change_the_hash() -> None:
    event_id = "0191d7a6-0000-7000-8000-000000000001"
    one = RecordedEvent(9, "task-1", 1, event_id, "a:b", 1, 7, b"{}", b"{}")
    other = RecordedEvent(9, "task-", 1, "1" + event_id, "a:b", 1, 7, b"{}", b"{}")

    assert event_hash(NO_HASH, one) != event_hash(NO_HASH, other)
    assert event_hash(bytes(31) + b"1", one) != event_hash(NO_HASH, one)


POOL = [uuid.UUID(int=number) for number in range(6)]


def pooled(event_id: uuid.UUID, actor: str) -> NewEvent:
    return new_event(event_id=event_id, metadata=Metadata(actor=actor))


EVENTS = st.builds(pooled, st.sampled_from(POOL), st.sampled_from(["a", "b"]))
EXPECTED = st.sampled_from([ANY, NO_STREAM, STREAM_EXISTS, 0, 1, 2, 3])
PARTS = st.builds(
    StreamAppend,
    st.sampled_from(["a-1", "a-2"]),
    st.lists(EVENTS, min_size=1, max_size=3),
    EXPECTED,
)
CONDITIONS = st.builds(
    AppendCondition,
    st.sampled_from(
        [where(actor="a"), where(actor="b"), where(actor="a") | where(streams=["a-1"])]
    ),
    st.integers(0, 6),
)
BATCHES = st.builds(Batch, st.lists(PARTS, min_size=1, max_size=2), st.none() | CONDITIONS)

Content = tuple[str, str, bytes]


class Oracle:
    """The rules again, slowly: every batch on a copy of all streams, kept when nothing objects."""

    def __init__(self) -> None:
        self.streams: dict[str, list[Content]] = {}
        self.log: list[tuple[str, Content]] = []

    def append(self, batch: Batch) -> bool:
        before, length = {id: list(events) for id, events in self.streams.items()}, len(self.log)
        known = {content[0] for _, content in self.log}
        is_new = any(event.event_id not in known for p in batch.appends for event in p.events)
        holds = batch.condition is None or not is_new or self._holds(batch.condition)
        if holds and all(map(self._append, batch.appends)):
            return True
        self.streams, self.log = before, self.log[:length]
        return False

    def _holds(self, condition: AppendCondition) -> bool:
        actors = {item.actor for item in condition.where.items}
        streams = {stream for item in condition.where.items for stream in item.streams}
        return condition.after_position <= len(self.log) and not any(
            stream_id in streams or f'"{actor}"' in content[2].decode()
            for stream_id, content in self.log[condition.after_position :]
            for actor in actors
        )

    def _append(self, part: StreamAppend) -> bool:
        stream = self.streams.setdefault(part.stream_id, [])
        wanted = [(event.event_id, event.type, event.metadata_json) for event in part.events]
        known = {event[0] for events in self.streams.values() for event in events}
        if known & {event[0] for event in wanted}:
            return any(
                stream[place : place + len(wanted)] == wanted for place in range(len(stream))
            )
        match part.expected_version:
            case int(version):
                as_expected = len(stream) == version
            case mode:
                as_expected = mode is ANY or bool(stream) == (mode is STREAM_EXISTS)
        if not as_expected or len({event[0] for event in wanted}) < len(wanted):
            return False
        stream += wanted
        self.log += [(part.stream_id, content) for content in wanted]
        return True


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(BATCHES, max_size=4), max_size=4))
def test_any_history_agrees_with_the_plain_rules(groups: list[list[Batch]]) -> None:
    book, oracle = Book(), Oracle()

    for group in groups:
        settlement = book.settle(*group)
        accepted = [not isinstance(answer, Exception) for answer in settlement.answers]
        assert accepted == [oracle.append(batch) for batch in group]

    assert {id: events for id, events in oracle.streams.items() if events} == streams_of(book)
    assert [event.position for event in book.log] == list(range(1, len(book.log) + 1))


def streams_of(book: Book) -> dict[str, list[Content]]:
    streams: dict[str, list[Content]] = {}
    for event in book.log:
        stream = streams.setdefault(event.stream_id, [])
        stream.append((event.event_id, event.type, event.metadata_json))
        assert event.version == len(stream)
    return streams


@given(st.lists(EVENTS, min_size=1, max_size=3, unique_by=lambda event: event.event_id), EXPECTED)
def test_accepted_append_made_again_has_the_same_receipt(
    events: list[NewEvent], expected: ExpectedVersion | int
) -> None:
    book = Book()
    (first,) = book.settle(append("a-1", events)).answers

    (again,) = book.settle(append("a-1", events, expected)).answers

    assert again == first


BOOKED = where(tags=["seat:1"]) | where(types=["test:counted"])


def tagged(tag: str) -> NewEvent:
    return new_event(metadata=Metadata(tags=(tag,)))


def conditional(stream_id: str, event: NewEvent, after_position: int) -> Batch:
    append = StreamAppend(stream_id, [event], ANY)
    return Batch([append], AppendCondition(BOOKED, after_position))


def test_event_that_matches_behind_the_position_refuses_the_append() -> None:
    book = Book()
    book.settle(append("a-1", [tagged("seat:1"), tagged("seat:2")]))

    settlement = book.settle(
        conditional("a-2", tagged("seat:1"), 0), conditional("a-2", tagged("seat:1"), 1)
    )

    refused, receipts = settlement.answers
    assert isinstance(refused, ConditionConflictError)
    assert (refused.position, refused.stream_id) == (1, "a-1")
    assert not isinstance(receipts, Exception)
    assert places(settlement) == [(3, "a-2", 1)]


def test_events_of_the_same_group_are_judged_too() -> None:
    settlement = Book().settle(
        conditional("a-1", tagged("seat:1"), 0), conditional("a-2", tagged("seat:1"), 0)
    )

    assert places(settlement) == [(1, "a-1", 1)]
    assert isinstance(settlement.answers[1], ConditionConflictError)


def test_event_that_was_withdrawn_is_not_judged() -> None:
    book = Book()
    book.settle(append("a-1", noted("x")))

    settlement = book.settle(
        append("a-1", [tagged("seat:1")], NO_STREAM), conditional("a-2", tagged("seat:1"), 0)
    )

    assert places(settlement) == [(2, "a-2", 1)]


def test_repetition_is_answered_whatever_its_condition_says_now() -> None:
    book, event = Book(), tagged("seat:1")
    (first,) = book.settle(conditional("a-1", event, 0)).answers

    (again,) = book.settle(conditional("a-1", event, 0)).answers

    assert again == first


def test_condition_on_a_position_that_was_never_given_is_refused() -> None:
    (answer,) = Book().settle(conditional("a-1", tagged("seat:1"), 1)).answers

    assert isinstance(answer, InvalidInputError)
    assert "the log ends at 0" in str(answer)
