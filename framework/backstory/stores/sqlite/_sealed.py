"""Events with what seals them, read so that damage is named and does not hide what is whole.

An ordinary read trusts the file. This one is for `verify` and `salvage`: a row that holds what was
never written is refused by its position, and an event is read from its table alone where the index
that leads to the event before it is damaged.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from backstory._commit import NO_HASH
from backstory._recorded import RecordedEvent
from backstory._store import SealedEvent
from backstory.stores.sqlite._connection import DamagedRowError
from backstory.stores.sqlite._migrate import schema_version
from backstory.stores.sqlite._statement import statement

Row = tuple[Any, ...]

_PAGE_BYTES_MAX: Final = 4_000_000
_DIGEST_SCHEMA: Final = 3
"""The schema migration that brought the digest of each row."""
_COLUMNS: Final = (
    ("position", int),
    ("stream_id", bytes),
    ("version", int),
    ("event_id", bytes),
    ("type", bytes),
    ("schema_version", int),
    ("recorded_at", int),
    ("metadata", bytes),
    ("data", bytes),
    ("hash", bytes),
)
_TYPES: Final[tuple[type, ...]] = tuple(expected for _, expected in _COLUMNS)
_EVENT: Final = len(_COLUMNS) - 1
"""The columns of the event itself; behind them lies what seals it."""


def read_sealed(
    db: sqlite3.Connection, after_position: int, limit: int, *, store: str
) -> list[SealedEvent]:
    """Return events and what seals them; fewer than asked for when they have become large.

    Raises:
        DamagedRowError: One of them is damaged.
        sqlite3.Error: So is the table.
    """
    whole, alone = _statements(db, store)
    bounds = (after_position, limit)
    try:
        with closing(db.execute(whole, bounds)) as rows:
            return _page(rows)
    except sqlite3.DatabaseError:
        with closing(db.execute(alone, bounds)) as rows:
            return _page((*row, *_before(db, row)) for row in rows)


def _statements(db: sqlite3.Connection, store: str) -> tuple[str, str]:
    """Return the read, and the same from the table alone."""
    sql = statement("read_sealed"), statement("read_sealed_alone")
    if schema_version(db, store) >= _DIGEST_SCHEMA:
        return sql
    # A file that is only read is not brought to the newest schema.
    return sql[0].replace("e.digest", "NULL"), sql[1].replace("e.digest", "NULL")


def _before(db: sqlite3.Connection, row: Row) -> Row:
    """Return hash and position of the event before, or nothing where the index is damaged."""
    try:
        stream_id, version = row[1].decode(), row[2] - 1
        found: Row | None = db.execute(statement("read_hash"), (stream_id, version)).fetchone()
    except (sqlite3.DatabaseError, AttributeError, TypeError, ValueError):
        found = None  # a row that holds anything is refused where it is looked at as a whole
    return found or (None, None)


def _page(rows: Iterator[Row]) -> list[SealedEvent]:
    events: list[SealedEvent] = []
    size = 0
    for row in rows:
        events.append(_sealed(row))
        size += len(row[7]) + len(row[8])
        if size > _PAGE_BYTES_MAX:
            break
    return events


def _sealed(row: Row) -> SealedEvent:
    position, stream_id, version, event_id, event_type, *others = row[:_EVENT]
    stored, digest, hash_before, position_before = row[_EVENT:]
    if tuple(map(type, row[: _EVENT + 1])) != _TYPES:
        raise DamagedRowError(position, _wrong_types(row))
    if not _is_hash(stored) or not (digest is None or _is_hash(digest)):
        raise DamagedRowError(position, "its hash or its digest has lost its form")
    try:
        texts = stream_id.decode(), event_id.decode(), event_type.decode()
    except UnicodeDecodeError as error:
        raise DamagedRowError(position, f"a text in it is no text any more: {error}") from None
    recorded = RecordedEvent(position, texts[0], version, *texts[1:], *others)
    if not _is_hash(hash_before):
        hash_before = None
    return SealedEvent(recorded, stored, digest, hash_before, position_before)


def _wrong_types(row: Row) -> str:
    pairs = zip(_COLUMNS, row, strict=False)
    wrong = [name for (name, expected), value in pairs if type(value) is not expected]
    return f"{' and '.join(wrong)} is of another type than was written"


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == len(NO_HASH)
