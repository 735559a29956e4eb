"""Notices that the log has grown, and wakes those who wait for it.

Appends of this process are told by the writer at once. Those of other processes are seen by looking
at `PRAGMA data_version`, which changes when another connection commits, as often as the poll
interval says, and only while somebody waits.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

from backstory._errors import StoreClosedError
from backstory._logging import REASON, log
from backstory.stores.sqlite._statement import statement


class Watch:
    """The head of the log as far as this process knows, and the bell that rings when it moves."""

    def __init__(
        self,
        *,
        store: str,
        look: Callable[[Callable[[sqlite3.Connection], int]], Awaitable[int]],
        poll_interval_seconds: float,
    ) -> None:
        """Make a watch; `open` starts it.

        Args:
            store: The store's name, for messages.
            look: Runs a function on a connection that nobody else uses.
            poll_interval_seconds: How often to look for appends of other processes.
        """
        self._store = store
        self._look = look
        self._interval = poll_interval_seconds
        self._head = 0
        self._grown = asyncio.Event()
        self._waited_for = asyncio.Event()
        self._waiting_count = 0
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start to look."""
        self._task = asyncio.create_task(self._work(), name=f"watch of {self._store}")

    async def aclose(self) -> None:
        """Stop, and tell those who wait."""
        self._is_closed = True
        self._ring()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def saw(self, position: int) -> None:
        """Take note of a head, and wake those who wait if it is new."""
        if position > self._head:
            self._head = position
            self._ring()

    async def wait_beyond(self, position: int) -> None:
        """Return when the log has events beyond a position.

        Raises:
            StoreClosedError: The store was closed.
        """
        self._waiting_count += 1
        self._waited_for.set()
        try:
            while self._head <= position and not self._is_closed:
                await self._grown.wait()
        finally:
            self._waiting_count -= 1
            if not self._waiting_count:
                self._waited_for.clear()
        if self._is_closed:
            raise StoreClosedError(store=self._store)

    def _ring(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def _work(self) -> None:
        last_seen = -1
        while True:
            await self._waited_for.wait()
            try:
                data_version = await self._look(_data_version)
                if data_version != last_seen:
                    self.saw(await self._look(_head))
                    last_seen = data_version
            except Exception as error:  # noqa: BLE001 - the watch goes on, whatever it was
                # A look that failed is made again; readers meet the error themselves.
                log.warning("watch.failed", **{REASON: str(error)})
            await asyncio.sleep(self._interval)


def _data_version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def _head(db: sqlite3.Connection) -> int:
    return int(db.execute(statement("read_log_head")).fetchone()[0])
