"""One SQLite connection on a thread of its own, and what its errors mean.

Everything that is asked of a connection is a function that runs on its thread as a whole: one hop
there and one back, whether it does one statement or a transaction of a thousand. aiosqlite's public
calls hop once for every statement; this is the one place that looks behind them.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Self, TypeVar, cast

import aiosqlite

from backstory._completion import complete
from backstory._errors import ConfigurationError, CorruptLogError, StoreUnavailableError

T = TypeVar("T")


class DamagedRowError(Exception):
    """A row holds what was never written; becomes a CorruptLogError that names its position."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason


class Connection:
    """A connection on a thread of its own."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        internals: Any = connection
        self._raw: sqlite3.Connection = internals._conn  # noqa: SLF001 - for functions that run whole
        self._thread: Thread = internals._thread  # noqa: SLF001 - to see its end
        self._hop: Callable[..., Awaitable[Any]] = internals._execute  # noqa: SLF001 - likewise

    @classmethod
    async def open(cls, path: Path, *, mode: str, busy_timeout_seconds: float) -> Self:
        """Open a file that exists.

        Args:
            path: The file, as its whole path.
            mode: `rw`, or `ro` for a connection that can neither write nor checkpoint.
            busy_timeout_seconds: How long a statement waits for another process.
        """
        opening = asyncio.create_task(_open(path, mode, busy_timeout_seconds))
        try:
            return cls(await complete(opening))
        except asyncio.CancelledError:
            # It was opened all the same, and nobody else would close it.
            if not opening.cancelled() and opening.exception() is None:
                await complete(opening.result().close())
            raise

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on the connection's thread and return what it returns.

        Cancelled, the function still runs to its end, before anything that is asked later.
        """
        return cast("T", await self._hop(function, self._raw))

    async def aclose(self) -> None:
        """Close the connection and end its thread."""
        await self._connection.close()
        # It has nothing left to do but to end; so that nobody finds it alive who looks right after.
        self._thread.join()


async def _open(path: Path, mode: str, busy_timeout_seconds: float) -> aiosqlite.Connection:
    connection = aiosqlite.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=busy_timeout_seconds,
    )
    try:
        return await connection
    except BaseException:
        # Its thread is about to end, and reports so to the loop, which may end before it.
        internals: Any = connection
        internals._thread.join()  # noqa: SLF001 - to see its end
        raise


@contextmanager
def translated(store: str, attempted: str, *, outcome_unknown: bool = False) -> Generator[None]:
    """Turn the driver's errors into the store's.

    Raises:
        CorruptLogError: The file, or a row of it, is damaged.
        ConfigurationError: It is no SQLite file at all.
        StoreUnavailableError: Anything else that SQLite says.
    """
    try:
        yield
    except DamagedRowError as error:
        raise CorruptLogError(where=store, position=error.position, reason=error.reason) from error
    except UnicodeDecodeError as error:
        # SQLite says what is wrong, and quotes a schema that is no text any more.
        raise CorruptLogError(where=store, position=0, reason=str(error)) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            raise ConfigurationError(
                f"{store} is no SQLite file, and so no Backstory store; name another file"
            ) from error
        # The driver has no code for a text that is none; SQLite itself always has one.
        if code == sqlite3.SQLITE_CORRUPT or "Could not decode to UTF-8" in str(error):
            raise CorruptLogError(where=store, position=0, reason=str(error)) from error
        raise StoreUnavailableError(
            store=store,
            attempted=attempted,
            reason=str(error),
            outcome_unknown=outcome_unknown,
        ) from error
