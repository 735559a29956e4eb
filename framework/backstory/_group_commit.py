"""Group commit: appends that wait at the same time share one transaction.

A store writes one group at a time. While it does, what comes gathers, and is the next group: so an
append alone waits for nobody, and the more there are, the less each costs. In a group every append
stands for itself: each is answered, or refused, on its own.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from backstory._commit import Batch, Receipt
from backstory._errors import StoreClosedError, StoreUnavailableError
from backstory._limits import APPEND_BYTES_MAX, APPEND_EVENT_COUNT_MAX

BUGS: Final = (TypeError, AttributeError, LookupError, AssertionError)
"""Errors that no store raises, and that no repetition mends: they reach the caller as they are."""

Answer = tuple[Receipt, ...]
Waiting = tuple[Batch, "asyncio.Future[Answer]"]


class GroupCommit:
    """The appends that wait, and the task that writes them, in the order of their arrival."""

    def __init__(
        self,
        *,
        store: str,
        write: Callable[[Sequence[Batch]], Awaitable[Sequence[Answer | Exception]]],
    ) -> None:
        """Make a queue; `open` starts to write.

        Args:
            store: The store's name, for messages.
            write: Writes a group, and returns what each batch is answered. What it raises, all of
                them are answered.
        """
        self._store = store
        self._write = write
        self._queue: deque[Waiting] = deque()
        self._wanted = asyncio.Event()
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start to write."""
        self._task = asyncio.create_task(self._work(), name=f"writer of {self._store}")

    async def aclose(self) -> None:
        """Write what waits, and refuse what comes."""
        self._is_closing = True
        self._wanted.set()
        if self._task is not None:
            # Waited for and not awaited: a loop that shuts down cancels every task, this one too,
            # and what belongs to it must be let go of all the same.
            await asyncio.wait([self._task])
        for _, answer in self._queue:
            _answer(answer, StoreClosedError(store=self._store))

    def check_open(self) -> None:
        """Refuse what comes too late.

        Raises:
            StoreClosedError: It is closing.
        """
        if self._is_closing or (self._task is not None and self._task.done()):
            raise StoreClosedError(store=self._store)

    async def commit(self, batch: Batch) -> Answer:
        """Append a batch, all or nothing, with whatever else waits.

        Cancelled while it waits, it is not written; later, it is.
        """
        self.check_open()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((batch, answer))
        self._wanted.set()
        return await answer

    async def _work(self) -> None:
        while not self._is_closing:
            await self._wanted.wait()
            self._wanted.clear()
            while group := self._take():
                await self._write_group(group)

    def _take(self) -> list[Waiting]:
        """Take what one transaction holds: as much as the largest single append may be."""
        group: list[Waiting] = []
        event_count = byte_count = 0
        while self._queue:
            batch, answer = self._queue[0]
            events = [event for part in batch.appends for event in part.events]
            event_count += len(events)
            byte_count += sum(len(event.data_json) + len(event.metadata_json) for event in events)
            is_full = event_count > APPEND_EVENT_COUNT_MAX or byte_count > APPEND_BYTES_MAX
            if group and is_full:
                break
            self._queue.popleft()
            if not answer.done():  # else its caller was cancelled
                group.append((batch, answer))
        return group

    def _cut_short(self, error: BaseException) -> StoreUnavailableError:
        return StoreUnavailableError(
            store=self._store,
            attempted="append",
            reason=f"it was cut short by {type(error).__name__}",
            outcome_unknown=True,
        )

    async def _write_group(self, group: Sequence[Waiting]) -> None:
        try:
            answers = await self._write([batch for batch, _ in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            for _, answer in group:
                _answer(answer, error)
            return
        except BaseException as error:
            # The loop is shutting down, and nobody else would tell them.
            for _, answer in group:
                _answer(answer, self._cut_short(error))
            raise
        for (_, answer), answered in zip(group, answers, strict=True):
            _answer(answer, answered)


def _answer(answer: "asyncio.Future[Answer]", answered: Answer | Exception) -> None:
    if answer.done():  # its caller was cancelled meanwhile
        return
    if isinstance(answered, Exception):
        answer.set_exception(answered)
    else:
        answer.set_result(answered)
