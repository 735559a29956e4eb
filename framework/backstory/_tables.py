"""The tables of read models in SQLite: how statements are run, and what their errors mean.

For the SQLite store, for the store in memory, which has a database of its own in memory, and for a
look into the past, which builds its tables aside.

Statements are somebody else's, and run on the connection that writes the log. SQLite asks about
each one while it is compiled, before anything is done, whether that is allowed. What is not: to
change the store's own tables, or to hide them behind temporary ones of the same names; to end the
transaction that the checkpoint is in, or to begin another; and to change the connection, which
others use after it. A query may only read: a transaction that it left open on a connection would
show the past to whoever reads there next.

The question is asked only while such statements run. SQLite compiles again what a connection has
compiled before it was set, so a text that the store has used itself, such as COMMIT, is asked about
too. That has its price, some 60 µs for a page of changes. A query that begins as one does not pay
it: it can do nothing of all this, and what it runs on can only read.
"""

import re
import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from backstory._errors import TableStatementError
from backstory._progress import SQLValue, TableChange, TableRows

_REFUSALS = (
    *(sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.InterfaceError),
    *(sqlite3.DataError, sqlite3.NotSupportedError, OverflowError, UnicodeEncodeError),
)
"""What is the statement's fault, or its values', and never the store's."""
_REFUSAL_CODES: Final = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH}
)

OWN_TABLES: Final = frozenset({"events", "event_tags", "log", "snapshots", "checkpoints", "notes"})
"""The tables that a store keeps for itself, whose names are refused in every store."""

_LOOKING: Final = frozenset(
    {
        *(sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ),
        *(sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE),
    }
)
_TEMPORARY: Final = frozenset(
    {
        *(sqlite3.SQLITE_CREATE_TEMP_INDEX, sqlite3.SQLITE_DROP_TEMP_INDEX),
        *(sqlite3.SQLITE_CREATE_TEMP_TABLE, sqlite3.SQLITE_DROP_TEMP_TABLE),
        *(sqlite3.SQLITE_CREATE_TEMP_TRIGGER, sqlite3.SQLITE_DROP_TEMP_TRIGGER),
        *(sqlite3.SQLITE_CREATE_TEMP_VIEW, sqlite3.SQLITE_DROP_TEMP_VIEW),
    }
)
_OF_THE_CONNECTION: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_TRANSACTION: "the transaction is the store's",
    sqlite3.SQLITE_SAVEPOINT: "the transaction is the store's",
    sqlite3.SQLITE_PRAGMA: "the settings of the connection are the store's",
    sqlite3.SQLITE_ATTACH: "the connection is the store's",
    sqlite3.SQLITE_DETACH: "the connection is the store's",
    **dict.fromkeys(_TEMPORARY, "a temporary table or view can hide one of the store's"),
}
_NAMES_SECOND: Final = frozenset(
    {
        *(sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_DROP_INDEX),
        *(sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_DROP_TRIGGER),
        sqlite3.SQLITE_ALTER_TABLE,
    }
)
"""Actions whose first argument is their own name, or the database, and the second the table."""

_SELECT: Final = re.compile(r"\s*(SELECT|WITH|VALUES)\b", re.IGNORECASE)
"""How a query begins. Whatever begins so may also write, which what queries run on refuses."""

Judge: TypeAlias = Callable[[int, str | None, str | None], str | None]
"""Says why an action of a statement is refused; None where it is allowed."""


class Tables:
    """Tables in memory."""

    def __init__(self) -> None:
        # Of one event loop; which may run in this thread or in another.
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)

    def change(self, changes: Sequence[TableChange]) -> None:
        """Run statements, all or none.

        Raises:
            TableStatementError: One was refused.
        """
        if not changes:
            return
        self._db.execute("BEGIN")
        try:
            change_tables(self._db, changes)
        except BaseException:
            if self._db.in_transaction:  # INSERT OR ROLLBACK has done it by itself
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def query(self, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
        """Return the rows of a query, which can change nothing.

        Raises:
            TableStatementError: It was refused.
        """
        self._db.execute("PRAGMA query_only = ON")
        try:
            return query_tables(self._db, sql, parameters)
        finally:
            self._db.execute("PRAGMA query_only = OFF")

    async def answer(self, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
        """Answer a query, as a store does."""
        return self.query(sql, parameters)


def change_tables(db: sqlite3.Connection, changes: Sequence[TableChange]) -> None:
    """Run statements in the transaction that is open.

    Raises:
        TableStatementError: One was refused.
        sqlite3.Error: The database failed.
    """
    if not changes:
        return
    with _guarded(db, _change_refusal) as refusals:
        for change in changes:
            try:
                db.execute(change.sql, _named(change.parameters))
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                raise _told(error, change.sql, change.position, refusals) from error


def query_tables(db: sqlite3.Connection, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
    """Return the rows of a query.

    Raises:
        TableStatementError: It was refused.
        sqlite3.Error: The database failed.
    """
    if _SELECT.match(sql):
        return _rows(db, sql, parameters, ())
    with _guarded(db, _query_refusal) as refusals:
        return _rows(db, sql, parameters, refusals)


def _rows(
    db: sqlite3.Connection, sql: str, parameters: Sequence[SQLValue], refusals: Sequence[str]
) -> TableRows:
    try:
        cursor = db.execute(sql, _named(parameters))
        rows = cursor.fetchall()
    except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
        raise _told(error, sql, 0, refusals) from error
    return TableRows(tuple(column[0] for column in cursor.description or ()), rows)


@contextmanager
def _guarded(db: sqlite3.Connection, judge: Judge) -> Generator[list[str]]:
    """Judge what statements do while the block runs; give the list of what was refused, and why."""
    refusals: list[str] = []

    def ask(action: int, one: str | None, other: str | None, *_: str | None) -> int:
        if action in _LOOKING:
            return sqlite3.SQLITE_OK
        if (refusal := judge(action, one, other)) is None:
            return sqlite3.SQLITE_OK
        refusals.append(refusal)
        return sqlite3.SQLITE_DENY

    db.set_authorizer(ask)
    try:
        yield refusals
    finally:
        db.set_authorizer(None)


def _change_refusal(action: int, one: str | None, other: str | None) -> str | None:
    if (refusal := _OF_THE_CONNECTION.get(action)) is not None:
        return refusal
    table = other if action in _NAMES_SECOND else one
    if table is not None and table.lower() in OWN_TABLES:
        return f"{table!r} is a table of the store's own"
    return None


def _query_refusal(action: int, _one: str | None, _other: str | None) -> str | None:
    # Nothing about tables: what a query runs on can only read, and json_each is declared as one.
    return _OF_THE_CONNECTION.get(action)


def _named(parameters: Sequence[SQLValue]) -> Mapping[str, SQLValue]:
    # `$1` is a name to SQLite, and a place to PostgreSQL: so one statement serves both.
    return {str(place): value for place, value in enumerate(parameters, 1)}


def _told(error: Exception, sql: str, position: int, refusals: Sequence[str]) -> Exception:
    if isinstance(error, _REFUSALS) or getattr(error, "sqlite_errorcode", None) in _REFUSAL_CODES:
        reason = refusals[-1] if refusals else str(error)
        return TableStatementError(sql=sql, position=position, reason=reason)
    return error
