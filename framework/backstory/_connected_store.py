"""The life of a store that keeps connections or files: opened whole, closed to its end.

Whoever is cancelled meanwhile, nothing is left half open; and a store is its process's alone.
"""

import asyncio
import os
from abc import abstractmethod
from contextlib import AsyncExitStack

from backstory._completion import complete
from backstory._errors import ConfigurationError, StoreClosedError
from backstory._store import EventStore


class ConnectedStore(EventStore):
    """A store that is connected to what keeps its events, for as long as it is open."""

    def __init__(self, name: str, *, read_only: bool) -> None:
        self._name = name
        self._read_only = read_only
        self._is_begun = False  # from the beginning of open to the end of aclose
        self._is_open = False
        self._process_id = 0
        self._opening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @abstractmethod
    def _start(self) -> None:
        """Make what belongs to one opening afresh, without connecting."""

    @abstractmethod
    async def _connect(self, *, is_damaged: bool) -> None:
        """Connect; `is_damaged` means to be looked at, whatever is wrong with the log."""

    @abstractmethod
    def _release(self, closing: AsyncExitStack) -> None:
        """Put on the stack what lets go of all that was begun; the last put is done first."""

    def _hurry(self) -> None:
        """Tell what waits, or tries again, that the store is being closed."""

    async def open(self) -> None:
        """Connect; create what is not there, and bring it to the newest schema version.

        Raises:
            ConfigurationError: What is there is no store, or of a newer version, or may not be
                used or changed as asked for; `read_only`, there is none; or the store is open
                already.
            CorruptLogError: The log is damaged, or has lost its end: it ends before a position
                that was acknowledged.
            StoreUnavailableError: It cannot be reached.
        """
        await self._begin(is_damaged=False)

    async def open_damaged(self) -> None:
        """Connect as `open` does, also where the log has lost its end; `read_only` alone.

        Raises:
            ConfigurationError: As for `open`, or the store is not `read_only`.
            CorruptLogError: So much is damaged that nothing can be read.
            StoreUnavailableError: It cannot be reached.
        """
        if not self._read_only:
            raise ConfigurationError(f"{self._name} may be damaged; make it with read_only=True")
        await self._begin(is_damaged=True)

    async def _begin(self, *, is_damaged: bool) -> None:
        if self._is_begun:
            raise ConfigurationError(f"{self._name} is open already; make one store for each block")
        self._is_begun = True
        self._process_id = os.getpid()
        self._start()  # afresh, so that a store can be opened again
        self._opening = asyncio.create_task(
            self._open(is_damaged=is_damaged), name=f"opening of {self._name}"
        )
        try:
            await complete(self._opening)
        except BaseException:
            await self.aclose()
            raise

    async def _open(self, *, is_damaged: bool) -> None:
        await self._connect(is_damaged=is_damaged)
        self._is_open = True

    async def aclose(self) -> None:
        """Write what waits, and close every connection; not to be hurried by a cancellation.

        It takes as long as the commits that wait. Twice is harmless: the second waits for the
        first.
        """
        if not self._is_begun or self._is_forked:
            return  # in a forked process the connections, files and locks are the parent's
        self._is_open = False
        self._hurry()
        if self._closing is None:
            self._closing = asyncio.create_task(self._let_go(), name=f"closing of {self._name}")
        await complete(self._closing)

    async def _let_go(self) -> None:
        if self._opening is not None:
            # Closed by another task while it opens: what it begins is let go of too.
            await asyncio.wait([self._opening])
            self._is_open = False
        async with AsyncExitStack() as closing:
            # Each is done whatever became of the ones before.
            closing.callback(self._forget)
            self._release(closing)

    def _forget(self) -> None:
        self._is_begun = False
        self._opening = self._closing = None

    @property
    def _is_forked(self) -> bool:
        return self._process_id not in (0, os.getpid())

    def _check_open(self) -> None:
        if self._is_forked:
            raise ConfigurationError(
                f"{self._name} was opened before this process was forked; open a store of its own"
            )
        if not self._is_open:
            raise StoreClosedError(store=self._name)

    def _check_writable(self, attempted: str) -> None:
        self._check_open()
        if self._read_only:
            raise ConfigurationError(
                f"{self._name} was opened read-only, and cannot {attempted}; open it for writing"
            )
