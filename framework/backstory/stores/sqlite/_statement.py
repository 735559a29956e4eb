"""The SQL: one statement a file, named as the method that it serves; and the reads, composed.

A read has optional conditions, and SQLite uses an index only for conditions that stand in the
statement. So reads are composed here, from fixed pieces; values are always parameters.

One piece drives: it is chosen so that its index yields the events in the order of positions, and a
page costs the same at the beginning and at the end of a long log. Where a filter names several
types or categories, each is a read of its own and SQLite merges them. The other conditions are
tested on what the driving piece yields; a unary plus keeps SQLite from trying their indexes.
"""

from functools import cache
from importlib.resources import files
from typing import Any, Final

from msgspec import Struct

from backstory._filter import EventFilter
from backstory._limits import INTEGER_MAX
from backstory._store import StreamRead
from backstory._subscription import LogRead

_MERGED_MAX: Final = 8
"""Merging more reads than this costs more than passing over the events that do not match."""


@cache
def statement(name: str) -> str:
    """Return the statement of a file in `sql/`."""
    return files("backstory.stores.sqlite").joinpath("sql", f"{name}.sql").read_text("utf-8")


class Query(Struct, frozen=True):
    """A composed read and its parameters."""

    sql: str
    parameters: dict[str, Any]


_COLUMNS: Final = (
    "e.stream_id, e.version, e.event_id, e.type, e.schema_version, e.recorded_at, "
    "CAST(e.metadata AS BLOB), CAST(e.data AS BLOB)"
)


class _Driver(Struct, frozen=True):
    """What a read goes along."""

    source: str
    condition: str | None = None
    """What its index answers."""
    position: str = "e.position"
    """The column that it yields in order."""


def log_query(read: LogRead) -> Query:
    """Return the read of a page of the log."""
    parameters: dict[str, Any] = {
        "after": read.after_position,
        "until": INTEGER_MAX if read.until_position is None else read.until_position,
        "limit": read.limit,
    }
    rest = _residual(read.where, parameters)
    selects = [_select(driver, rest) for driver in _drivers(read.where, parameters)]
    order = "DESC" if read.backward else "ASC"
    # In a merged read, ORDER BY must name a column of the result: the position is the first.
    return Query(f"{' UNION ALL '.join(selects)} ORDER BY 1 {order} LIMIT :limit", parameters)


def _select(driver: _Driver, rest: list[str]) -> str:
    position = driver.position
    conditions = [f"{position} > :after", f"{position} <= :until", *rest]
    if driver.condition is not None:
        conditions.insert(0, driver.condition)
    # Fixed pieces; values are parameters.
    return f"SELECT {position}, {_COLUMNS} FROM {driver.source} WHERE {' AND '.join(conditions)}"  # noqa: S608 - as said


def stream_query(read: StreamRead) -> Query:
    """Return the read of a page of a stream."""
    parameters: dict[str, Any] = {
        "stream_id": read.stream_id,
        "after": read.after_version,
        "until": INTEGER_MAX if read.until_version is None else read.until_version,
        "limit": read.limit,
    }
    conditions = ["e.stream_id = :stream_id", "e.version > :after", "e.version <= :until"]
    if read.until_position is not None:
        parameters["until_position"] = read.until_position
        conditions.append("+e.position <= :until_position")
    conditions += _residual(read.where, parameters)
    order = "DESC" if read.backward else "ASC"
    sql = (
        f"SELECT e.position, {_COLUMNS} FROM events e WHERE {' AND '.join(conditions)} "  # noqa: S608 - fixed pieces; values are parameters
        f"ORDER BY e.version {order} LIMIT :limit"
    )
    return Query(sql, parameters)


def _drivers(where: EventFilter, parameters: dict[str, Any]) -> list[_Driver]:
    """Return what to read along; the likely narrowest.

    What drives is tested again among the residual conditions, which costs little and keeps the two
    apart.
    """
    if where.tags:
        parameters["tag"] = where.tags[0]
        # NOT INDEXED leaves each event to be found by its position.
        source = "event_tags t CROSS JOIN events e NOT INDEXED ON e.position = t.position"
        return [_Driver(source, "t.tag = :tag", "t.position")]
    if where.correlation_id is not None:
        source = "events e INDEXED BY events_correlation_id"
        return [_Driver(source, "e.correlation_id = :correlation_id")]
    if where.actor is not None:
        return [_Driver("events e INDEXED BY events_actor", "e.actor = :actor")]
    if 0 < len(where.types) <= _MERGED_MAX:
        return _each("type", where.types, parameters)
    if 0 < len(where.categories) <= _MERGED_MAX:
        return _each("category", where.categories, parameters)
    return [_Driver("events e")]


def _each(column: str, values: tuple[str, ...], parameters: dict[str, Any]) -> list[_Driver]:
    names = [f"{column}_{number}" for number in range(len(values))]
    parameters.update(zip(names, values, strict=True))
    source = f"events e INDEXED BY events_{column}"
    return [_Driver(source, f"e.{column} = :{name}") for name in names]


def _residual(where: EventFilter, parameters: dict[str, Any]) -> list[str]:
    """Return every condition of a filter, in a form that asks for no index."""
    conditions: list[str] = []
    for column, values in (("type", where.types), ("category", where.categories)):
        names = [f"{column}_{number}" for number in range(len(values))]
        parameters.update(zip(names, values, strict=True))
        if names:
            conditions.append(f"+e.{column} IN (:{', :'.join(names)})")
    for column, value in (("correlation_id", where.correlation_id), ("actor", where.actor)):
        if value is not None:
            parameters[column] = value
            conditions.append(f"+e.{column} = :{column}")
    if where.recorded_after is not None:
        parameters["recorded_after"] = where.recorded_after
        conditions.append("e.recorded_at > :recorded_after")
    if where.recorded_until is not None:
        parameters["recorded_until"] = where.recorded_until
        conditions.append("e.recorded_at <= :recorded_until")
    for number, tag in enumerate(where.tags):
        parameters[f"tag_{number}"] = tag
        conditions.append(f"(:tag_{number}, e.position) IN event_tags")
    return conditions
