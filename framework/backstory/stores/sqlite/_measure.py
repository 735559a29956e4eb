"""The statistics of an SQLite store, and what SQLite says of its file."""

import sqlite3
from pathlib import Path

from backstory._clock import from_microseconds
from backstory._statistics import StoreStatistics
from backstory.stores.sqlite._statement import statement


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
    """Return what SQLite finds wrong in the file, and tags that do not agree with their events."""
    found = [row[0] for row in db.execute("PRAGMA integrity_check(100)")]
    if found != ["ok"]:
        return found
    return [
        f"tag {tag!r} of the event at position {position} and its index do not agree"
        for position, tag in db.execute(statement("check_tags"))
    ]
