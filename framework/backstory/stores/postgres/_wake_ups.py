"""Hears of appends of other processes: a connection that listens, and is had again when it is lost.

What it hears carries nothing, and may be lost, or come twice: it only says that a look is worth it.
While it is not connected, the watch looks as often as its interval says.
"""

import asyncio
from collections.abc import Callable
from random import random
from typing import Any, Final

from backstory._completion import end
from backstory._logging import REASON, log
from backstory.stores.postgres._database import Database, Db, close
from backstory.stores.postgres._statement import statement

_PAUSE_SECONDS: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 5.0


class WakeUps:
    """One connection that listens to one log."""

    def __init__(
        self, database: Database, heard: Callable[[], None], *, is_own: Callable[[int], bool]
    ) -> None:
        """Make it; `open` connects.

        Args:
            database: Where to connect.
            heard: Called when the log may have grown, and when the connection is had again.
            is_own: Tells whether a process of the server is our own writer's, whose appends are
                known without being heard of.
        """
        self._database = database
        self._is_own = is_own
        self._heard = heard
        self._said = ""
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to listen."""
        name = f"wake-ups of {self._database.settings.name}"
        self._task = asyncio.create_task(self._work(), name=name)

    async def aclose(self) -> None:
        """Listen no more."""
        await end(self._task)

    async def _work(self) -> None:
        pause = _PAUSE_SECONDS
        while True:
            try:
                db = await self._database.connect()
            except Exception as error:  # noqa: BLE001 - it is tried again, whatever it was
                self._failed(str(error))
            else:
                try:
                    await self._listen(db)
                    pause = _PAUSE_SECONDS
                except Exception as error:  # noqa: BLE001 - likewise
                    self._failed(str(error))
                finally:
                    await close(db)
            await asyncio.sleep(pause * (0.5 + random() / 2))  # noqa: S311 - no secret
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    async def _listen(self, db: Db) -> None:
        ended = asyncio.Event()

        def notice(_db: Db) -> None:
            ended.set()

        db.add_termination_listener(notice)
        schema = self._database.settings.quoted_schema
        channel = await db.fetchval(statement("read_channel", schema))
        await db.add_listener(channel, self._hear)
        self._said = ""
        self._heard()  # of what came before it listened
        await ended.wait()
        self._failed("the connection was lost")

    def _failed(self, reason: str) -> None:
        # Once for as long as it stays the same, such as on a replica, where nobody can listen.
        if reason != self._said:
            log.warning("listening.failed", **{REASON: reason})
        self._said = reason

    def _hear(self, _db: Db, process_id: int, *_of: Any) -> None:
        if not self._is_own(process_id):
            self._heard()
