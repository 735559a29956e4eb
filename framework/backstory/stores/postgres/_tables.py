"""The tables of read models: how statements are run, and what is refused.

A statement must stay inside the transaction that it is run in, and must leave the store's own
tables alone. That it does is looked at here in its words, which finds mistakes. It is no wall
against somebody who means it: that is a role which may not (see the page on roles).
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache, lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import asyncpg

from backstory._completion import complete
from backstory._errors import TableStatementError
from backstory._progress import SQLValue, TableChange, TableRows
from backstory.stores.postgres._database import Db, is_passing

_BEGIN_QUERY: Final = (
    "BEGIN READ ONLY; SET LOCAL enable_seqscan = on; SET LOCAL random_page_cost TO DEFAULT; "
    "SET LOCAL max_parallel_workers_per_gather TO DEFAULT"
)
"""A query of a read model is planned as the database sees fit, and not as a page of the log."""
_MANY: Final = 4
"""So many runs of one statement are worth a savepoint."""
_OF_THE_SERVER: Final = (
    *(asyncpg.InsufficientResourcesError, asyncpg.OperatorInterventionError),
    asyncpg.LockNotAvailableError,
)
"""What a busy server says to any statement: it has run out of something, or of time."""
_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LEAVES: Final = re.compile(
    r"\s*(begin|start|commit|end|rollback|abort|savepoint|release|prepare|execute|deallocate|set|"
    r"reset|discard|listen|unlisten|notify|copy|vacuum|call|do|load|lock)\b",
    re.IGNORECASE,
)
_OWN: Final = "events|log|snapshots|checkpoints|notes|migrations"
_CHANGES: Final = (
    r"\b(?:insert\s+into|merge\s+into|update|delete\s+from|truncate(?:\s+table)?|"
    r"(?:drop|alter)\s+table|on)\s+(?:only\s+)?(?:if\s+exists\s+)?"
)


@cache
def _changes_own(schema: str) -> re.Pattern[str]:
    """Return what finds a change of one of the store's own tables; `schema` is quoted."""
    owner = rf"(?:{re.escape(schema)}|{re.escape(schema[1:-1])})"
    own = rf"(?:{owner}\s*\.\s*)?\"?(?P<table>{_OWN})\b\"?(?!\s*\.)"
    return re.compile(_CHANGES + own, re.IGNORECASE)


async def change_tables(db: Db, schema: str, changes: Sequence[TableChange]) -> None:
    """Run statements in the transaction that is open.

    Raises:
        TableStatementError: One was refused.
        Exception: The database failed.
    """
    for sql, run in groupby(changes, key=attrgetter("sql")):
        same = list(run)
        check_statement(schema, sql, same[0].position)
        if len(same) < _MANY or not await _change_at_once(db, sql, same):
            await _change_singly(db, same)


async def _change_at_once(db: Db, sql: str, changes: Sequence[TableChange]) -> bool:
    """Tell whether the same statement could be run for all of them, without a wait for each."""
    try:
        async with db.transaction():  # a savepoint: where one of them fails, all are run singly
            await db.executemany(sql, [change.parameters for change in changes])
    except Exception as error:
        if isinstance(_told(error, sql, 0), TableStatementError):
            return False
        raise
    return True


async def _change_singly(db: Db, changes: Sequence[TableChange]) -> None:
    for change in changes:
        try:
            await db.execute(change.sql, *change.parameters)
        except Exception as error:
            raise _told(error, change.sql, change.position) from error


async def query_tables(db: Db, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
    """Return the rows of a query, in a transaction of its own that can change nothing.

    Raises:
        TableStatementError: It was refused.
        Exception: The database failed.
    """
    if _LEAVES.match(_COMMENT.sub(" ", sql)):
        raise TableStatementError(sql=sql, position=0, reason="a query has no such statement")
    await db.execute(_BEGIN_QUERY)
    try:
        prepared = await db.prepare(sql)
        rows = await prepared.fetch(*parameters)
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise TableStatementError(sql=sql, position=0, reason=str(error)) from error
    except Exception as error:
        raise _told(error, sql, 0) from error
    finally:
        # A connection that was lost has left the pool by itself, and cannot even be asked.
        with suppress(asyncpg.InterfaceError):
            await complete(db.execute("ROLLBACK"))
    columns = tuple(attribute.name for attribute in prepared.get_attributes())
    return TableRows(columns, [tuple(map(_plain, row)) for row in rows])


def check_statement(schema: str, sql: str, position: int) -> None:
    """Refuse a statement that would end the transaction, or change the store's own tables.

    Raises:
        TableStatementError: It would.
    """
    if (reason := _refusal(schema, sql)) is not None:
        raise TableStatementError(sql=sql, position=position, reason=reason)


@lru_cache(maxsize=1_000)
def _refusal(schema: str, sql: str) -> str | None:
    """Return why a statement is refused; None where it is not."""
    words = _COMMENT.sub(" ", sql)
    if (found := _LEAVES.match(words)) is not None:
        return f"{found[1].upper()} is not for a handler: its statements share one transaction"
    if (own := _changes_own(schema).search(words)) is not None:
        return f"{own['table']} is one of the store's own tables"
    return None


def _told(error: Exception, sql: str, position: int) -> Exception:
    """Return what an error is: the statement's fault, or its values', or the store's."""
    is_ours = isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError))
    if is_passing(error) or not is_ours or isinstance(error, _OF_THE_SERVER):
        return error
    return TableStatementError(sql=sql, position=position, reason=str(error))


def _plain(value: Any) -> SQLValue:
    """Return a value as one that every store's rows may hold."""
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime() | date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            return str(value)
