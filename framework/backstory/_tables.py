"""The tables of read models in SQLite: how statements are run, and what their errors mean.

For the SQLite store, for the store in memory, which has a database of its own in memory, and for a
look into the past, which builds its tables aside.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from backstory._errors import TableStatementError
from backstory._progress import SQLValue, TableChange, TableRows

_REFUSALS = (
    *(sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.InterfaceError),
    *(sqlite3.DataError, sqlite3.NotSupportedError, OverflowError, UnicodeEncodeError),
)
"""What is the statement's fault, or its values', and never the store's."""


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
    for change in changes:
        try:
            db.execute(change.sql, _named(change.parameters))
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            raise _told(error, change.sql, change.position) from error


def query_tables(db: sqlite3.Connection, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
    """Return the rows of a query.

    Raises:
        TableStatementError: It was refused.
        sqlite3.Error: The database failed.
    """
    try:
        cursor = db.execute(sql, _named(parameters))
        rows = cursor.fetchall()
    except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
        raise _told(error, sql, 0) from error
    return TableRows(tuple(column[0] for column in cursor.description or ()), rows)


def _named(parameters: Sequence[SQLValue]) -> Mapping[str, SQLValue]:
    # `$1` is a name to SQLite, and a place to PostgreSQL: so one statement serves both.
    return {str(place): value for place, value in enumerate(parameters, 1)}


def _told(error: Exception, sql: str, position: int) -> Exception:
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, _REFUSALS) or code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY):
        return TableStatementError(sql=sql, position=position, reason=str(error))
    return error
