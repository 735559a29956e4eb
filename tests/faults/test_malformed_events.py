"""What is stored is malformed: a read says which event and why, and the others stay readable."""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Counted, Counter, drain, new_event, noted, texts_of, unchecked
from tests.faults.account import faults

from backstory import (
    ANY,
    Backstory,
    CorruptLogError,
    DecodeError,
    EventStore,
    OnFailure,
    Projection,
    ProjectionFailedError,
    StoreError,
    on,
)
from backstory.operations import verify
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

MALFORMED = [
    b"",
    b"{",
    b'{"by":',
    b'{"by":1',
    b'{"by":1}}',
    b'{"by":"one"}',
    b'{"by":1.5}',
    b'{"by":null}',
    b"[1]",
    b'"by"',
    b"null",
    b"NaN",
    b'\xef\xbb\xbf{"by":1}',
    b'{"by":1}\x00',
    b'{"by":"\xff"}',
    b'{"by":1e999}',
    b"[" * 100_000,
]
"""Data of an event whose class has one field, a whole number."""


class Sums(Projection, on_failure=OnFailure.STOP, attempt_count_max=1):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


async def store_with(store: EventStore, data_json: bytes, metadata_json: bytes = b"{}") -> None:
    """Append a malformed event between two whole ones of its stream, and one of another stream."""
    faults.count()
    event_id = str(uuid.uuid4())
    bad = unchecked(event_id, "test:counted", 1, data_json, metadata_json)
    await store.append("counter-1", [new_event(Counted())], expected_version=ANY)
    await store.append("counter-1", [bad], expected_version=ANY)
    await store.append("counter-1", [new_event(Counted())], expected_version=ANY)
    await store.append("note-1", noted("a"), expected_version=ANY)


@pytest.mark.fault(25, without="the translation of what the decoder raises")
@pytest.mark.parametrize("data_json", MALFORMED, ids=range(len(MALFORMED)))
async def test_read_names_the_malformed_event_and_goes_on(
    store: EventStore, data_json: bytes
) -> None:
    try:
        await store_with(store, data_json)
    except (StoreError, ValueError):  # it did not even get in
        assert all(event.version != 2 for event in await drain(store.read_stream("counter-1")))
        return

    before, bad, after, other = await drain(store.read_log())

    with pytest.raises(DecodeError, match="version 2 of stream 'counter-1'"):
        _ = bad.data
    assert bad.data_json == data_json
    assert (before.data, after.data) == (Counted(), Counted())
    assert texts_of([other]) == ["a"]


@pytest.mark.fault(25, without="the translation of what the decoder raises")
@pytest.mark.parametrize("metadata_json", [b"", b"[", b"[]", b'{"tags":1}', b'{"actor":7}'])
async def test_malformed_metadata_is_named_and_the_data_is_read(
    store: EventStore, metadata_json: bytes
) -> None:
    try:
        await store_with(store, b'{"by":5}', metadata_json)
    except StoreError:  # it did not even get in
        return

    events = await drain(store.read_stream("counter-1"))

    with pytest.raises(DecodeError, match="version 2 of stream 'counter-1'"):
        _ = events[1].metadata
    assert [event.data for event in events] == [Counted(), Counted(by=5), Counted()]


@pytest.mark.fault(25, without="the stop of a projection whose event cannot be decoded")
async def test_malformed_event_stops_what_wants_it_and_nobody_else(store: EventStore) -> None:
    await store_with(store, b'{"by":"one"}')

    async with Backstory(store, projections=[Sums]) as story:
        with pytest.raises(ProjectionFailedError) as failed:
            await story.read_model(Sums)
        with pytest.raises(DecodeError, match="version 2 of stream 'counter-1'"):
            await story.load(Counter, "1")
        with pytest.raises(DecodeError, match="version 2 of stream 'counter-1'"):
            _ = [recorded async for recorded in story.replay()]
        assert (await story.load(Counter, "1", at_version=1)).total == 1
        assert await story.execute(Counter.count, "2") == 1

    assert failed.value.position == 2
    checkpoint = await store.load_checkpoint("Sums")
    assert checkpoint is not None
    assert (checkpoint.position, checkpoint.model_json) == (1, b'{"total":1}')


CHANGES = {
    "data": (b'{"by":2}', "data"),
    "a field more": (b'{"by":1,"to":1}', "data"),
    "broken JSON": (b'{"by":', "data"),
    "invalid UTF-8": (b'{"by":"\xff"}', "data"),
    "no data": (b"", "data"),
    "metadata": (b'{"actor":"eve"}', "metadata"),
    "type": (b"test:noted", "type"),
    "unknown type": (b"x.future", "type"),
    "stream": (b"counter-9", "stream_id"),
}


@pytest.mark.fault(25, 5, without="the comparison of hashes")
@pytest.mark.parametrize("change", CHANGES)
async def test_row_that_was_changed_behind_the_store_s_back_is_found(
    tmp_path: Path, change: str
) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path) as store:
        await store_with(store, b'{"by":1}')
    value, column = CHANGES[change]
    change_column = f"UPDATE events SET {column} = CAST(? AS TEXT) WHERE position = 2"  # noqa: S608 - a column of ours
    rewrite(path, change_column, value)

    async with SQLiteStore(path) as store:
        verification = await verify(store)
        assert {damage.position for damage in verification.damage} >= {2}
        assert texts_of(await drain(store.read_stream("note-1"))) == ["a"]
        try:
            events = await drain(store.read_stream("counter-1", until_version=1))
            assert [event.data for event in events] == [Counted()]
            receipt = await store.append("note-1", noted("b"), expected_version=1)
            assert receipt.first_position == 5
        except CorruptLogError as error:
            assert error.position == 2  # noqa: PT017 - either is right


def rewrite(path: Path, sql: str, *values: Any) -> None:
    """Change rows as somebody would who has the file, and wants to."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER events_are_not_changed")
        db.execute("PRAGMA ignore_check_constraints = ON")
        assert db.execute(sql, values).rowcount == 1
        faults.count()
