"""Notices that the log has grown, and wakes those who wait for it.

A store tells the watch at once what it has appended itself. What others append is seen by looking:
as often as the interval says, or when the store has heard of something, and only while somebody
waits. Hearing is a hint and nothing more: if it fails, the next look finds what it would have said.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from backstory._completion import end
from backstory._errors import StoreClosedError
from backstory._logging import POSITION, REASON, log


class Watch:
    """The head of the log as far as this process knows, and the bell that rings when it moves."""

    def __init__(
        self, *, store: str, look: Callable[[], Awaitable[int]], poll_interval_seconds: float
    ) -> None:
        """Make a watch; `open` starts it.

        Args:
            store: The store's name, for messages.
            look: Returns the head, or an older one where nothing has changed.
            poll_interval_seconds: How often to look.
        """
        self._store = store
        self._look = look
        self._interval = poll_interval_seconds
        self._head = 0
        self._grown = asyncio.Event()
        self._waited_for = asyncio.Event()
        self._heard = asyncio.Event()
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
        await end(self._task)

    def saw(self, position: int) -> None:
        """Take note of a head, and wake those who wait if it is new."""
        if position > self._head:
            self._head = position
            self._ring()

    def heard(self) -> None:
        """Look now, if somebody waits."""
        self._heard.set()

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
        while True:
            await self._waited_for.wait()
            self._heard.clear()
            before = self._head
            try:
                found = await self._look()
                if 0 < found < before:
                    # The log was exchanged for an older one, or this is a replica that is behind
                    # another: who waits must not be woken by what is not there.
                    log.warning("head.receded", **{POSITION: found})
                    self._head = found
                self.saw(found)
            except Exception as error:  # noqa: BLE001 - the watch goes on, whatever it was
                # A look that failed is made again; readers meet the error themselves.
                log.warning("watch.failed", **{REASON: str(error)})
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval):
                await self._heard.wait()
