"""Raw on PostgreSQL does the work that it is the limit of; without a server, all is left out."""

import ast
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from tests.benchmarks.bench import QUICK, Bench
from tests.benchmarks.meter import TEXT, Total, event_id, new_events
from tests.benchmarks.postgres import groups as postgres_groups
from tests.benchmarks.postgres import raw as raw_module
from tests.benchmarks.postgres.database import stores
from tests.benchmarks.postgres.reads import build_rows

from backstory import ANY

pytestmark = pytest.mark.anyio


async def rows(url: str, sql: str) -> list[dict[str, Any]]:
    db = await asyncpg.connect(url)
    found = [dict(row) for row in await db.fetch(sql)]
    await db.close()
    return found


async def test_raw_writes_the_same_columns_into_the_same_tables(postgres_url: str) -> None:
    async with stores(postgres_url) as (store, raw):
        await raw.append_one("meter-1")
        await raw.append(["meter-2", "meter-1"])
        await store.append("meter-1", new_events(1), expected_version=ANY)

    written = await rows(postgres_url, "SELECT * FROM raw.events ORDER BY position")
    (ours,) = await rows(postgres_url, "SELECT * FROM backstory.events")
    assert [(row["position"], row["stream_id"], row["version"]) for row in written] == [
        (1, "meter-1", 1),
        (2, "meter-2", 1),
        (3, "meter-1", 2),
    ]
    for number, row in enumerate(written, 1):
        assert str(row["event_id"]) == event_id(number)
        assert msgspec.json.decode(row["data"]) == {"text": TEXT, "number": number}
    same = ("type", "schema_version", "metadata", "category", "tags", "correlation_id")
    assert [written[0][name] for name in same] == [ours[name] for name in same]


async def test_raw_has_the_indexes_and_constraints_of_ours(postgres_url: str) -> None:
    async with stores(postgres_url):
        pass

    def of_events(schema: str) -> str:
        return (
            (
                "SELECT replace(pg_get_indexdef(indexrelid), $1, '') AS sql FROM pg_index "
                "WHERE indrelid = $2::regclass UNION ALL "
                "SELECT replace(pg_get_constraintdef(oid), $1, '') FROM pg_constraint "
                "WHERE conrelid = $2::regclass ORDER BY sql"
            )
            .replace("$1", f"'{schema}.'")
            .replace("$2", f"'{schema}.events'")
        )

    ours = await rows(postgres_url, of_events("backstory"))
    assert len(ours) > len(("position", "version", "id"))
    assert await rows(postgres_url, of_events("raw")) == ours


async def test_raw_reads_every_event_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_module, "_PAGE_EVENT_COUNT", 4)
    total = Total()

    async with stores(postgres_url) as (_, raw):
        await raw.append(["meter-1"] * 10)
        await raw.project(total.measured)
        await raw.project_into("raw_rows")

    assert total.total == sum(range(1, 11))
    assert await rows(postgres_url, "SELECT sum(number)::bigint AS sum FROM raw_rows") == [
        {"sum": sum(range(1, 11))}
    ]


async def test_each_round_builds_a_table_of_its_own(postgres_url: str) -> None:
    async with stores(postgres_url) as (store, _):
        await store.append("meter-3", new_events(10), expected_version=ANY)

        for _ in range(2):
            await build_rows(store, 10)

    found = await rows(
        postgres_url,
        "SELECT relname FROM pg_class WHERE relname ~ 'measured__1$' AND relkind = 'r'",
    )
    assert len(found) == 2


def test_raw_has_nothing_from_us() -> None:
    module = ast.parse(Path(raw_module.__file__).read_text("utf-8"))

    imported = [
        node.module for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module
    ]

    assert not [name for name in imported if name.startswith(("backstory", "tests"))]


async def test_what_has_no_server_is_left_out_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_groups, "why_left_out", lambda: "there is none")
    bench = Bench(tmp_path, scale=QUICK, pair_count=1)

    results = [await group.measure(bench) for group in postgres_groups.GROUPS]

    assert results == [[], [], []]
    assert bench.notes == ["what is measured on PostgreSQL is left out: there is none"]
