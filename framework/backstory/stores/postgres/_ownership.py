"""Who owns a name, such as a projection's: one store at a time, of all that are open on one log.

A name is owned by an advisory lock of one session, which belongs to this store and to nothing else.
What an owner keeps is written in that same session. That is the fence: when the session is gone,
so is the lock, and what its owner might still want to write has no way to the database.

A session that was lost is told once to whoever owned a name by it, also where nobody else has taken
it: others may have owned it in between, and what was known of it may be of the past.

The session has a time limit for being idle, which the server keeps; it is pinged in between. When
its process dies, or is stopped, or the network is cut, the server ends the session within that
limit, and the next one who asks has the lock.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from backstory._completion import end
from backstory._errors import StoreClosedError, StoreUnavailableError
from backstory._logging import PROJECTION, REASON, log
from backstory.stores.postgres._database import Database, Db, Doubt, close, is_spoilt
from backstory.stores.postgres._statement import statement

T = TypeVar("T")

_PINGS: Final = 4
"""Pings within the time that the session may be idle."""


class Ownership:
    """The names that one open store owns, and the session that holds them."""

    def __init__(self, database: Database, *, timeout_seconds: float) -> None:
        """Own nothing yet.

        Args:
            database: Where to connect.
            timeout_seconds: How long the session may be idle before the server ends it.
        """
        self._database = database
        self._schema = database.settings.quoted_schema
        self._timeout_seconds = timeout_seconds
        self._owned: set[str] = set()
        self._lost: dict[str, bool] = {}
        """What was owned by a session that is gone, and whether that was told."""
        self._session: Db | None = None
        self._is_closed = False
        self._turn = asyncio.Lock()
        self._pinging: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to ping the session, once there is one."""
        self._pinging = asyncio.create_task(self._ping(), name="pinging of the owning session")

    async def take(self, name: str) -> bool:
        """Tell whether the name is owned here, and own it if nobody else does.

        Returns:
            False also the first time after its session was lost.

        Raises:
            Exception: Whatever the driver raises.
        """
        async with self._turn:
            session = await self._connected()
            if name in self._owned:
                # Who was stopped, and goes on, has not heard yet that its session was ended.
                await self._in(session, self._say_hello)
                return True
            if self._lost.get(name) is False:
                self._lost[name] = True
                return False
            if await self._in(session, self._try_own(name)):
                self._owned.add(name)
                self._lost.pop(name, None)
                return True
            return False

    def concerns(self, name: str) -> bool:
        """Tell whether a name is, or was, owned here."""
        return name in self._owned or name in self._lost

    async def run(
        self, names: Iterable[str], function: Callable[[Db], Awaitable[T]], doubt: Doubt
    ) -> T:
        """Return what a function returns, run in the session that owns names, if one ever has.

        Raises:
            StoreUnavailableError: One was owned here, and is not any more; nothing happened.
            Exception: Whatever the function raises.
        """
        async with self._turn:
            session = await self._connected()
            for name in self._lost.keys() & names:
                raise StoreUnavailableError(
                    store=self._database.settings.name,
                    attempted=f"keep what belongs to {name!r}",
                    reason="the session that owned it was lost; it has to be owned again",
                )
            try:
                return await self._in(session, function)
            except Exception as error:
                doubt.note(error)
                raise

    async def aclose(self) -> None:
        """Own nothing any more."""
        async with self._turn:
            # Who waits for a turn behind this one, or between two attempts, finds it closed.
            self._is_closed = True
            if self._session is not None:
                await close(self._session)
        await end(self._pinging)

    async def _connected(self) -> Db:
        if self._is_closed:
            raise StoreClosedError(store=self._database.settings.name)
        if self._session is not None and self._session.is_closed():
            self._forget("the session was ended")
        if self._session is None:
            limit = str(round(self._timeout_seconds * 1000))
            self._session = await self._database.connect(
                plans_pages=False,  # what users say of their tables is run in it
                idle_session_timeout=limit,
                idle_in_transaction_session_timeout=limit,
                # Our pause between two keystrokes of a stopped process is the limit, not a lock's.
                tcp_user_timeout=limit,
            )
        return self._session

    async def _in(self, session: Db, function: Callable[[Db], Awaitable[T]]) -> T:
        try:
            return await function(session)
        except BaseException as error:
            if is_spoilt(error):
                session.terminate()
                self._forget(str(error))
            raise

    def _forget(self, reason: str) -> None:
        for name in sorted(self._owned):
            log.warning("ownership.lost", **{PROJECTION: name, REASON: reason})
        self._lost.update(dict.fromkeys(self._owned, False))
        self._owned.clear()
        self._session = None

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._timeout_seconds / _PINGS)
            async with self._turn:
                if self._session is None or self._is_closed:
                    continue
                try:
                    await self._in(self._session, self._say_hello)
                except Exception as error:  # noqa: BLE001 - pinging goes on, whatever it was
                    log.warning("ping.failed", **{REASON: str(error)})

    def _try_own(self, name: str) -> Callable[[Db], Awaitable[bool]]:
        async def try_own(db: Db) -> bool:
            sql = statement("try_own", self._schema)
            return bool(await db.fetchval(sql, name, timeout=self._timeout_seconds))

        return try_own

    async def _say_hello(self, db: Db) -> None:
        # Where the answer takes longer, the server does not hear of us either.
        await db.execute("SELECT 1", timeout=self._timeout_seconds)
