"""Events leave a store as lines and enter another as the same events."""

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.conftest import STORES, Counted, Noted, drain, new_event, noted

from backstory import (
    ANY,
    DecodeError,
    Event,
    EventStore,
    Metadata,
    NewEvent,
    RecordedEvent,
    where,
)
from backstory.operations import (
    BadEventLineError,
    export_events,
    import_events,
    read_as_today,
)
from backstory.stores.in_memory import InMemoryStore

pytestmark = pytest.mark.anyio


def _seconds(data: dict[str, Any]) -> dict[str, Any]:
    return {"seconds": data["minutes"] * 60}


class Waited(
    Event,
    type="transfer:waited",
    schema_version=2,
    aliases=("transfer:paused",),
    upcasters={1: _seconds},
):
    seconds: int


@pytest.fixture
async def copy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EventStore]:
    """Yield an empty store of the same sort as the first."""
    name = request.node.callspec.params["store"]
    async with STORES[name](tmp_path_factory.mktemp("copy"), None) as copy:
        yield copy


async def fill(store: EventStore) -> None:
    """Store events of several streams, of which this program does not know one."""
    await store.append("note-1", noted("a", "b"), expected_version=0)
    unknown = NewEvent.raw(
        "never:defined",
        b'{ "b": 1.0,\n  "a": "\xc3\xa9" }',
        event_id=uuid.uuid4(),
        schema_version=7,
        metadata=Metadata(actor="ada", tags=("urgent",), free={"n": 1}),
    )
    await store.append("stranger-x-y", [unknown], expected_version=0)
    await store.append("note-1", noted("c"), expected_version=2)
    await store.append("counter-1", [new_event(Counted(by=2))], expected_version=0)


async def lines_of(store: EventStore, **options: Any) -> list[bytes]:
    return [line async for line in export_events(store, **options)]


def content(events: Sequence[RecordedEvent]) -> list[tuple[Any, ...]]:
    """Return all that a transfer keeps; line breaks between values become spaces."""
    return [
        (
            event.event_id,
            event.stream_id,
            event.version,
            event.type,
            event.schema_version,
            event.metadata_json,
            event.data_json.replace(b"\n", b" "),
        )
        for event in events
    ]


async def test_events_come_over_as_they_are(store: EventStore, copy: EventStore) -> None:
    await fill(store)

    lines = await lines_of(store)
    summary = await import_events(copy, lines)

    assert (summary.line_count, summary.added_count, summary.present_count) == (5, 5, 0)
    assert content(await drain(copy.read_log())) == content(await drain(store.read_log()))
    assert await lines_of(copy, until_position=0) == []


async def test_type_that_nobody_knows_passes_unchanged(store: EventStore, copy: EventStore) -> None:
    data = b'{"big":123456789012345678901234567890,"f":1.10,"s":"\\u00e9\xf0\x9f\x90\xa2","z":[ ]}'
    event = NewEvent.raw("never:defined", data, event_id=uuid.uuid4(), schema_version=3)
    await store.append("stranger-1", [event], expected_version=0)

    await import_events(copy, await lines_of(store))

    (recorded,) = await drain(copy.read_log())
    assert recorded.data_json == data
    assert (recorded.type, recorded.schema_version) == ("never:defined", 3)


async def test_every_line_is_one_line(store: EventStore) -> None:
    await fill(store)

    for line in await lines_of(store):
        assert line.count(b"\n") == 1
        json.loads(line)


async def test_tags_are_found_in_the_copy(store: EventStore, copy: EventStore) -> None:
    await fill(store)

    await import_events(copy, await lines_of(store))

    found = await drain(copy.read_log(where=where(tags=["urgent"])))
    assert [event.stream_id for event in found] == ["stranger-x-y"]


async def test_second_import_adds_nothing(store: EventStore, copy: EventStore) -> None:
    await fill(store)
    lines = await lines_of(store)
    await import_events(copy, lines)

    again = await import_events(copy, lines)
    into_itself = await import_events(store, lines)

    assert (again.added_count, again.present_count) == (0, 5)
    assert (into_itself.added_count, into_itself.present_count) == (0, 5)


async def test_half_import_goes_on(store: EventStore, copy: EventStore) -> None:
    await store.append("note-1", noted(*(str(n) for n in range(900))), expected_version=0)
    lines = await lines_of(store)
    await import_events(copy, lines[:700])

    summary = await import_events(copy, lines)

    assert (summary.added_count, summary.present_count) == (200, 700)
    assert content(await drain(copy.read_log())) == content(await drain(store.read_log()))


async def test_export_gives_what_is_asked_for(store: EventStore) -> None:
    await fill(store)

    async def positions(**options: Any) -> list[int]:
        return [json.loads(line)["position"] for line in await lines_of(store, **options)]

    assert await positions(where=where(categories=["note"])) == [1, 2, 4]
    assert await positions(where=where(types=[Counted])) == [5]
    assert await positions(after_position=1, until_position=3) == [2, 3]


async def test_category_alone_can_be_imported(store: EventStore, copy: EventStore) -> None:
    await fill(store)

    summary = await import_events(copy, await lines_of(store, where=where(categories=["note"])))

    assert summary.added_count == 3


async def test_decoded_export_gives_what_classes_read(store: EventStore, copy: EventStore) -> None:
    for schema_version, type, data in (
        (1, "transfer:paused", b'{"minutes":2}'),
        (1, "never:defined", b'{"minutes":2}'),
        (3, "transfer:waited", b'{"later":1}'),
    ):
        event = NewEvent.raw(type, data, event_id=uuid.uuid4(), schema_version=schema_version)
        await store.append("wait-1", [event], expected_version=ANY)

    lines = await lines_of(store, decode=True)
    await import_events(copy, lines)

    read = [(event.type, event.schema_version, event.data_json) for event in await all_of(copy)]
    assert read == [
        ("transfer:waited", 2, b'{"seconds":120}'),
        ("never:defined", 1, b'{"minutes":2}'),
        ("transfer:waited", 3, b'{"later":1}'),
    ]


async def all_of(store: EventStore) -> list[RecordedEvent]:
    return await drain(store.read_log())


def test_event_that_does_not_fit_cannot_be_read_as_today() -> None:
    damaged = RecordedEvent(1, "note-1", 1, str(uuid.uuid4()), "test:noted", 1, 0, b"{}", b"[]")

    with pytest.raises(DecodeError, match="version 1 of stream 'note-1'"):
        read_as_today(damaged)


def changed(line: bytes, **values: Any) -> bytes:
    return json.dumps({**json.loads(line), **values}).encode()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"event_id": "7"}, "must be a UUID"),
        ({"event_id": 7}, r"\$\.event_id"),
        ({"stream_id": "note"}, "must be a category, a dash and an id"),
        ({"version": 0}, "version 0: must be a whole number from 1"),
        ({"version": None}, r"\$\.version"),
        ({"type": "no type"}, "event type 'no type'"),
        ({"schema_version": -1}, "schema version -1"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"tags": ["a", "a"]}}, "name each tag once"),
        ({"data": {"text": 1}}, "data: Expected `str`"),
        ({"data": {"text": "x" * 1_100_000}}, "at most 1,000,000 are allowed"),
        ({"data": {"text": "x" * 2_100_000}}, "has more than 2,000,000 bytes"),
        ({"version": 5}, "does not follow in stream 'note-1', which is at version 1 here"),
        ({"version": 1}, "does not follow in stream 'note-1'"),
    ],
)
async def test_bad_line_is_named_by_its_number(values: dict[str, Any], reason: str) -> None:
    async with InMemoryStore() as source:
        await source.append("note-1", noted("a", "b"), expected_version=0)
        first, second = await lines_of(source)

    async with InMemoryStore() as store:
        with pytest.raises(BadEventLineError, match=rf"line 3: .*{reason}") as caught:
            await import_events(store, [first, b"\n", changed(second, **values)])

        assert len(await all_of(store)) == 1  # what is before the bad line
    assert caught.value.summary is not None
    assert caught.value.summary.added_count == 1


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}", b"[" * 5_000])
async def test_line_that_is_no_event_is_refused(line: bytes) -> None:
    async with InMemoryStore() as store:
        with pytest.raises(BadEventLineError, match="line 1: is no event"):
            await import_events(store, [line])


async def test_line_with_metadata_that_could_be_read_in_two_ways_is_refused() -> None:
    async with InMemoryStore() as source:
        await source.append("note-1", noted("a"), expected_version=0)
        (line,) = await lines_of(source)
    doubled = line.replace(b'"metadata":{', b'"metadata":{"actor":"ada","actor":"bob",')
    doubled = doubled.replace(b'"bob",}', b'"bob"}')

    async with InMemoryStore() as store:
        with pytest.raises(BadEventLineError, match=r"line 1: .*each key once"):
            await import_events(store, [doubled])


async def test_other_event_under_a_known_id_is_refused(store: EventStore) -> None:
    await store.append("note-1", noted("a"), expected_version=0)
    (line,) = await lines_of(store)

    with pytest.raises(BadEventLineError, match="with other data"):
        await import_events(store, [changed(line, data={"text": "b"})])


async def test_bad_lines_are_skipped_with_what_follows_in_their_stream() -> None:
    async with InMemoryStore() as source:
        await source.append("note-1", noted("a", "b", "c"), expected_version=0)
        await source.append("note-2", noted("d"), expected_version=0)
        lines = await lines_of(source)
    lines[1] = b"{\n"

    async with InMemoryStore() as store:
        summary = await import_events(store, lines, on_error="skip")

        stored = [event.stream_id for event in await all_of(store)]
    assert stored == ["note-1", "note-2"]
    assert (summary.line_count, summary.added_count, summary.skipped_count) == (4, 2, 2)
    assert [skipped.line for skipped in summary.skipped] == [2, 3]


async def test_only_the_first_hundred_skipped_lines_are_named() -> None:
    async with InMemoryStore() as store:
        summary = await import_events(store, [b"{"] * 130, on_error="skip")

    assert (summary.skipped_count, len(summary.skipped)) == (130, 100)


async def test_bad_line_after_a_batch_leaves_the_batch_in_the_store() -> None:
    async with InMemoryStore() as source:
        await source.append(
            "note-1", noted(*("x" * 20_000 for _ in range(600))), expected_version=0
        )
        lines = await lines_of(source)

    async with InMemoryStore() as store:
        with pytest.raises(BadEventLineError, match="line 601"):
            await import_events(store, [*lines, b"{"])

        assert len(await all_of(store)) == 600


async def test_byte_order_mark_and_blank_lines_are_passed_over() -> None:
    async with InMemoryStore() as source:
        await source.append("note-1", noted("a"), expected_version=0)
        (line,) = await lines_of(source)

    async with InMemoryStore() as store:
        summary = await import_events(store, [b"\xef\xbb\xbf" + line, b"  \r\n"])

        (recorded,) = await all_of(store)
    assert (summary.line_count, recorded.data) == (1, Noted(text="a"))
