"""What is particular to the SQLite store: its file, its settings, its SQL."""

import asyncio
import hashlib
import os
import sqlite3
import stat
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.conftest import (
    DEADLINE_SECONDS,
    Counted,
    Listed,
    Noted,
    drain,
    new_event,
    noted,
    texts_of,
)
from tests.faults.account import faults

from backstory import (
    ANY,
    AppendCondition,
    Batch,
    ConditionConflictError,
    ConfigurationError,
    CorruptLogError,
    DecodeError,
    Durability,
    EventFilter,
    LogRead,
    Metadata,
    Receipt,
    Snapshot,
    StoreClosedError,
    StoreUnavailableError,
    StreamAppend,
    StreamRead,
    where,
)
from backstory._limits import FILTER_ITEM_COUNT_MAX, FILTER_VALUE_COUNT_MAX, TAG_COUNT_MAX
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.sqlite._connection import Connection
from backstory.stores.sqlite._query import log_query, stream_query
from backstory.stores.sqlite._turn import WriteTurn
from backstory.testing import ManualClock

pytestmark = pytest.mark.anyio


BESIDE = ("story.db-head", "story.db-queue", "story.db-turn")
"""What lies beside a store that is closed."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "story.db"


@contextmanager
def behind_its_back(path: Path) -> Generator[sqlite3.Connection]:
    """Open the file as somebody would who does not know of the store."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


async def write_some(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.append_many(
            [
                StreamAppend("task-1", noted("a", "é\u2028\U0001f3ad"), ANY),
                StreamAppend("task-2", [new_event(Counted(by=3))], ANY),
            ]
        )
        metadata = Metadata(actor="ada", correlation_id="c1", tags=("x", "y"), free={"k": [1]})
        await store.append(
            "task-1", [new_event(Listed(words=["w"]), metadata=metadata)], expected_version=ANY
        )


def folder_of(path: Path) -> dict[str, bytes]:
    """Return everything that lies in a file's folder."""
    return {entry.name: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()}


def modes_of(path: Path) -> dict[str, int]:
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}


def connection_of(store: SQLiteStore) -> Connection | None:
    """Return the connection that writes."""
    writer = store._writer  # pyright: ignore[reportPrivateUsage]  # white box
    assert writer is not None
    return writer._connection  # pyright: ignore[reportPrivateUsage]  # likewise


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def test_files_are_readable_by_their_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        async with SQLiteStore(path) as store:
            await store.append("task-1", noted("a"), expected_version=ANY)
            modes = modes_of(path)
    finally:
        os.umask(before)

    assert modes == dict.fromkeys({"story.db", "story.db-wal", "story.db-shm", *BESIDE}, 0o600)


@pytest.mark.parametrize(
    ("durability", "synchronous"), [(Durability.FSYNC, 2), (Durability.BUFFERED, 1)]
)
@pytest.mark.fault("T32", without="`synchronous = FULL`")
async def test_writer_syncs_as_its_durability_says(
    path: Path, durability: Durability, synchronous: int
) -> None:
    async with SQLiteStore(path, durability=durability) as store:
        connection = connection_of(store)
        assert connection is not None

        def pragmas(db: sqlite3.Connection) -> list[Any]:
            names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

        faults.count()
        assert await connection.run(pragmas) == ["wal", synchronous, 1, 5000]
        receipt = await store.append("task-1", noted("a"), expected_version=ANY)

    assert receipt.durability is durability


@pytest.mark.parametrize("busy_timeout_seconds", [0, -1, float("nan"), float("inf")])
async def test_unfit_setting_is_refused(path: Path, busy_timeout_seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="busy_timeout_seconds"):
        SQLiteStore(path, busy_timeout_seconds=busy_timeout_seconds)
    with pytest.raises(ConfigurationError, match="durability"):
        SQLiteStore(path, durability=Durability.MEMORY)


async def test_readers_can_neither_write_nor_checkpoint(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.head()
        (reader,) = store._readers  # pyright: ignore[reportPrivateUsage]  # white box

        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await reader.run(lambda db: db.execute("DELETE FROM log"))
        log = folder_of(path)["story.db-wal"]
        with pytest.raises(sqlite3.OperationalError):
            await reader.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        assert folder_of(path)["story.db-wal"] == log != b""


async def test_closing_leaves_one_whole_file(path: Path) -> None:
    await write_some(path)

    assert set(folder_of(path)) == {"story.db", *BESIDE}
    with behind_its_back(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize("read_only", [False, True])
async def test_newer_schema_version_is_refused_untouched(path: Path, *, read_only: bool) -> None:
    await write_some(path)
    with behind_its_back(path) as db:
        db.execute("PRAGMA user_version = 999")
    before = folder_of(path)

    with pytest.raises(ConfigurationError, match="schema version 999"):
        await SQLiteStore(path, read_only=read_only).open()

    assert folder_of(path)["story.db"] == before["story.db"]
    # SQLite leaves the side files of a connection that may not write; they hold nothing.
    assert folder_of(path).get("story.db-wal", b"") == b""


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
async def test_foreign_sqlite_file_is_refused_untouched(path: Path, journal_mode: str) -> None:
    with behind_its_back(path) as db:
        db.execute(f"PRAGMA journal_mode = {journal_mode}")
        db.execute("CREATE TABLE mine (a)")
        db.execute("PRAGMA user_version = 1")
    before = folder_of(path)

    for read_only in (False, True):
        with pytest.raises(ConfigurationError, match="not a Backstory store"):
            await SQLiteStore(path, read_only=read_only).open()
        assert folder_of(path)["story.db"] == before["story.db"]


async def test_foreign_file_that_was_not_closed_keeps_its_log(path: Path) -> None:
    with behind_its_back(path) as db:
        db.execute("PRAGMA journal_mode = wal")
        db.execute("CREATE TABLE mine (a)")
        before = folder_of(path)
    put(path, before["story.db"])
    put(path.with_name("story.db-wal"), before["story.db-wal"])

    with pytest.raises(ConfigurationError, match="not a Backstory store"):
        await SQLiteStore(path).open()

    after = folder_of(path)
    assert after["story.db"] == before["story.db"]
    assert after["story.db-wal"] == before["story.db-wal"]


async def test_file_that_is_no_database_is_refused_untouched(path: Path) -> None:
    put(path, b"Dear diary,\n" * 1_000)
    before = folder_of(path)

    for read_only in (False, True):
        with pytest.raises((ConfigurationError, CorruptLogError), match="is no SQLite file"):
            await SQLiteStore(path, read_only=read_only).open()

    assert folder_of(path) == before


async def test_empty_file_becomes_a_store(path: Path) -> None:
    put(path, b"")

    async with SQLiteStore(path) as store:
        await store.append("task-1", noted("a"), expected_version=ANY)

    with behind_its_back(path) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (0x42535459,)
        assert db.execute("PRAGMA user_version").fetchone()[0] >= 1


@pytest.mark.parametrize("read_only", [False, True])
async def test_place_without_a_file_is_told_at_opening(tmp_path: Path, *, read_only: bool) -> None:
    (tmp_path / "folder.db").mkdir()

    for name in ("missing/story.db", "folder.db", "folder.db/missing/story.db"):
        store = SQLiteStore(tmp_path / name, read_only=read_only)
        with pytest.raises((StoreUnavailableError, ConfigurationError)):
            await store.open()
        await store.aclose()

    assert set(modes_of(tmp_path / "folder.db")) == {"folder.db"}


async def test_link_to_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "story.db").symlink_to(tmp_path / "victim.db")

    with pytest.raises(StoreUnavailableError):
        await SQLiteStore(tmp_path / "story.db").open()

    assert folder_of(tmp_path / "story.db") == {}


async def test_read_only_never_creates_a_file(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no store"):
        await SQLiteStore(path, read_only=True).open()
    assert folder_of(path) == {}

    put(path, b"")
    with pytest.raises(ConfigurationError, match="empty"):
        await SQLiteStore(path, read_only=True).open()
    assert folder_of(path) == {"story.db": b""}


async def test_read_only_reads_and_does_not_write(path: Path) -> None:
    await write_some(path)
    before = folder_of(path)

    async with SQLiteStore(path, read_only=True) as store:
        assert len(await drain(store.read_log())) == 4
        for call in (
            lambda: store.append("task-1", noted("a"), expected_version=ANY),
            store.delete_snapshots,
            lambda: store.delete_checkpoint("Counts"),
        ):
            with pytest.raises(ConfigurationError, match="was opened read-only, and cannot"):
                await call()

    assert folder_of(path)["story.db"] == before["story.db"]


async def test_read_only_follows_what_others_append(path: Path) -> None:
    async with (
        SQLiteStore(path) as writer,
        SQLiteStore(path, read_only=True) as reader,
        reader.subscribe() as subscription,
    ):
        for text in "abc":
            await writer.append("task-1", noted(text), expected_version=ANY)
            with anyio.fail_after(DEADLINE_SECONDS):
                assert texts_of([await anext(subscription)]) == [text]


async def test_chain_and_digest_agree_with_the_rows(path: Path) -> None:
    await write_some(path)
    await write_some(path)

    with behind_its_back(path) as db:
        rows = db.execute(
            "SELECT position, stream_id, version, event_id, type, schema_version, recorded_at,"
            " CAST(metadata AS BLOB), CAST(data AS BLOB), hash FROM events ORDER BY position"
        ).fetchall()
        head = db.execute("SELECT position, digest FROM log").fetchone()

    chain: dict[str, bytes] = {}
    digest = bytes(32)
    for position, stream_id, version, event_id, event_type, schema, moment, *texts, stored in rows:
        said = [stream_id.encode(), event_id.encode(), event_type.encode(), *texts]
        numbers = b"".join(n.to_bytes(8, "little", signed=True) for n in (version, schema, moment))
        lengths = b"".join(len(text).to_bytes(4, "little") for text in said)
        before = chain.get(stream_id, bytes(32))
        chain[stream_id] = hashlib.sha256(b"".join((before, numbers, lengths, *said))).digest()
        assert stored == chain[stream_id]
        digest = hashlib.sha256(digest + position.to_bytes(8, "little") + stored).digest()
    assert head == (rows[-1][0], digest)
    assert len(rows) == 8


@pytest.mark.fault("T32", without="AUTOINCREMENT")
async def test_position_of_a_lost_event_is_not_given_again(path: Path) -> None:
    await write_some(path)
    with behind_its_back(path) as db:
        db.execute("DROP TRIGGER events_are_not_removed")
        db.execute("DELETE FROM event_tags")
        db.execute("DELETE FROM events WHERE position >= 3")
        faults.count()
        assert (
            "AUTOINCREMENT"
            in db.execute("SELECT sql FROM sqlite_schema WHERE name = 'events'").fetchone()[0]
        )
        assert db.execute("SELECT seq FROM sqlite_sequence").fetchall() == [(4,)]

    async with SQLiteStore(path) as store:
        receipt = await store.append("task-9", noted("a"), expected_version=ANY)

    assert receipt.first_position == 5


async def test_events_can_be_asked_for_in_sql(path: Path) -> None:
    await write_some(path)

    with behind_its_back(path) as db:
        assert db.execute(
            "SELECT json_extract(data, '$.text') FROM events WHERE type = 'test:noted'"
        ).fetchall() == [("a",), ("é\u2028\U0001f3ad",)]
        assert db.execute(
            "SELECT stream_id, category, correlation_id, actor, json_extract(metadata, '$.free.k')"
            " FROM events WHERE json_extract(data, '$.words[0]') = 'w'"
        ).fetchall() == [("task-1", "task", "c1", "ada", "[1]")]
        assert db.execute("SELECT tag, position FROM event_tags").fetchall() == [("x", 4), ("y", 4)]


COPY = """
    INSERT INTO events
    SELECT position + 9, stream_id, {version}, {event_id},
        type, schema_version, recorded_at, metadata, data, hash, digest
    FROM events
"""


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET data = '{}'",
        "UPDATE events SET position = position + 100",
        "DELETE FROM events",
        "DELETE FROM events WHERE position = 4",
        COPY.format(version="version", event_id="'another'"),
        COPY.format(version="version + 9", event_id="event_id"),
    ],
)
@pytest.mark.fault(25, without="the triggers")
async def test_file_itself_refuses_to_change_the_past(path: Path, change: str) -> None:
    await write_some(path)

    faults.count()
    with behind_its_back(path) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(change)

    async with SQLiteStore(path) as store:
        assert [event.version for event in await drain(store.read_log())] == [1, 2, 1, 3]


async def test_damaged_event_leaves_the_others_readable(path: Path) -> None:
    await write_some(path)
    with behind_its_back(path) as db:
        db.execute("DROP TRIGGER events_are_not_changed")
        db.execute("UPDATE events SET data = '{\"text\":' WHERE position = 2")

    async with SQLiteStore(path) as store:
        first, damaged, *others = await drain(store.read_log())
        again = await store.append("task-1", noted("b"), expected_version=3)

    with pytest.raises(DecodeError, match="version 2 of stream 'task-1'"):
        _ = damaged.data
    assert first.data == Noted(text="a")
    assert [event.data for event in others] == [Counted(by=3), Listed(words=["w"])]
    assert again.first_version == 4


FILTERS = {
    "nothing": (where(), r"INTEGER PRIMARY KEY"),
    "type": (where(types=[Noted]), "INDEX events_type"),
    "types": (where(types=[Noted, Counted, Listed]), "INDEX events_type"),
    "many types": (where(types=[f"t:{n}" for n in range(50)]), "INTEGER PRIMARY KEY"),
    "category": (where(categories=["task"]), "INDEX events_category"),
    "categories": (where(categories=["task", "memo"]), "INDEX events_category"),
    "correlation": (where(correlation_id="c1"), "INDEX events_correlation_id"),
    "causation": (where(causation_id="c1"), "INDEX events_causation_id"),
    "actor": (where(actor="ada"), "INDEX events_actor"),
    "tag": (where(tags=["x"]), "PRIMARY KEY (tag=? AND position>? AND position<?)"),
    "tags": (where(tags=["x", "y"]), "PRIMARY KEY (tag=? AND position>? AND position<?)"),
    "type and actor": (where(types=[Noted], actor="ada"), "INDEX events_actor"),
    "type and category": (where(types=[Noted], categories=["task"]), "INDEX events_type"),
    "items": (where(types=[Noted]) | where(tags=["x"]), "INDEX events_type"),
    "items and everything": (where(types=[Noted]) | where(), "INTEGER PRIMARY KEY"),
    "all": (
        where(types=[Noted], categories=["task"], correlation_id="c", actor="a", tags=["x"]),
        "PRIMARY KEY (tag=? AND position>? AND position<?)",
    ),
}


def plan_of(db: sqlite3.Connection, sql: str, parameters: dict[str, Any]) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]


@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", FILTERS)
async def test_filter_reads_by_its_index_and_never_sorts(
    path: Path, name: str, *, backward: bool, statistics: bool
) -> None:
    await write_some(path)
    condition, index = FILTERS[name]
    query = log_query(LogRead(10, 1_000_000, condition, backward, 100))

    with behind_its_back(path) as db:
        if statistics:
            db.execute("ANALYZE")
        plan = plan_of(db, query.sql, query.parameters)

    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan
    bounded = [step for step in plan if "SEARCH e " in step or "SEARCH t " in step]
    assert bounded
    assert all("rowid" in step or "position" in step for step in bounded), plan
    # A long list of values is one parameter, which is gone through once.
    assert not any(step.startswith("SCAN") and "json_each" not in step for step in plan), plan


@pytest.mark.parametrize("backward", [False, True])
async def test_streams_are_read_from_where_the_page_begins(path: Path, *, backward: bool) -> None:
    await write_some(path)
    condition = where(streams=["task-1", "memo-1"], actor="ada")
    query = log_query(LogRead(10, 1_000_000, condition, backward, 100))

    with behind_its_back(path) as db:
        plan = plan_of(db, query.sql, query.parameters)

    assert "stream_id=? AND version>?" in " ".join(plan), plan
    assert "COVERING INDEX sqlite_autoindex_events_2 (stream_id=?)" in " ".join(plan), plan
    assert not any(step.startswith("SCAN e") for step in plan), plan


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("condition", [where(), where(types=[Noted], actor="ada", tags=["x"])])
async def test_stream_reads_by_its_index_and_never_sorts(
    path: Path, condition: EventFilter, *, backward: bool
) -> None:
    await write_some(path)
    query = stream_query(StreamRead("task-1", 1, 9, 100, condition, backward, 100))

    with behind_its_back(path) as db:
        plan = plan_of(db, query.sql, query.parameters)

    assert "stream_id=? AND version>? AND version<?" in plan[0], plan
    assert not any("TEMP B-TREE" in step or step.startswith("SCAN") for step in plan), plan


VARIABLE_COUNT_MAX = 32_766
"""Parameters of one statement, in an SQLite that is built as usual."""


def largest_filter() -> EventFilter:
    """Return a filter that is as large as the limits allow."""
    values = range(FILTER_VALUE_COUNT_MAX)
    items = [
        item
        for number in range(FILTER_ITEM_COUNT_MAX)
        for item in where(
            types=[f"t{number}.{value}" for value in values],
            categories=[f"c{number}.{value}" for value in values],
            streams=[f"c{number}-{value}" for value in values],
            tags=[f"t{number}.{value}" for value in range(TAG_COUNT_MAX)],
        ).items
    ]
    return EventFilter(tuple(items))


def test_largest_filter_is_a_statement_that_every_sqlite_takes() -> None:
    largest = largest_filter()

    for query in (
        log_query(LogRead(0, None, largest, False, 100)),
        stream_query(StreamRead("task-1", 0, None, None, largest, False, 100)),
    ):
        assert len(query.parameters) <= VARIABLE_COUNT_MAX


async def test_largest_filter_reads_what_it_means(path: Path) -> None:
    long = where(types=[*(f"t{value}" for value in range(FILTER_VALUE_COUNT_MAX - 1)), Noted])
    wanted = long | EventFilter(largest_filter().items[1:])
    async with SQLiteStore(path) as store:
        first, _ = noted("a"), await store.append("task-1", noted("a"), expected_version=0)
        condition = AppendCondition(wanted, after_position=0)

        with pytest.raises(ConditionConflictError):
            await store.append("task-2", first, expected_version=0, condition=condition)

        assert texts_of(await drain(store.read_log(where=wanted))) == ["a"]
        assert texts_of(await drain(store.read_stream("task-1", where=wanted))) == ["a"]


async def test_condition_that_cannot_be_asked_fails_its_own_append_alone(path: Path) -> None:
    async with SQLiteStore(path) as store:
        connection = connection_of(store)
        assert connection is not None
        # Room for one event's values, and not for this condition's.
        variables = sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER
        condition = AppendCondition(where(tags=[f"t{n}" for n in range(20)]), after_position=0)
        answers: dict[str, object] = {}

        async def append(stream_id: str, condition: AppendCondition | None) -> None:
            try:
                answers[stream_id] = await store.append(
                    stream_id, noted("a"), expected_version=0, condition=condition
                )
            except StoreUnavailableError as error:
                answers[stream_id] = error

        await connection.run(lambda db: db.setlimit(variables, 12))
        async with anyio.create_task_group() as group:
            group.start_soon(append, "before-1", None)
            group.start_soon(append, "task-1", condition)
            group.start_soon(append, "behind-1", None)

        assert isinstance(failure := answers.pop("task-1"), StoreUnavailableError)
        assert "too many SQL variables" in str(failure)
        assert all(isinstance(answer, Receipt) for answer in answers.values()), answers
        assert await store.head() == 2


async def test_group_counts_the_bytes_of_metadata_too(path: Path) -> None:
    metadata = Metadata(free={"text": "x" * 900_000})
    half = tuple([new_event(metadata=metadata) for _ in range(10)])
    async with SQLiteStore(path) as store:
        writer = store._writer  # pyright: ignore[reportPrivateUsage]  # white box
        assert writer is not None
        answers = [asyncio.get_running_loop().create_future() for _ in range(3)]
        queue = writer._groups._queue  # pyright: ignore[reportPrivateUsage]  # likewise
        for number, answer in enumerate(answers):
            queue.append((Batch((StreamAppend(f"task-{number}", half, 0),)), answer))

        groups = [writer._groups._take() for _ in range(3)]  # pyright: ignore[reportPrivateUsage]  # likewise

    assert [[answer for _, answer in group] for group in groups] == [[one] for one in answers]


async def test_append_that_missed_its_turn_keeps_the_connection(path: Path) -> None:
    async with SQLiteStore(path, busy_timeout_seconds=0.05) as store:
        before = connection_of(store)
        other = WriteTurn(path, store="other", timeout_seconds=DEADLINE_SECONDS)

        with other.taken("write"), pytest.raises(StoreUnavailableError, match="other processes"):
            await store.append("task-1", noted("a"), expected_version=0)
        other.close()

        # It waited once: what is thrown away is closed, which waits for the turn as well.
        assert connection_of(store) is before
        assert (await store.append("task-1", noted("b"), expected_version=0)).last_version == 1


async def test_mistake_of_the_program_is_told_as_it_is(path: Path) -> None:
    class Mistaken(ManualClock):
        def now(self) -> datetime:
            raise TypeError("no moment")

    async with SQLiteStore(path, clock=Mistaken()) as store:
        # "Try again" would be wrong advice.
        with pytest.raises(TypeError, match="no moment"):
            await store.append("task-1", noted("a"), expected_version=ANY)


async def test_large_events_are_paged_by_their_size(path: Path) -> None:
    async with SQLiteStore(path) as store:
        for _ in range(20):
            await store.append("task-1", noted("x" * 900_000), expected_version=ANY)

        page = await store.read_page(LogRead(0, None, where(), False, 1_000))

        assert 0 < len(page.events) <= 20
        assert len(await drain(store.read_log())) == 20
        assert len(await drain(store.read_log(backward=True))) == 20
        assert len(await drain(store.read_stream("task-1", limit=13))) == 13


class BrokenClock(ManualClock):
    """Fails when it is told to."""

    is_broken = False

    def now(self) -> datetime:
        if self.is_broken:
            raise ZeroDivisionError("the clock is broken")
        return super().now()


@pytest.mark.fault(30, without="the answer to those who wait, whatever has failed")
async def test_failure_inside_the_writer_is_answered_and_passes(path: Path) -> None:
    clock = BrokenClock()
    async with SQLiteStore(path, clock=clock) as store:
        with anyio.fail_after(DEADLINE_SECONDS):
            clock.is_broken = True
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="clock is broken") as caught:
                    await store.append("task-1", noted("a"), expected_version=ANY)
                assert not caught.value.outcome_unknown
                faults.count()
            clock.is_broken = False

            receipt = await store.append("task-1", noted("b"), expected_version=0)

        assert receipt.last_version == 1


async def test_closing_while_snapshots_are_saved_leaves_no_connection(path: Path) -> None:
    threads = threading.active_count()
    store = SQLiteStore(path)
    await store.open()

    async def save(version: int) -> None:
        with suppress(StoreClosedError):
            await store.save_snapshot(Snapshot("note-1", version, "f", b"{}"))

    async with anyio.create_task_group() as group:
        for version in range(1, 7):
            group.start_soon(save, version)
        await anyio.lowlevel.checkpoint()
        group.start_soon(store.aclose)

    assert threading.active_count() == threads


async def test_store_that_is_closed_while_it_opens_is_let_go_of(path: Path) -> None:
    threads = threading.active_count()
    store = SQLiteStore(path)

    async def open_it() -> None:
        with suppress(StoreClosedError):
            await store.open()

    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(open_it)
            await anyio.lowlevel.checkpoint()
            await store.aclose()

    assert threading.active_count() == threads
    with pytest.raises(StoreClosedError):
        await store.head()


UNCOMMITTABLE = """
CREATE TABLE parent (id INTEGER PRIMARY KEY);
CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TRIGGER orphan AFTER INSERT ON events BEGIN INSERT INTO child VALUES (new.position); END;
"""


@pytest.mark.fault(7, "T12", without="the difference between COMMIT and what is before it")
async def test_commit_that_fails_is_unknown_and_can_be_repeated(path: Path) -> None:
    events = noted("a", "b")
    async with SQLiteStore(path) as store:
        with behind_its_back(path) as db:
            db.executescript(UNCOMMITTABLE)
            faults.count()

        with pytest.raises(StoreUnavailableError) as failed:
            await store.append("note-1", events, expected_version=0)
        assert failed.value.outcome_unknown
        assert await drain(store.read_log()) == []

        with behind_its_back(path) as db:
            db.execute("DROP TRIGGER orphan")
        await store.append("note-1", events, expected_version=0)
        assert texts_of(await drain(store.read_log())) == ["a", "b"]


@pytest.mark.fault(7, without="the difference between COMMIT and what is before it")
async def test_append_that_fails_before_its_commit_did_not_happen(path: Path) -> None:
    async with SQLiteStore(path) as store:
        with behind_its_back(path) as db:
            db.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON events "
                "BEGIN SELECT RAISE(ABORT, 'the disk is on fire'); END"
            )
            faults.count()

        with pytest.raises(StoreUnavailableError, match="on fire") as failed:
            await store.append("note-1", noted("a"), expected_version=0)
        assert not failed.value.outcome_unknown

        with behind_its_back(path) as db:
            db.execute("DROP TRIGGER refuse")
        receipt = await store.append("note-1", noted("a"), expected_version=0)
        assert (receipt.first_version, receipt.first_position) == (1, 1)
