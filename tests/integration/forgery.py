"""A store of forty events, and what a careful forger or chance can do to its file.

The forger works behind the store's back: the triggers are dropped and put back, indexes and tags
are kept consistent, and only the chain is not computed anew.
"""

import os
import shutil
import sqlite3
import uuid
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from tests.conftest import Counted, Noted, drain, new_event

from backstory import (
    ANY,
    Checkpoint,
    EventFilter,
    EventStore,
    Metadata,
    NewEvent,
    RecordedEvent,
    Snapshot,
    where,
)
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.sqlite._migrate import migrate
from backstory.testing import ManualClock

SEED: Final = int(os.environ.get("BACKSTORY_SEED", "20261121"))
"""What chance begins with."""
STREAM_COUNT: Final = 4
EVENT_COUNT: Final = 40
COLUMNS: Final = (
    "stream_id, version, event_id, type, schema_version, recorded_at, metadata, data, hash"
)
"""What an event has in each schema, besides its position."""


def event(number: int) -> NewEvent:
    """Return an event with metadata to find it by."""
    metadata = Metadata(
        actor=f"actor-{number % 2}",
        correlation_id=f"request-{number % 3}",
        causation_id=f"cause-{number % 5}",
        tags=("even",) if number % 2 == 0 else ("odd", "third"),
    )
    fact = Counted(by=number) if number % 4 else Noted(text=str(number))
    # The same ids each time, so that a flip that once failed fails again.
    return new_event(fact, event_id=uuid.UUID(int=number + 1), metadata=metadata)


async def fill(path: Path) -> None:
    """Make a store with forty events: event n is version n/4 of stream n%4."""
    clock = ManualClock()
    async with SQLiteStore(path, clock=clock) as store:
        for number in range(EVENT_COUNT):
            clock.advance(1)
            stream_id = f"note-{number % STREAM_COUNT}"
            await store.append(stream_id, [event(number)], expected_version=ANY)
        await store.save_snapshot(Snapshot("note-1", 3, "f", b'{"total":3}'))
        await store.save_checkpoint(Checkpoint("counts", 30, "f", b'{"total":3}'))


@contextmanager
def forging(path: Path) -> Generator[sqlite3.Connection]:
    """Open a store's file behind its back, without its triggers, and put them back afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        triggers = db.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        yield db
        for _, sql in triggers:
            db.execute(sql)


def move(db: sqlite3.Connection, position: int, *, to: int) -> None:
    db.execute("UPDATE events SET position = ? WHERE position = ?", (to, position))
    db.execute("UPDATE event_tags SET position = ? WHERE position = ?", (to, position))


def swap(db: sqlite3.Connection, one: int, other: int) -> None:
    move(db, one, to=1_000)
    move(db, other, to=one)
    move(db, 1_000, to=other)


def drop(db: sqlite3.Connection, position: int) -> None:
    db.execute("DELETE FROM event_tags WHERE position = ?", (position,))
    db.execute("DELETE FROM events WHERE position = ?", (position,))


def cut(db: sqlite3.Connection, position: int) -> None:
    """Take the end away, and let the log's head say so."""
    cut_without_head(db, position)
    db.execute(
        "UPDATE log SET (position, digest) = "
        "(SELECT position, digest FROM events ORDER BY position DESC LIMIT 1)"
    )


def copy(db: sqlite3.Connection, position: int, *, to: int, version: int) -> None:
    """Put a second time what one event says, as another version, and let the head reach there."""
    said = COLUMNS.partition("event_id, ")[2]
    db.execute(
        f"INSERT INTO events SELECT ?, stream_id, ?, ?, {said}, digest FROM events "  # noqa: S608 - columns' names
        "WHERE position = ?",
        (to, version, "00000000-0000-4000-8000-000000000001", position),
    )
    db.execute(
        "INSERT INTO event_tags SELECT tag, ? FROM event_tags WHERE position = ?", (to, position)
    )
    db.execute("UPDATE log SET position = max(position, ?)", (to,))


def double(db: sqlite3.Connection, position: int, *, to: int) -> None:
    """Put an event a second time, with all that belongs to it, into a table that allows it."""
    tables = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'events'"))
    loose = tables["events"].replace("TEXT    NOT NULL UNIQUE", "TEXT NOT NULL")
    loose = loose.replace("UNIQUE (stream_id, version)", "CHECK (version > 0)")
    assert "UNIQUE" not in loose
    db.execute("PRAGMA legacy_alter_table = ON")
    db.execute("ALTER TABLE events RENAME TO strict_events")
    db.execute(loose)
    copied = f"INSERT INTO events (position, {COLUMNS}, digest) SELECT position, {COLUMNS}, digest"
    db.execute(f"{copied} FROM strict_events")
    db.execute(
        f"INSERT INTO events SELECT ?, {COLUMNS}, digest FROM events WHERE position = ?",  # noqa: S608 - columns' names
        (to, position),
    )
    db.execute("DROP TABLE strict_events")
    for name, sql in tables.items():
        if name.startswith("events_"):
            db.execute(sql)
    db.execute("CREATE UNIQUE INDEX by_version ON events (stream_id, version, position)")
    db.execute("UPDATE log SET position = ?", (to,))


def change(db: sqlite3.Connection, *, position: int, column: str, value: object) -> None:
    db.execute(f"UPDATE events SET {column} = ? WHERE position = ?", (value, position))  # noqa: S608 - a column's name


def execute(db: sqlite3.Connection, *statements: str) -> None:
    """Do what the statements say."""
    for statement in statements:
        db.execute(statement)


def insert(db: sqlite3.Connection, position: int) -> None:
    """Put an event in, move up all that is behind it, and let the head reach there."""
    for number in range(EVENT_COUNT, position - 1, -1):
        move(db, number, to=number + 1)
    copy(db, 3, to=position, version=11)
    db.execute("UPDATE log SET position = ?", (EVENT_COUNT + 1,))


def cut_without_head(db: sqlite3.Connection, position: int) -> None:
    """Take the end away, and leave the log's head."""
    for number in range(position + 1, EVENT_COUNT + 1):
        drop(db, number)


def copy_behind_the_head(db: sqlite3.Connection) -> None:
    """Put an event behind the end that the log's head says."""
    copy(db, EVENT_COUNT, to=EVENT_COUNT + 1, version=11)
    db.execute("UPDATE log SET position = ?", (EVENT_COUNT,))


async def served(store: EventStore) -> dict[object, list[RecordedEvent]]:
    """Return everything that can be read of the events, by each way in."""
    filters: dict[object, EventFilter] = {
        "types": where(types=["test:noted"]),
        "category": where(categories=["note"]),
        **{f"actor {n}": where(actor=f"actor-{n}") for n in range(2)},
        **{f"request {n}": where(correlation_id=f"request-{n}") for n in range(3)},
        **{f"cause {n}": where(causation_id=f"cause-{n}") for n in range(5)},
        **{f"tag {tag}": where(tags=[tag]) for tag in ("even", "odd", "third")},
        **{f"of stream {n}": where(streams=[f"note-{n}"]) for n in range(STREAM_COUNT)},
    }
    found = {name: await drain(store.read_log(where=one)) for name, one in filters.items()}
    found["all"] = whole = await drain(store.read_log())
    for stream in [stream async for stream in store.read_streams()]:
        found[stream] = await drain(store.read_stream(stream.stream_id))
    by_id = [await store.read_event(event.event_id) for event in whole]
    found["by id"] = [event for event in by_id if event is not None]
    return found


async def rows_of(store: EventStore) -> list[tuple[RecordedEvent, bytes, bytes | None]]:
    return [
        (sealed.recorded, sealed.hash, sealed.digest)
        for sealed in await store.read_sealed_page(0, 10_000)
    ]


async def left_behind(path: Path) -> Path:
    """Return a copy as a kill leaves it: what was appended last lies in the WAL."""
    folder = path.parent / "left"
    folder.mkdir()
    async with SQLiteStore(path) as store:
        for number in range(EVENT_COUNT, 2 * EVENT_COUNT):
            stream_id = f"note-{number % STREAM_COUNT}"
            await store.append(stream_id, [event(number)], expected_version=ANY)
        for file in path.parent.glob("story.db*"):
            if file.suffix != ".db-shm":
                shutil.copy(file, folder / file.name)
    return folder / path.name


def flip(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def root_of(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)
        ).fetchone()
    return int(page)


def tear(path: Path, page: int) -> None:
    """Overwrite a page of the file."""
    with path.open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(b"\xff" * 4_096)


def leaves_of(path: Path, name: str) -> list[int]:
    """Return the pages that hold a table's rows, in their order."""
    content = path.read_bytes()
    page = content[(root_of(path, name) - 1) * 4_096 :][:4_096]
    cells = int.from_bytes(page[3:5])
    starts = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n]) for n in range(cells)]
    return [int.from_bytes(page[start : start + 4]) for start in starts]


def make_older(path: Path, older: Path, *, schema: int) -> None:
    """Copy a store into a file of an older schema, as the program of then would have written it."""
    with closing(sqlite3.connect(older, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db, str(older), until=schema)
        db.execute("ATTACH ? AS new", (str(path),))
        copied = f"INSERT INTO events (position, {COLUMNS}) SELECT position, {COLUMNS}"
        db.execute(f"{copied} FROM new.events")
        db.execute("INSERT INTO event_tags SELECT * FROM new.event_tags")
        db.execute("UPDATE log SET (position, digest) = (SELECT position, digest FROM new.log)")
