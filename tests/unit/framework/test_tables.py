"""Statements on the tables of read models: what they may not touch, in SQLite."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.conftest import noted

from backstory import ANY, Checkpoint, EventStore, TableStatementError
from backstory._progress import Progress, TableChange
from backstory._tables import OWN_TABLES, Tables
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["in_memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    """Yield an open store whose tables are SQLite's."""
    sqlite = SQLiteStore(tmp_path / "story.db")
    async with sqlite if request.param == "sqlite" else InMemoryStore() as opened:
        yield opened


CREATE = TableChange("CREATE TABLE rows__1 (id INTEGER PRIMARY KEY, notes TEXT)")
INSERT = TableChange("INSERT INTO rows__1 VALUES (1, 'a')")


def at(position: int) -> Checkpoint:
    return Checkpoint("rows", position, "f", b"{}")


async def change(store: EventStore, *sql: str) -> None:
    changes = [TableChange(one) for one in sql]
    await store.save_progress(Progress(at(1), changes=changes))


async def test_store_protects_all_tables_that_it_has(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        await store.append("note-1", noted("a"), expected_version=ANY)

    with closing(sqlite3.connect(tmp_path / "story.db")) as db:
        rows = db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        assert {name for (name,) in rows if not name.startswith("sqlite_")} == OWN_TABLES


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("PRAGMA user_version = 99", "the settings of the connection"),
        ("ATTACH ':memory:' AS other", "the connection"),
        ("DETACH main", "the connection"),
        ("SAVEPOINT a", "the transaction"),
        ("CREATE TEMP TABLE events (position)", "can hide one of the store's"),
        ("CREATE TEMP VIEW log AS SELECT 1", "can hide one of the store's"),
        ("CREATE VIEW IF NOT EXISTS Notes AS SELECT 1", "'Notes' is a table of the store's own"),
    ],
)
async def test_statement_may_not_change_the_connection(
    store: EventStore, sql: str, reason: str
) -> None:
    await change(store, CREATE.sql)

    with pytest.raises(TableStatementError, match=reason):
        await change(store, INSERT.sql, sql)

    assert (await store.query_tables("SELECT * FROM rows__1")).rows == []
    await store.append("note-1", noted("a"), expected_version=ANY)
    await change(store, INSERT.sql)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX more ON events (type)",
        "DROP INDEX events_type",
        "DROP TRIGGER events_are_not_changed",
        "CREATE TRIGGER no BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no'); END",
        "ALTER TABLE notes RENAME TO memos",
        "ALTER TABLE notes ADD COLUMN more TEXT",
        "WITH all_of AS (SELECT 1) UPDATE Checkpoints SET position = 9",
    ],
)
async def test_statement_may_not_touch_what_belongs_to_a_table_of_the_store(
    tmp_path: Path, sql: str
) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        with pytest.raises(TableStatementError, match="a table of the store's own"):
            await change(store, sql)
        await store.append("note-1", noted("a"), expected_version=ANY)


async def test_trigger_of_a_read_model_may_not_reach_the_log(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        trigger = "CREATE TRIGGER t AFTER INSERT ON rows__1 BEGIN DELETE FROM notes; END"
        await change(store, CREATE.sql, trigger)

        with pytest.raises(TableStatementError, match="'notes' is a table of the store's own"):
            await change(store, INSERT.sql)


async def test_column_may_be_called_as_a_table_of_the_store(store: EventStore) -> None:
    await change(store, CREATE.sql, INSERT.sql, "UPDATE rows__1 SET notes = 'b'")

    assert (await store.query_tables("SELECT notes FROM rows__1")).rows == [("b",)]


@pytest.mark.parametrize("sql", ["PRAGMA cache_size = 1", "ATTACH ':memory:' AS other"])
async def test_query_may_not_change_the_connection(store: EventStore, sql: str) -> None:
    with pytest.raises(TableStatementError, match=r"connection (is|are) the store's"):
        await store.query_tables(sql)


async def test_query_may_use_what_sqlite_has(store: EventStore) -> None:
    found = await store.query_tables(
        "WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 3) "
        "SELECT sum(n), (SELECT max(value) FROM json_each('[7, 8]')) FROM up"
    )

    assert found.rows == [(6, 8)]


def test_statement_that_rolls_back_by_itself_leaves_nothing() -> None:
    tables = Tables()
    tables.change([CREATE])

    with pytest.raises(TableStatementError, match="UNIQUE"):
        tables.change([INSERT, TableChange("INSERT OR ROLLBACK INTO rows__1 VALUES (1, 'b')")])

    assert tables.query("SELECT * FROM rows__1", ()).rows == []
