"""The SQL of pages, composed.

A read has optional conditions, and an index is used only for conditions that stand in the
statement. So reads are composed here, from fixed pieces; values are always parameters.

A read is one branch or several. The conditions of a branch are such that an index yields its events
in the order of positions, so that a page costs the same at the beginning and at the end of a long
log. Where a filter names several types, categories or streams, each is a branch of its own, and
PostgreSQL merges them; so is each item of a filter. Longer lists are tested on what the rest
yields. An event that matches several items is taken once. No index is ever named: where one is
missing, the log itself is gone along, and the answer is the same.

Two indexes yield another order. That of streams has the order of versions, which is that of
positions as well, but PostgreSQL does not know. So a branch along a stream lies between the
versions that the stream had at the bounds of the read, and is no longer than the page; that much is
sorted. The index of tags has no order at all: either all events that have the tags are found, and
the first of them kept, or the log is gone along until the page is full. PostgreSQL chooses by how
many it expects; what that costs is said in `sql/schema/002_indexes.sql`.

A page is bounded in bytes too. The sizes are summed up before anything large is read, and the page
ends with the event that brings the sum to the bound.
"""

from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from backstory._clock import to_microseconds
from backstory._filter import EventFilter, FilterItem
from backstory._pages import LogRead, StreamRead

PAGE_BYTES_MAX: Final = 4_000_000
"""A page ends with the event that brings its data and metadata to so many bytes."""

READ_SETTINGS: Final = {
    # A plan is made for the values at hand: for others it may read the whole log.
    "plan_cache_mode": "force_custom_plan",
    # A page is short: what compiling it or starting other processes costs is not earned again.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # Where little is believed to match, reading the whole log and sorting what matches seems
    # cheaper than going along an index; and the belief is wrong where a table has no statistics
    # yet, or a type has become rare. With these two, what is in order already is never collected
    # and sorted.
    "enable_seqscan": "off",
    "random_page_cost": "0.5",
}
"""How a connection should be set on which pages are read: speed depends on it, no answer does."""

_MERGED_MAX: Final = 8
"""Merging more branches than this costs more than passing over the events that do not match."""


class Query(Struct, frozen=True):
    """A composed read and its parameters."""

    sql: str
    parameters: tuple[Any, ...]


_COLUMNS: Final = (
    "e.position, e.stream_id, e.version, e.event_id, e.type, e.schema_version, e.recorded_at, "
    "e.metadata, e.data, e.size"
)

# Of two whole numbers, since a fraction would be rounded; decimal ones would be exact as well, and
# take a third of the time of a page.
_MICROSECONDS: Final = (
    "(date_part('epoch', date_trunc('minute', {time}))::bigint * 1000000 "
    "+ date_part('microseconds', {time})::bigint)"
)

# As a RecordedEvent has them. JSON comes as the bytes that it would be on the wire anyhow.
_RECORDED: Final = (
    "e.position, e.stream_id, e.version, e.event_id::text, e.type, e.schema_version, "
    + _MICROSECONDS.format(time="e.recorded_at")
    + ", "
    "json_send(e.metadata), json_send(e.data)"
)

# A row of its own, in the same statement and so of the same moment as the page. No event has
# position 0, so it comes before all events, or behind them where the newest come first.
_HEAD: Final = (
    "SELECT 0::bigint, NULL::text, coalesce((SELECT max(position) FROM {schema}.events), 0), "
    "NULL::text, NULL::text, NULL::integer, NULL::bigint, NULL::bytea, NULL::bytea"
)

# Where the version lies between two, look at the middle; versions and positions of a stream rise
# together. A version that is missing in a damaged log counts as the one before it.
_VERSION_AT: Final = (
    "(WITH RECURSIVE halving (low, high) AS ("
    "SELECT 0::bigint, coalesce((SELECT e.version FROM {schema}.events e "
    "WHERE e.stream_id = {stream} ORDER BY e.version DESC LIMIT 1), 0) "
    "UNION ALL SELECT CASE WHEN it.is_low THEN it.middle ELSE low END, "
    "CASE WHEN it.is_low THEN high ELSE it.middle - 1 END "
    "FROM halving CROSS JOIN LATERAL (SELECT middle, coalesce((SELECT e.position <= {position} "
    "FROM {schema}.events e WHERE e.stream_id = {stream} AND e.version <= middle "
    "ORDER BY e.version DESC LIMIT 1), TRUE) AS is_low "
    "FROM (SELECT (low + high + 1) / 2 AS middle) half) it WHERE low < high"
    ") SELECT low FROM halving WHERE low = high)"
)

_TEXTS: Final = ("causation_id", "correlation_id", "actor")

# Exact, where an interval of so many seconds would be rounded: days and microseconds are whole.
_MOMENT: Final = (
    "((timestamp '1970-01-01' + ({microseconds}::bigint / 86400000000) * interval '1 day' "
    "+ ({microseconds}::bigint % 86400000000) * interval '1 microsecond') AT TIME ZONE 'UTC')"
)
_EARLIEST: Final = to_microseconds(datetime.min.replace(tzinfo=UTC))
_LATEST: Final = to_microseconds(datetime.max.replace(tzinfo=UTC))


class _Parameters:
    """The values of a statement, in the order of their numbers."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def add(self, value: object) -> str:
        """Keep a value; return what stands for it in the statement."""
        self.values.append(value)
        return f"${len(self.values)}"


class _Frame(Struct, frozen=True):
    """What all branches of a read have in common, as it stands in the statement."""

    schema: str
    after: str | None
    """The lower bound; None for the beginning. A bound that bounds nothing is left out: without
    statistics PostgreSQL would think that it leaves out nearly everything."""
    until: str | None
    """The upper bound; None for the end."""
    limit: str
    order: str

    def bounds(self, column: str) -> list[str]:
        """Return the conditions that a column lies between the bounds."""
        bounds = ((">", self.after), ("<=", self.until))
        return [f"e.{column} {sign} {bound}" for sign, bound in bounds if bound is not None]


def moment(microseconds: str) -> str:
    """Return the SQL of a time, exactly.

    Args:
        microseconds: SQL for a number of microseconds since 1970 in UTC.
    """
    return _MOMENT.format(microseconds=microseconds)


def microseconds(time: str) -> str:
    """Return the SQL of the microseconds since 1970 in UTC, exactly; the inverse of `moment`.

    Args:
        time: SQL for a timestamp with time zone.
    """
    return _MICROSECONDS.format(time=time)


def log_query(read: LogRead, schema: str) -> Query:
    """Return the read of a page of the log.

    One more row says where the log ends, as the version at position 0: the first one or, where the
    newest come first, the last.
    """
    parameters = _Parameters()
    bounds = (read.after_position, read.until_position)
    frame = _frame(schema, bounds, read.limit, parameters, backward=read.backward)
    branches = [
        branch for item in read.where.items for branch in _branches(item, frame, parameters)
    ]
    page = _bounded(_merged(branches, read, frame), "position", frame)
    sql = f"{_HEAD.format(schema=schema)} UNION ALL ({page}) ORDER BY 1 {frame.order}"
    return Query(sql, tuple(parameters.values))


def stream_query(read: StreamRead, schema: str) -> Query:
    """Return the read of a page of a stream."""
    parameters = _Parameters()
    bounds = (read.after_version, read.until_version)
    frame = _frame(schema, bounds, read.limit, parameters, backward=read.backward)
    stream = parameters.add(read.stream_id)
    conditions = [f"e.stream_id = {stream}", *frame.bounds("version")]
    if read.until_position is not None:
        position = parameters.add(read.until_position)
        conditions.append(f"e.version <= {_version_at(stream, position, schema)}")
    conditions += _any_of(read.where, parameters)
    page = _bounded(_select(conditions, "version", frame), "version", frame)
    return Query(f"{page} ORDER BY 3 {frame.order}", tuple(parameters.values))


def _frame(
    schema: str,
    bounds: tuple[int, int | None],
    limit: int,
    parameters: _Parameters,
    *,
    backward: bool,
) -> _Frame:
    after, until = bounds
    return _Frame(
        schema=schema,
        after=parameters.add(after) if after else None,
        until=None if until is None else parameters.add(until),
        limit=parameters.add(limit),
        order="DESC" if backward else "ASC",
    )


def _merged(branches: list[str], read: LogRead, frame: _Frame) -> str:
    """Return branches as one read, which holds each event once."""
    if len(branches) == 1:
        return branches[0]
    distinct = "DISTINCT ON (e.position) " if len(read.where.items) > 1 else ""
    return (
        f"SELECT {distinct}{_COLUMNS} FROM ({' UNION ALL '.join(branches)}) e "  # noqa: S608 - fixed pieces; values are parameters
        f"ORDER BY e.position {frame.order} LIMIT {frame.limit}"
    )


def _bounded(rows: str, along: str, frame: _Frame) -> str:
    """Return a read as a page: no larger than may be, and with the columns of an event."""
    # To sum up row by row takes longer than to read the page: it is done where it must be.
    return (
        f"WITH page AS MATERIALIZED ({rows}), "  # noqa: S608 - fixed pieces; values are parameters
        f"total AS MATERIALIZED (SELECT sum(size) >= {PAGE_BYTES_MAX} AS is_large FROM page) "
        f"SELECT {_RECORDED} FROM page e WHERE (SELECT NOT is_large FROM total) "
        f"UNION ALL SELECT {_RECORDED} FROM (SELECT {_COLUMNS}, sum(e.size) OVER "
        f"(ORDER BY e.{along} {frame.order} ROWS UNBOUNDED PRECEDING) AS size_so_far "
        f"FROM page e) e WHERE (SELECT is_large FROM total) "
        f"AND e.size_so_far - e.size < {PAGE_BYTES_MAX}"
    )


def _select(conditions: list[str], along: str, frame: _Frame) -> str:
    wanted = " AND ".join(conditions) or "TRUE"
    return (
        f"(SELECT {_COLUMNS} FROM {frame.schema}.events e WHERE {wanted} "  # noqa: S608 - fixed pieces; values are parameters
        f"ORDER BY e.{along} {frame.order} LIMIT {frame.limit})"
    )


def _branches(item: FilterItem, frame: _Frame, parameters: _Parameters) -> list[str]:
    """Return the branches of an item, along its streams, types or categories where few."""
    if 0 < len(item.streams) <= _MERGED_MAX:
        rest = _conditions(replace(item, streams=()), parameters)
        return [_along_stream(parameters.add(id), rest, frame) for id in item.streams]
    bounds = frame.bounds("position")
    if item.tags or any(getattr(item, column) is not None for column in _TEXTS):
        # These are the likely narrowest, and there is one of each.
        return [_select([*bounds, *_conditions(item, parameters)], "position", frame)]
    for column, field in (("type", "types"), ("category", "categories")):
        values: tuple[str, ...] = getattr(item, field)
        if 0 < len(values) <= _MERGED_MAX:
            rest = [*bounds, *_conditions(replace(item, **{field: ()}), parameters)]
            return [
                _select([f"e.{column} = {parameters.add(value)}", *rest], "position", frame)
                for value in values
            ]
    return [_select([*bounds, *_conditions(item, parameters)], "position", frame)]


def _along_stream(stream: str, rest: list[str], frame: _Frame) -> str:
    bounds = ((">", frame.after), ("<=", frame.until))
    versions = [
        f"e.version {sign} {_version_at(stream, position, frame.schema)}"
        for sign, position in bounds
        if position is not None
    ]
    rows = _select([f"e.stream_id = {stream}", *versions, *rest], "version", frame)
    return f"(SELECT {_COLUMNS} FROM {rows} e ORDER BY e.position {frame.order})"  # noqa: S608 - fixed pieces; values are parameters


def _version_at(stream: str, position: str, schema: str) -> str:
    """Return the SQL of the version that a stream had at a position."""
    return _VERSION_AT.format(stream=stream, position=position, schema=schema)


def _any_of(where: EventFilter, parameters: _Parameters) -> list[str]:
    """Return a filter as conditions that must all hold."""
    if len(where.items) == 1:
        return _conditions(where.items[0], parameters)
    items = (_conditions(item, parameters) for item in where.items)
    return [f"({' OR '.join(' AND '.join(item) or 'TRUE' for item in items)})"]


def _conditions(item: FilterItem, parameters: _Parameters) -> list[str]:
    """Return every condition of an item."""
    add = parameters.add
    lists = (("type", item.types), ("category", item.categories), ("stream_id", item.streams))
    texts = ((column, getattr(item, column)) for column in _TEXTS)
    bounds = ((">", item.recorded_after), ("<=", item.recorded_until))
    return [
        *(f"e.{name} = ANY({add(values)}::text[])" for name, values in lists if values),
        *(f"e.{column} = {add(text)}" for column, text in texts if text is not None),
        *([f"e.tags @> {add(item.tags)}::text[]"] if item.tags else []),
        *(f"e.recorded_at {sign} {_bound(b, parameters)}" for sign, b in bounds if b is not None),
    ]


def _bound(microseconds: int, parameters: _Parameters) -> str:
    # No event is recorded outside of these, and PostgreSQL knows no such time.
    within = min(max(microseconds, _EARLIEST - 1), _LATEST + 1)
    return moment(parameters.add(within))
