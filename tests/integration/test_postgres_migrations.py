"""The schema of a PostgreSQL store is created and changed whole, once, and by its owner."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import asyncpg
import pytest
from click.testing import CliRunner, Result
from tests.conftest import DEADLINE_SECONDS, noted
from tests.integration.process import environment
from tests.servers.postgres import PostgresServer

from backstory import ANY, ConfigurationError, StoreError, store_of
from backstory.cli._main import backstory as program
from backstory.stores.postgres import PostgresStore, _migrate
from backstory.stores.postgres._migrate import INDEXES, NEWEST, Migration

pytestmark = pytest.mark.anyio

PROCESS_COUNT: Final = 8
OPENS: Final = """
import asyncio, os, sys, uuid
from backstory import NO_STREAM, NewEvent, store_of

async def main():
    async with store_of(sys.argv[1]) as store:
        event = NewEvent.raw("test:opened", b"{}", event_id=uuid.uuid4())
        await store.append(f"opening-{os.getpid()}", [event], expected_version=NO_STREAM)

asyncio.run(main())
"""
DESCRIBED: Final = {
    "columns": """
        SELECT table_name, column_name, data_type, is_nullable, column_default,
            generation_expression, collation_name
        FROM information_schema.columns WHERE table_schema = 'backstory' ORDER BY 1, 2
    """,
    "constraints": """
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'backstory'::regnamespace ORDER BY 1
    """,
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'backstory' ORDER BY 1
    """,
    "functions": """
        SELECT proname, pg_get_functiondef(oid), proacl FROM pg_proc
        WHERE pronamespace = 'backstory'::regnamespace ORDER BY 1
    """,
    "triggers": """
        SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'backstory'::regnamespace ORDER BY 1
    """,
    "migrations": "SELECT number, name FROM backstory.migrations ORDER BY 1",
}
"""What there is to a schema, as PostgreSQL describes it."""


def command(*words: str) -> Result:
    return CliRunner().invoke(program, ["migrate", *words])


def run_script(script: str, url: str) -> None:
    async def run() -> None:
        db = await asyncpg.connect(url)
        try:
            await db.execute(script)
        finally:
            await db.close()

    anyio.run(run)


def described(server: PostgresServer, url: str) -> dict[str, Sequence[Any]]:
    return {
        name: [tuple(row) for row in server.execute(sql, url=url)]
        for name, sql in DESCRIBED.items()
    }


def indexes_of(server: PostgresServer, url: str) -> set[str]:
    sql = "SELECT indexname FROM pg_indexes WHERE schemaname = 'backstory'"
    names = {row["indexname"] for row in server.execute(sql, url=url)}
    return {name.removeprefix("events_") for name in names} & INDEXES


def has_schema(server: PostgresServer, url: str) -> bool:
    sql = "SELECT to_regnamespace('backstory') IS NOT NULL AS is_there"
    return bool(server.execute(sql, url=url)[0]["is_there"])


@pytest.fixture
def other_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield the URL of another empty database."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def is_old(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let this program be an older one, until it is undone."""
    monkeypatch.setattr(_migrate, "MIGRATIONS", _migrate.MIGRATIONS[:1])
    monkeypatch.setattr(_migrate, "NEWEST", 1)
    return monkeypatch


# The command.


def test_printed_sql_does_what_the_command_does(
    postgres_server: PostgresServer, postgres_url: str, other_url: str
) -> None:
    printed = command("--dry-run", "--store", postgres_url).stdout
    assert not has_schema(postgres_server, postgres_url)

    run_script(printed, postgres_url)
    done = command("--store", other_url)

    assert done.stdout == f"schema version {NEWEST}, created\n"
    assert described(postgres_server, postgres_url) == described(postgres_server, other_url)
    again = command("--dry-run", "--store", postgres_url).stdout
    assert again == f"-- schema version {NEWEST}, the newest; nothing to do\n"


def test_printed_sql_runs_in_psql(
    postgres_server: PostgresServer, postgres_url: str, own_psql: str
) -> None:
    printed = command("--dry-run", "--store", postgres_url).stdout

    run = subprocess.run(
        [own_psql, "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--quiet", postgres_url],
        input=printed,
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_SECONDS,
    )

    assert run.returncode == 0, run.stderr
    assert has_schema(postgres_server, postgres_url)


@pytest.fixture
def own_psql() -> str:
    """Return the program `psql`, where the wheel of the tests' server is."""
    from tests.servers.installation import installed  # noqa: PLC0415 - not on Windows

    if (top := installed()) is None:
        pytest.skip("psql comes from the wheel of the tests' own server")
    return str(top / "bin" / "psql")


def test_printed_sql_leaves_nothing_where_it_fails(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    printed = command("--dry-run", "--store", postgres_url).stdout
    assert "INSERT INTO" in printed
    broken = printed.replace("CREATE INDEX events_actor", "CREATE INDEX events_type")

    with pytest.raises(asyncpg.DuplicateTableError):
        run_script(broken, postgres_url)

    assert not has_schema(postgres_server, postgres_url)


def test_command_says_in_json_what_it_did(postgres_url: str) -> None:
    first = json.loads(command("--json", "--store", postgres_url).stdout)
    second = json.loads(command("--json", "--store", postgres_url).stdout)

    assert (first["before"], first["version"], first["dry_run"]) == (0, NEWEST, False)
    assert first["sql"].startswith("BEGIN;\n")
    assert second == {"before": NEWEST, "version": NEWEST, "sql": "", "dry_run": False}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), INDEXES),
        (("--no-indexes",), frozenset[str]()),
        (("--index", "type", "--index", "tags"), frozenset({"type", "tags"})),
    ],
    ids=["all", "none", "some"],
)
def test_indexes_are_created_as_wished(
    postgres_server: PostgresServer,
    postgres_url: str,
    words: tuple[str, ...],
    wanted: frozenset[str],
) -> None:
    result = command(*words, "--store", postgres_url)

    assert result.exit_code == 0
    assert indexes_of(postgres_server, postgres_url) == wanted


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--index", "moon"), "no index moon; known: actor"),
        (("--index", "type", "--no-indexes"), "once"),
        (("--no-indexes", "--store", "memory://?indexes=type"), "once"),
        (("--no-indexes", "--store", "sqlite:///a.db"), "no setting 'indexes'"),
        (("--reader", "x", "--store", "sqlite:///a.db"), "no roles"),
        (("--writer", "x", "--store", "memory://"), "no roles"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], reason: str) -> None:
    result = command("--store", "postgresql://nobody@127.0.0.1:1/none", *words)

    assert isinstance(result.exception, ConfigurationError)
    assert reason in str(result.exception)


def test_sqlite_says_what_it_would_do_and_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    planned = command("--dry-run", "--json", "--store", "sqlite:///story.db")
    assert not list(tmp_path.iterdir())
    done = command("--store", "sqlite:///story.db")
    again = command("--dry-run", "--store", "sqlite:///story.db")

    plan = json.loads(planned.stdout)
    assert (plan["before"], plan["dry_run"]) == (0, True)
    assert plan["sql"].count("PRAGMA user_version") == plan["version"]
    assert done.stdout == f"schema version {plan['version']}, created\n"
    assert again.stdout == f"-- schema version {plan['version']}, the newest; nothing to do\n"


def test_printed_sql_makes_a_file_that_is_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = command("--dry-run", "--store", "sqlite:///story.db").stdout

    db = sqlite3.connect("story.db")
    db.executescript(printed)
    db.close()

    assert "nothing to do" in command("--store", "sqlite:///story.db").stdout


def test_store_without_a_schema_has_nothing_to_do() -> None:
    result = command("--store", "memory://")

    assert result.stdout == "this store has no schema; nothing to do\n"


# Many at once.


@pytest.mark.slow
def test_processes_that_open_an_empty_database_at_once_all_come_up(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", OPENS, postgres_url],
            env=environment(),
            stderr=subprocess.PIPE,
        )
        for _ in range(PROCESS_COUNT)
    ]

    said = [process.communicate(timeout=DEADLINE_SECONDS)[1].decode() for process in processes]

    assert not any(said)
    counted = "SELECT count(*) AS count FROM backstory."
    events = postgres_server.execute(f"{counted}events", url=postgres_url)
    migrations = postgres_server.execute(f"{counted}migrations", url=postgres_url)
    assert (events[0]["count"], migrations[0]["count"]) == (PROCESS_COUNT, NEWEST)


async def test_stores_that_open_at_once_migrate_once(postgres_url: str) -> None:
    counts: list[int] = []

    async def migrate() -> None:
        migration = await store_of(postgres_url).migrate()
        counts.append(migration.version - migration.before)

    async with anyio.create_task_group() as tasks:
        for _ in range(PROCESS_COUNT):
            tasks.start_soon(migrate)

    assert sorted(counts) == [0] * (PROCESS_COUNT - 1) + [NEWEST]


async def test_who_waits_for_another_to_migrate_has_patience(postgres_url: str) -> None:
    other = await asyncpg.connect(postgres_url)
    try:
        async with anyio.create_task_group() as tasks, other.transaction():
            await other.execute(_migrate.LOCK, "backstory")
            limits = {"statement_timeout_seconds": 0.05, "lock_timeout_seconds": 0.05}
            store = PostgresStore(postgres_url, connect_timeout_seconds=0.2, **limits)  # type: ignore[arg-type]  # each is a number
            tasks.start_soon(store.migrate)
            # The server waits, several times as long as any of the limits.
            await other.execute("SELECT pg_sleep(1)")
        assert await other.fetchval("SELECT max(number) FROM backstory.migrations") == NEWEST
    finally:
        await other.close()


# What is refused.


async def test_older_schema_is_refused_to_who_may_not_change_it(
    postgres_server: PostgresServer, postgres_url: str, is_old: pytest.MonkeyPatch
) -> None:
    async with store_of(postgres_url):
        pass
    is_old.undo()

    for store in (
        PostgresStore(postgres_url, migrate=False),
        PostgresStore(postgres_url, read_only=True),
    ):
        with pytest.raises(ConfigurationError, match="lacks schema version 2; run"):
            await store.open()

    sql = "SELECT max(number) AS number FROM backstory.migrations"
    assert postgres_server.execute(sql, url=postgres_url)[0]["number"] == 1
    async with store_of(postgres_url):
        pass
    assert postgres_server.execute(sql, url=postgres_url)[0]["number"] == NEWEST


async def test_nothing_is_created_for_who_only_reads(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    with pytest.raises(ConfigurationError, match="lacks schema version"):
        await PostgresStore(postgres_url, read_only=True).open()
    with pytest.raises(ConfigurationError, match="read-only"):
        await PostgresStore(postgres_url, read_only=True).migrate()

    assert not has_schema(postgres_server, postgres_url)


async def test_newer_schema_is_refused_and_left_as_it_is(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with store_of(postgres_url) as store:
        await store.append("note-1", noted("kept"), expected_version=ANY)
    sql = "INSERT INTO backstory.migrations VALUES ($1, 'from the future')"
    postgres_server.execute(sql, NEWEST + 1, url=postgres_url)
    before = described(postgres_server, postgres_url)

    for store in (store_of(postgres_url), store_of(postgres_url, read_only=True)):
        with pytest.raises(ConfigurationError, match=f"this program knows {NEWEST}"):
            await store.open()
        with pytest.raises(ConfigurationError, match="newer version of backstory"):
            await store.migrate(dry_run=True)

    assert described(postgres_server, postgres_url) == before


@pytest.mark.parametrize(
    "table",
    [
        "events (id integer)",
        "notes (number integer)",
        "migrations (id integer)",
        "migrations (number text, name text, applied_at text)",
        "migrations (number json, name text, applied_at text)",
    ],
)
async def test_schema_of_somebody_else_is_refused_and_left_as_it_is(
    postgres_server: PostgresServer, postgres_url: str, table: str
) -> None:
    postgres_server.execute("CREATE SCHEMA backstory", url=postgres_url)
    postgres_server.execute(f"CREATE TABLE backstory.{table}", url=postgres_url)
    name = table.partition(" ")[0]
    if "text, name" in table:
        filled = "INSERT INTO backstory.migrations VALUES ('first', 'x', 'x')"
        postgres_server.execute(filled, url=postgres_url)

    with pytest.raises(ConfigurationError, match=f"'{name}' that is not Backstory's"):
        await store_of(postgres_url).open()

    found = "SELECT relname FROM pg_class WHERE relnamespace = 'backstory'::regnamespace"
    assert [row["relname"] for row in postgres_server.execute(found, url=postgres_url)] == [name]


async def test_migration_that_fails_leaves_nothing(
    postgres_server: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Migration(NEWEST + 1, "wrong", "CREATE TABLE {schema}.more ();\n\nSELECT 1 / 0;")
    migrations = [*_migrate.MIGRATIONS, wrong]
    monkeypatch.setattr(_migrate, "MIGRATIONS", migrations)

    with pytest.raises(StoreError, match="division by zero"):
        await store_of(postgres_url).open()

    assert not has_schema(postgres_server, postgres_url)
    monkeypatch.undo()
    async with store_of(postgres_url) as store:
        assert await store.check_engine() == []


async def test_settings_of_the_database_disturb_no_migration(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    for setting in (
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "search_path = ''",
        "statement_timeout = 1",
        "standard_conforming_strings = on",
        "bytea_output = 'escape'",
        "datestyle = 'German'",
        "timezone = 'Asia/Kathmandu'",
    ):
        postgres_server.execute(f"ALTER DATABASE {name} SET {setting}")

    async with store_of(postgres_url) as store:
        await store.append("note-1", noted("kept"), expected_version=ANY)
        assert await store.head() == 1
        assert await store.check_engine() == []
