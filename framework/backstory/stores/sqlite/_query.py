"""The SQL of pages, composed.

A read has optional conditions, and SQLite uses an index only for conditions that stand in the
statement. So reads are composed here, from fixed pieces; values are always parameters.

One piece drives: it is chosen so that its index yields the events in the order of positions, and a
page costs the same at the beginning and at the end of a long log. Where a filter names several
types or categories, each is a read of its own and SQLite merges them; so is each item of a filter.
The other conditions are tested on what the driving piece yields; a unary plus keeps SQLite from
trying their indexes. An event that matches several items comes once for each, one behind the other:
whoever reads the rows takes it once.

Only the index of streams yields another order, that of versions. It is bounded from below by the
version that the stream had at the position where the read begins, and then sorted: what it costs
grows with the events of the stream behind that position.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from backstory._filter import EventFilter, FilterItem
from backstory._limits import INTEGER_MAX
from backstory._pages import LogRead, StreamRead

_MERGED_MAX: Final = 8
"""Merging more reads than this costs more than passing over the events that do not match."""

_LISTED_MAX: Final = 32
"""Longer lists are one parameter, as JSON: SQLite takes 32,766 parameters at most where it is built
as usual, and finds each by its name along all others."""

_TEXTS: Final = ("causation_id", "correlation_id", "actor")
"""Columns of metadata that have an index, the likely narrowest first."""


class Query(Struct, frozen=True):
    """A composed read and its parameters."""

    sql: str
    parameters: dict[str, Any]
    is_merged: bool = False
    """Whether an event may come several times, one behind the other."""


_COLUMNS: Final = (
    "e.stream_id, e.version, e.event_id, e.type, e.schema_version, e.recorded_at, "
    "CAST(e.metadata AS BLOB), CAST(e.data AS BLOB)"
)

_VERSION_AT: Final = (
    "coalesce((SELECT s.version FROM events s WHERE s.stream_id = {stream} "
    "AND s.position <= :after ORDER BY s.version DESC LIMIT 1), 0)"
)


class _Parameters:
    """The values of a statement, each under a name of its own."""

    def __init__(self, **named: object) -> None:
        self.values: dict[str, Any] = named

    def add(self, value: object) -> str:
        """Keep a value; return what stands for it in the statement."""
        name = f"value_{len(self.values)}"
        self.values[name] = value
        return f":{name}"


class _Driver(Struct, frozen=True):
    """What a read goes along."""

    source: str
    condition: str | None = None
    """What its index answers."""
    position: str = "e.position"
    """The column that it yields in order."""


def log_query(read: LogRead) -> Query:
    """Return the read of a page of the log."""
    items = read.where.items
    parameters = _Parameters(
        after=read.after_position,
        until=INTEGER_MAX if read.until_position is None else read.until_position,
        limit=min(read.limit * len(items), INTEGER_MAX),
    )
    selects = [
        _select(driver, conditions)
        for item in items
        for conditions in [_conditions(item, parameters)]
        for driver in _drivers(item, read.after_position, parameters)
    ]
    order = "DESC" if read.backward else "ASC"
    # In a merged read, ORDER BY must name a column of the result: the position is the first.
    sql = f"{' UNION ALL '.join(selects)} ORDER BY 1 {order} LIMIT :limit"
    return Query(sql, parameters.values, is_merged=len(items) > 1)


def _select(driver: _Driver, rest: list[str]) -> str:
    position = driver.position
    conditions = [f"{position} > :after", f"{position} <= :until", *rest]
    if driver.condition is not None:
        conditions.insert(0, driver.condition)
    # Fixed pieces; values are parameters.
    return f"SELECT {position}, {_COLUMNS} FROM {driver.source} WHERE {' AND '.join(conditions)}"  # noqa: S608 - as said


def stream_query(read: StreamRead) -> Query:
    """Return the read of a page of a stream."""
    parameters = _Parameters(
        stream_id=read.stream_id,
        after=read.after_version,
        until=INTEGER_MAX if read.until_version is None else read.until_version,
        limit=read.limit,
    )
    conditions = ["e.stream_id = :stream_id", "e.version > :after", "e.version <= :until"]
    if read.until_position is not None:
        conditions.append(f"+e.position <= {parameters.add(read.until_position)}")
    conditions += _any_of(read.where, parameters)
    order = "DESC" if read.backward else "ASC"
    sql = (
        f"SELECT e.position, {_COLUMNS} FROM events e WHERE {' AND '.join(conditions)} "  # noqa: S608 - fixed pieces; values are parameters
        f"ORDER BY e.version {order} LIMIT :limit"
    )
    return Query(sql, parameters.values)


def _any_of(where: EventFilter, parameters: _Parameters) -> list[str]:
    """Return a filter as conditions that must all hold."""
    if len(where.items) == 1:
        return _conditions(where.items[0], parameters)
    items = (_conditions(item, parameters) for item in where.items)
    return [f"({' OR '.join(' AND '.join(item) or 'TRUE' for item in items)})"]


def _drivers(item: FilterItem, after: int, parameters: _Parameters) -> list[_Driver]:
    """Return what to read along; the likely narrowest.

    What drives is tested again among the conditions, which costs little and keeps the two apart.
    """
    if item.tags:
        # NOT INDEXED leaves each event to be found by its position.
        source = "event_tags t CROSS JOIN events e NOT INDEXED ON e.position = t.position"
        return [_Driver(source, f"t.tag = {parameters.add(item.tags[0])}", "t.position")]
    if 0 < len(item.streams) <= _MERGED_MAX:
        return _along_streams(item.streams, after, parameters)
    for column in _TEXTS:
        if (value := getattr(item, column)) is not None:
            return _along(column, (value,), parameters)
    if 0 < len(item.types) <= _MERGED_MAX:
        return _along("type", item.types, parameters)
    if 0 < len(item.categories) <= _MERGED_MAX:
        return _along("category", item.categories, parameters)
    return [_Driver("events e NOT INDEXED")]


def _along(column: str, values: tuple[str, ...], parameters: _Parameters) -> list[_Driver]:
    source = f"events e INDEXED BY events_{column}"
    return [_Driver(source, f"e.{column} = {parameters.add(value)}") for value in values]


def _along_streams(streams: tuple[str, ...], after: int, parameters: _Parameters) -> list[_Driver]:
    return [_along_stream(parameters.add(stream_id), after) for stream_id in streams]


def _along_stream(stream: str, after: int) -> _Driver:
    condition = f"e.stream_id = {stream}"
    if after:
        condition += f" AND e.version > {_VERSION_AT.format(stream=stream)}"
    return _Driver("events e", condition, "+e.position")


def _conditions(item: FilterItem, parameters: _Parameters) -> list[str]:
    """Return every condition of an item, in a form that asks for no index."""
    add = parameters.add
    lists = (("type", item.types), ("category", item.categories), ("stream_id", item.streams))
    bounds = ((">", item.recorded_after), ("<=", item.recorded_until))
    texts = ((column, getattr(item, column)) for column in _TEXTS)
    return [
        *(f"+e.{name} IN ({_listed(values, parameters)})" for name, values in lists if values),
        *(f"+e.{column} = {add(text)}" for column, text in texts if text is not None),
        *(f"e.recorded_at {sign} {add(bound)}" for sign, bound in bounds if bound is not None),
        *(f"({add(tag)}, e.position) IN event_tags" for tag in item.tags),
    ]


def _listed(values: tuple[str, ...], parameters: _Parameters) -> str:
    if len(values) <= _LISTED_MAX:
        return ", ".join(map(parameters.add, values))
    return f"SELECT value FROM json_each({parameters.add(msgspec.json.encode(values).decode())})"  # noqa: S608 - the name of a parameter
