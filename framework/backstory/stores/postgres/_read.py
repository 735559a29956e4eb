"""Reads of the log, each one statement and so one moment; nothing is held between two of them."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from backstory._commit import EMPTY_LOG, AppendCondition, LogHead, StreamHead
from backstory._errors import CorruptLogError
from backstory._pages import LogRead, Page, StreamRead
from backstory._recorded import RecordedEvent
from backstory._store import LogSeal, StreamInfo
from backstory.stores.postgres._database import Db
from backstory.stores.postgres._query import PAGE_BYTES_MAX, log_query, stream_query
from backstory.stores.postgres._statement import statement

_BEHIND_ALL: Final = "\U0010ffff"
"""Behind every stream id, in the order of bytes."""


async def read_page(db: Db, schema: str, read: LogRead) -> Page:
    """Return the next events of the log that match."""
    query = log_query(read, schema)
    rows = await db.fetch(query.sql, *query.parameters)
    # The page is complete at least up to the head, since positions become visible in their order.
    head: int = rows.pop(-1 if read.backward else 0)[2]
    events, is_last = _events(rows, read.limit)
    if read.backward or not is_last:
        return Page(events, events[-1].position if events else read.after_position, is_last)
    until = head if read.until_position is None else min(head, read.until_position)
    return Page(events, max(read.after_position, until), is_last)


async def read_stream_page(db: Db, schema: str, read: StreamRead) -> Page:
    """Return the next events of a stream that match."""
    query = stream_query(read, schema)
    events, is_last = _events(await db.fetch(query.sql, *query.parameters), read.limit)
    return Page(events, events[-1].version if events else read.after_version, is_last)


def _events(rows: Sequence[Any], limit: int) -> tuple[list[RecordedEvent], bool]:
    """Return the events of a page, and whether there are no more of them."""
    events = [RecordedEvent(*row) for row in rows]
    if len(events) >= limit:
        return events, False
    # A page that has become large was ended early.
    size = sum([len(event.metadata_json) + len(event.data_json) for event in events])
    return events, size < PAGE_BYTES_MAX


async def match(db: Db, schema: str, condition: AppendCondition) -> RecordedEvent | None:
    """Return the newest event that matches a condition, or None."""
    read = LogRead(condition.after_position, None, condition.where, backward=True, limit=1)
    page = await read_page(db, schema, read)
    return page.events[0] if page.events else None


async def find_event(db: Db, schema: str, event_id: str) -> RecordedEvent | None:
    """Return the event with an id, or None."""
    return (await find_events(db, schema, [event_id])).get(event_id)


async def find_events(db: Db, schema: str, event_ids: Collection[str]) -> dict[str, RecordedEvent]:
    """Return the events that are recorded under these ids, by id."""
    rows = await db.fetch(statement("find_events", schema), event_ids)
    return {row[3]: RecordedEvent(*row) for row in rows}


async def read_stream_heads(
    db: Db, schema: str, stream_ids: Collection[str]
) -> dict[str, StreamHead]:
    """Return where streams end, by stream id; one that does not exist is left out."""
    rows = await db.fetch(statement("read_stream_heads", schema), stream_ids)
    return {row[0]: StreamHead(row[1], row[2]) for row in rows}


async def read_log_head(db: Db, schema: str) -> LogHead:
    """Return where the log ends."""
    row = await db.fetchrow(statement("read_log_head", schema))
    return EMPTY_LOG if row is None else LogHead(*row)


async def read_seal(db: Db, schema: str) -> LogSeal:
    """Return which log it is, where it ends, and what is kept of that.

    Raises:
        CorruptLogError: The table that says which log it is has lost its row.
    """
    row = await db.fetchrow(statement("read_log", schema))
    if row is None:
        reason = "the table log is empty, so that nobody can say which log it is"
        raise CorruptLogError(where=f"the schema {schema}", position=0, reason=reason)
    incarnation, kept_position, kept_digest, position, digest = row
    head = EMPTY_LOG if position is None else LogHead(position, digest)
    return LogSeal(
        incarnation, head, kept=LogSeal(incarnation, LogHead(kept_position, kept_digest))
    )


async def list_streams(
    db: Db, schema: str, category: str | None, after_stream_id: str, limit: int
) -> list[StreamInfo]:
    """Return the next streams behind an id, in the order of their bytes."""
    # Every stream of a category begins with it and a dash; the next character after the dash is
    # the dot.
    after = max(after_stream_id, f"{category}-" if category else "")
    until = f"{category}." if category else _BEHIND_ALL
    rows = await db.fetch(statement("list_streams", schema), after, until, limit)
    return [StreamInfo(*row) for row in rows]
