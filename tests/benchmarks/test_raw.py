"""Raw does the work that it is held up as the limit of: no less, and with nothing of ours."""

import ast
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.benchmarks import raw as raw_module
from tests.benchmarks.meter import TEXT, Total, event_id, new_events
from tests.benchmarks.raw import RawStore

from backstory import ANY
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


def rows(path: Path, sql: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql)]


async def test_raw_writes_the_same_columns_under_the_same_schema(tmp_path: Path) -> None:
    raw = RawStore(tmp_path / "raw.db")
    raw.append(["meter-1", "meter-2", "meter-1"])
    raw.close()
    async with SQLiteStore(tmp_path / "ours.db") as store:
        await store.append("meter-1", new_events(1), expected_version=ANY)

    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    assert rows(tmp_path / "raw.db", schema) == rows(tmp_path / "ours.db", schema)
    events = "SELECT type, schema_version, metadata FROM events LIMIT 1"
    assert rows(tmp_path / "raw.db", events) == rows(tmp_path / "ours.db", events)
    written = rows(tmp_path / "raw.db", "SELECT * FROM events ORDER BY position")
    assert [(row["stream_id"], row["version"]) for row in written] == [
        ("meter-1", 1),
        ("meter-2", 1),
        ("meter-1", 2),
    ]
    for number, row in enumerate(written, 1):
        assert row["event_id"] == event_id(number)
        assert msgspec.json.decode(row["data"]) == {"text": TEXT, "number": number}


def test_raw_syncs_each_commit(tmp_path: Path) -> None:
    raw = RawStore(tmp_path / "raw.db")

    settings = [
        raw.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    ]

    raw.close()
    assert settings == ["wal", 2]


def test_raw_calls_the_handler_with_every_event_up_to_a_position(tmp_path: Path) -> None:
    raw = RawStore(tmp_path / "raw.db")
    raw.append(["meter-1"] * 10)
    total = Total()

    raw.project(9, total.measured)

    raw.close()
    assert total.total == sum(range(1, 10))


def test_raw_has_only_the_schema_from_us() -> None:
    module = ast.parse(Path(raw_module.__file__).read_text("utf-8"))

    imported = [
        node.module for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module
    ]

    ours = [name for name in imported if name.startswith(("backstory", "tests"))]
    assert ours == ["backstory.stores.sqlite._migrate"]
