"""Hostile ids and values: refused, or kept byte for byte; the same on every store."""

import unicodedata
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Counter, Measured, drain, new_event, noted, texts_of
from tests.faults.account import faults

from backstory import (
    ANY,
    Checkpoint,
    EncodeError,
    EventStore,
    InvalidInputError,
    Metadata,
    NewEvent,
    Repository,
    Snapshot,
    StreamAppend,
    where,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

KEPT = [
    *("../../etc/x", "a/b", "C:\\x", "con", "'; drop table events; --", '"', "%", "_", "?", "#"),
    *(".", "*", ">", " ", "$SYS", "\r\n", "\u2028", "\u202e", "\ufeff", "\U0001f3ad", "-", "--"),
    *("A", "a", "1", "10", "1 ", " 1", "01", "\u0661"),
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    *("ß", "ss", "İ", "i", "\uff49"),
    "x" * 1_015,
]
"""Ids of aggregates that differ in the smallest ways."""

REFUSED = ["", "\0", "a\0b", "\ud800", "a\udfff", "x" * 1_000_000, None, 7, b"a", True]


@pytest.mark.fault(24, without="the comparison of ids by their bytes")
async def test_each_id_has_its_own_stream(store: EventStore) -> None:
    for id in KEPT:
        await store.append(f"task-{id}", noted(id), expected_version=0)
        faults.count()

    for id in KEPT:
        events = await drain(store.read_stream(f"task-{id}"))
        assert texts_of(events) == [id]
        assert (events[0].id, events[0].stream_id) == (id, f"task-{id}")
    streams = [stream.stream_id async for stream in store.read_streams("task")]
    assert streams == sorted((f"task-{id}" for id in KEPT), key=str.encode)


async def test_each_id_has_its_own_snapshot_and_checkpoint(store: EventStore) -> None:
    for number, id in enumerate(KEPT, 1):
        await store.save_snapshot(Snapshot(f"task-{id}", number, "f", b"{}"))
    names = [id for id in KEPT if len(id) < 100]
    for number, name in enumerate(names, 1):
        await store.save_checkpoint(Checkpoint(name, number, "f", b"{}"))

    for number, id in enumerate(KEPT, 1):
        snapshot = await store.load_snapshot(f"task-{id}", fingerprint="f")
        assert snapshot == Snapshot(f"task-{id}", number, "f", b"{}")
    for number, name in enumerate(names, 1):
        assert await store.load_checkpoint(name) == Checkpoint(name, number, "f", b"{}")
    assert await store.delete_snapshots("task-%") == 1


async def test_each_text_in_metadata_is_found_by_itself(store: EventStore) -> None:
    texts = [text for text in KEPT if len(text) < 200]
    for text in texts:
        metadata = Metadata(correlation_id=text, causation_id=text, actor=text, tags=(text,))
        event = new_event(Measured(value={text: text}), metadata=metadata)
        await store.append("task-1", [event], expected_version=ANY)

    for text in texts:
        for condition in (where(correlation_id=text), where(actor=text), where(tags=[text])):
            (recorded,) = await drain(store.read_log(where=condition))
            assert recorded.data == Measured(value={text: text})
            assert recorded.metadata.causation_id == text


async def test_categories_that_look_alike_are_apart(store: EventStore) -> None:
    ids = ["task-1", "task-10", "task.x-1", "tasks-1", "Task-1", "t_sk-1", "task_-1", "task.-1"]
    for stream_id in ids:
        await store.append(stream_id, noted(stream_id), expected_version=0)

    for stream_id in ids:
        category = stream_id.partition("-")[0]
        own = sorted(id for id in ids if id.startswith(f"{category}-"))
        assert texts_of(await drain(store.read_stream(stream_id))) == [stream_id]
        assert [stream.stream_id async for stream in store.read_streams(category)] == own
        found = await drain(store.read_log(where=where(categories=[category])))
        assert sorted(texts_of(found)) == own


@pytest.mark.parametrize("id", REFUSED, ids=range(len(REFUSED)))
@pytest.mark.fault(24, without="the limits of texts")
async def test_id_is_refused_everywhere_alike(store: EventStore, id: Any) -> None:
    stream_id = f"task-{id}" if isinstance(id, str) else id
    repository = Repository(store)

    for call in (
        lambda: store.append(stream_id, noted("a"), expected_version=ANY),
        lambda: store.append_many([StreamAppend(stream_id, noted("a"), ANY)]),
        lambda: drain(store.read_stream(stream_id)),
        lambda: store.save_snapshot(Snapshot(stream_id, 1, "f", b"{}")),
        lambda: store.load_snapshot(stream_id, fingerprint="f"),
        lambda: store.save_checkpoint(Checkpoint(id, 1, "f", b"{}")),
        lambda: store.load_checkpoint(id),
        lambda: store.delete_checkpoint(id),
        lambda: repository.execute(Counter.count, id),
        lambda: repository.load(Counter, id),
    ):
        with pytest.raises(InvalidInputError):
            await call()
        faults.count()
    if id is not None:
        with pytest.raises(InvalidInputError):
            await store.delete_snapshots(stream_id)
        conditions: list[dict[str, Any]] = [
            {"correlation_id": id},
            {"actor": id},
            {"tags": [id]},
            {"categories": [id]},
        ]
        for unfit in conditions:
            with pytest.raises(InvalidInputError):
                where(**unfit)

    assert await store.head() == 0


VALUES: list[Any] = [
    *(0, -0.0, 1.5, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 1e308, 5e-324),
    *(True, None, "", "\0", "\u2028", "\ufeff", "\U0001f3ad", "'; drop", "\\", "</script>"),
    *([], {}, [[[]]], {"": ""}, {"b": 1, "a": 2}, {"a": {"b": [1, "1", 1.0, True]}}),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
@pytest.mark.fault(27, "T40", without="the order of keys that an event came with")
async def test_value_comes_back_as_it_was(store: EventStore, value: Any) -> None:
    metadata = Metadata(free={"value": value})
    event = new_event(Measured(value=value), metadata=metadata)
    await store.append("task-1", [event], expected_version=ANY)
    faults.count()

    (recorded,) = await drain(store.read_log())

    assert (recorded.data_json, recorded.metadata_json) == (event.data_json, event.metadata_json)
    assert repr(recorded.data) == repr(Measured(value=value))
    assert repr(recorded.metadata.free) == repr({"value": value})


RAW = [
    (b'{"a":1,"a":2}', True),
    (b'{"b":1,"a":2}', True),
    (b' {"a" : 1e2}\n', True),
    (b'"\\u0000"', True),
    (b"1" * 4_301, False),
    (b"1e400", False),
    (b"NaN", False),
    (b"-Infinity", False),
    (b'"\\ud800"', False),
    (b'"\xff"', False),
    (b'\xef\xbb\xbf{"a":1}', False),
    (b"{'a':1}", False),
    (b'{"a":1,}', False),
    (b"", False),
    (b"[" * 100_000 + b"]" * 100_000, False),
    (b"[" * 100 + b"]" * 100, True),
    (b"[" * 101 + b"]" * 101, False),
]


@pytest.mark.parametrize(("data_json", "is_kept"), RAW, ids=range(len(RAW)))
@pytest.mark.fault(27, "T40", without="the check of JSON that nobody has encoded")
async def test_raw_json_is_kept_byte_for_byte_or_refused(
    store: EventStore, data_json: bytes, *, is_kept: bool
) -> None:
    faults.count()
    if not is_kept:
        with pytest.raises(EncodeError):
            NewEvent.raw("x.future", data_json, event_id=uuid.uuid4())
        return
    event = NewEvent.raw("x.future", data_json, event_id=uuid.uuid4())

    await store.append("task-1", [event], expected_version=ANY)

    (recorded,) = await drain(store.read_log())
    assert recorded.data_json == data_json


@pytest.mark.fault(24, 32, without="the one file that holds all streams")
async def test_no_id_leaves_the_folder_of_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    async with SQLiteStore(folder / "story.db") as store:
        for id in KEPT:
            await store.append(f"task-{id}", noted("a"), expected_version=0)
            faults.count()

    beside = [f"story.db-{what}" for what in ("head", "queue", "turn")]
    assert names_below(tmp_path) == ["inside", "story.db", *beside]


def names_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


async def test_both_stores_hold_the_same_bytes(tmp_path: Path) -> None:
    batches = [
        [
            StreamAppend(
                f"task-{id}",
                [new_event(Measured(value=value), metadata=Metadata(actor=id, tags=(id[:9],)))],
                ANY,
            )
        ]
        for id, value in zip(KEPT, VALUES, strict=False)
    ]

    logs: list[list[tuple[object, ...]]] = []
    for store in (InMemoryStore(), SQLiteStore(tmp_path / "story.db")):
        async with store:
            for batch in batches:
                await store.append_many(batch)
            logs.append(
                [
                    (e.position, e.stream_id, e.version, e.event_id, e.data_json, e.metadata_json)
                    for e in await drain(store.read_log())
                ]
            )

    assert logs[0] == logs[1]


@pytest.mark.parametrize("name", ["", "\ud800", "a\0", "x" * 257])
async def test_name_that_no_projection_can_have_is_owned_by_nobody(
    store: EventStore, name: str
) -> None:
    with pytest.raises(InvalidInputError):
        await store.try_own(name)
