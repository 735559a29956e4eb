"""The statistics of an SQLite store, and what SQLite says of its file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from backstory._clock import from_microseconds
from backstory._statistics import StoreStatistics
from backstory.stores.sqlite._migrate import migrate
from backstory.stores.sqlite._statement import statement

_OF_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR})
"""What a check that cannot be made may say, by its code."""


def measure(db: sqlite3.Connection, path: Path) -> StoreStatistics:
    """Return what the store holds; goes once along two indexes."""
    db.execute("BEGIN")  # all of it as it is at one moment
    try:
        types = dict(db.execute(statement("count_by_type")).fetchall())
        categories = db.execute(statement("count_by_category")).fetchall()
        head, oldest, newest, snapshots, checkpoints = db.execute(statement("read_ends")).fetchone()
    finally:
        db.execute("ROLLBACK")
    return StoreStatistics(
        event_count=sum(types.values()),
        stream_count=sum(streams for _, _, streams in categories),
        head=head,
        oldest=None if oldest is None else from_microseconds(oldest),
        newest=None if newest is None else from_microseconds(newest),
        events_by_type=types,
        events_by_category={category: events for category, events, _ in categories},
        streams_by_category={category: streams for category, _, streams in categories},
        snapshot_count=snapshots,
        checkpoint_count=checkpoints,
        size_bytes=_size_bytes(path),
    )


def _size_bytes(path: Path) -> int:
    files = (path, Path(f"{path}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def check_file(db: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds wrong in the file, and what in it does not agree with the events."""
    checks = ("check_file", "check_tags", "check_saved_state")
    return [*_check_schema(db), *(found for name in checks for found in _said(db, name))]


def _said(db: sqlite3.Connection, name: str) -> list[str]:
    """Return what a check says, or why it cannot be made."""
    try:
        found: list[bytes | None] = [row[0] for row in db.execute(statement(name))]
    except sqlite3.Error as error:
        # JSON that is none comes as a plain error; SQLite computes columns from it.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _OF_DAMAGE:
            raise
        return [f"{name.replace('_', ' ')}: {error}"]
    # What is damaged may be quoted, and be no text, or nothing at all.
    return [(said or b"a row is damaged").decode(errors="backslashreplace") for said in found]


def _check_schema(db: sqlite3.Connection) -> list[str]:
    """Return what the schema lacks, such as a trigger that somebody has dropped."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as whole:
        migrate(whole, "a file in memory", until=version)
        missing = _objects(whole) - _objects(db)
    return [f"the {type} {name} is missing" for type, name in sorted(missing)]


def _objects(db: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(db.execute("SELECT type, name FROM sqlite_schema"))
