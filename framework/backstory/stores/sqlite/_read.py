"""Reads of the file, each one statement; they run in the thread of a connection."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final

from backstory._commit import LogHead
from backstory._pages import LogRead, Page, StreamRead
from backstory._recorded import RecordedEvent
from backstory._store import LogSeal
from backstory.stores.sqlite._connection import DamagedRowError
from backstory.stores.sqlite._migrate import schema_version
from backstory.stores.sqlite._query import Query, log_query, stream_query
from backstory.stores.sqlite._statement import statement

Values = Sequence[object] | Mapping[str, object]

_PAGE_BYTES_MAX: Final = 4_000_000
_NOTES_SINCE: Final = 4
"""The schema version that brought notes."""
_ROW_COUNT: Final = 32
"""Rows between two looks at a page's size."""


def read_rows(name: str, values: Values, db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return db.execute(statement(name), values).fetchall()


def list_notes(values: Values, db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    try:
        return read_rows("list_notes", values, db)
    except sqlite3.OperationalError:
        if schema_version(db, "") >= _NOTES_SINCE:
            raise
        return []  # an older file, opened to be read only


def data_version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def read_log(db: sqlite3.Connection) -> LogSeal:
    row = db.execute(statement("read_log")).fetchone()
    if row is None or tuple(map(type, row)) != (str, int, bytes):
        raise DamagedRowError(0, "where the log ends cannot be read")
    incarnation, position, digest = row
    return LogSeal(incarnation, LogHead(position, digest))


def find_event(db: sqlite3.Connection, event_id: str) -> RecordedEvent | None:
    row = db.execute(statement("find_events"), (f'["{event_id}"]',)).fetchone()
    return None if row is None else RecordedEvent(*row)


def read_page(db: sqlite3.Connection, read: LogRead) -> Page:
    # The head is read first: what the page holds is then complete at least up to there, since
    # positions become visible in their order.
    head = read_log(db).head.position
    events, is_last = _read_events(db, log_query(read), read.limit)
    if read.backward or not is_last:
        return Page(events, events[-1].position if events else read.after_position, is_last)
    until = head if read.until_position is None else min(head, read.until_position)
    return Page(
        events, max(read.after_position, until, *(e.position for e in events[-1:])), is_last
    )


def read_stream_page(db: sqlite3.Connection, read: StreamRead) -> Page:
    events, is_last = _read_events(db, stream_query(read), read.limit)
    return Page(events, events[-1].version if events else read.after_version, is_last)


def _read_events(
    db: sqlite3.Connection, query: Query, limit: int
) -> tuple[list[RecordedEvent], bool]:
    """Return the events of a page, and whether there are no more of them.

    A page ends early when it has become large, so that memory is bounded in bytes too.
    """
    events: list[RecordedEvent] = []
    size = 0
    with closing(db.execute(query.sql, query.parameters)) as cursor:
        rows = islice(_distinct(cursor) if query.is_merged else cursor, limit)
        while some := list(islice(rows, _ROW_COUNT)):
            events += [RecordedEvent(*row) for row in some]
            try:
                size += sum([len(row[7]) + len(row[8]) for row in some])
            except TypeError:  # caught and not asked before, since it would cost every event
                position = next(row[0] for row in some if None in row[7:])
                reason = "it has no data or no metadata"
                raise DamagedRowError(position, reason) from None
            if size > _PAGE_BYTES_MAX:
                return events, False
    return events, len(events) < limit


def _distinct(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield each event once: one that matches several items of a filter comes for each of them."""
    for _, same in groupby(rows, key=itemgetter(0)):
        yield next(same)
