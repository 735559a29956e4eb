"""Which rows of a table are meant, and the pages in which they are read.

Whatever has an id has a `first_position` too: that of the event which first named it. It never
changes, so rows are read in its order, and a page begins behind the last row of the one before:
what is appended meanwhile moves no page, and the last page costs what the first does.
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from backstory import InvalidInputError, SQLValue, TableProjection

_PAGE_ROW_COUNT_MAX: Final = 10_000


class Selection(Struct, frozen=True):
    """Rows of a table: the conditions that they meet, and the values in these."""

    table: str
    """The name of the table in its projection; it has `first_position`."""
    id_column: str = "id"
    """Where the ids are."""
    conditions: tuple[str, ...] = ()
    """In SQL; all of them hold."""
    parameters: tuple[SQLValue, ...] = ()
    """The values, in order."""

    def where(self, condition: str, *value: SQLValue) -> "Selection":
        """Return those of the rows that meet one more condition, in which `?` is the value."""
        place = f"${len(self.parameters) + 1}"
        return replace(
            self,
            conditions=(*self.conditions, condition.replace("?", place)),
            parameters=(*self.parameters, *value),
        )

    def in_swarm(self, swarm: str | None) -> "Selection":
        """Return those of the rows that belong to a swarm; None for all."""
        return self if swarm is None else self.where("swarm = ?", swarm)

    def select(self, columns: str, rest: str = "") -> str:
        """Return the query that reads columns of the rows, with the parameters as they are."""
        where = f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""
        return f"SELECT {columns} FROM {{{self.table}}} {where} {rest}"  # noqa: S608 - words of ours


class PageQuery(Struct, frozen=True):
    """A query for one page of whole rows."""

    sql: str
    """A query, to be put in brackets behind FROM."""
    parameters: tuple[SQLValue, ...]
    """Its values."""


async def page_query(
    model: TableProjection, rows: Selection, *, limit: int, after: str | None
) -> PageQuery:
    """Return the query for the next page of rows, in the order in which they first appeared.

    Args:
        model: The projection whose rows they are.
        rows: All pages together.
        limit: At most so many rows, from 1 to 10,000.
        after: The id of the last row of the page before; None for the first page.

    Raises:
        InvalidInputError: The limit is outside its limits, or no row has the id.
        StoreUnavailableError: The store did not answer.
    """
    check_limit(limit)
    if after is not None:
        rows = rows.where("first_position > ?", await _first_position(model, rows, after))
    place = len(rows.parameters) + 1
    sql = rows.select("*", f"ORDER BY first_position LIMIT ${place}")
    return PageQuery(sql, (*rows.parameters, limit))


def check_limit(limit: int) -> None:
    """Refuse a page that is larger than pages are, or empty.

    Raises:
        InvalidInputError: It is.
    """
    # To SQLite a negative limit is none.
    if not 1 <= limit <= _PAGE_ROW_COUNT_MAX:
        reason = f"must be a whole number from 1 to {_PAGE_ROW_COUNT_MAX:,}"
        raise InvalidInputError(argument="limit", found=repr(limit), reason=reason)


async def _first_position(model: TableProjection, rows: Selection, id: str) -> int:
    row = Selection(rows.table).where(f"{rows.id_column} = ?", id)
    found = await model.read_rows(row.select("first_position", "LIMIT 1"), *row.parameters)
    if not found:
        reason = "no row has this id; pass the id of the last row of the page before"
        raise InvalidInputError(argument="after", found=repr(id), reason=reason)
    return int(found[0][0])
