"""A store that has a witness: what it is asked and what it answers goes into a history.

It stands in front of any other store and changes nothing. A program that is handed one writes its
history by itself: every append, whoever makes it; every read of the log, in pages or event by
event, and every subscription, those of projectors too; checkpoints; openings; and errors. Reads of
single streams, pages with an offset, snapshots and statistics are passed on, and only their errors
noted. What is read by pages is noted page by page: as handed out counts the whole page.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import anyio
from msgspec.structs import replace

from backstory._arguments import check_bounds, check_filter
from backstory._commit import Batch, Receipt
from backstory._filter import EVERY_EVENT, EventFilter
from backstory._limits import check_integer
from backstory._pages import LogRead, Page
from backstory._progress import Progress
from backstory._recorded import RecordedEvent
from backstory._snapshot import Checkpoint
from backstory._store import EventPage, EventStore
from backstory._subscription import Log, Subscription
from backstory.testing._forwarding_store import ForwardingStore
from backstory.testing._history import HistoryWriter

T = TypeVar("T")


class WitnessedStore(ForwardingStore):
    """A store in front of another, which writes down what is asked and answered.

        with HistoryWriter(path) as history:
            async with WitnessedStore(SQLiteStore("story.db"), history) as store:
                async with Backstory(store, projections=[Sales]) as story:
                    ...

    It can be used wherever a store can.
    """

    def __init__(self, store: EventStore, history: HistoryWriter) -> None:
        """Put a store behind this one.

        Args:
            store: Any store; opened and closed through this one.
            history: Where to write.
        """
        super().__init__(store)
        self._history = history

    async def read_log_pages(
        self,
        *,
        after_position: int = 0,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[list[RecordedEvent]]:
        """Iterate over the events of the whole store; as `EventStore.read_log_pages`."""
        read = LogRead(after_position, until_position, where, backward, 0)
        number = self._begin(read, limit)
        pages = super().read_log_pages(
            after_position=after_position,
            until_position=until_position,
            where=where,
            backward=backward,
            limit=limit,
        )
        async with aclosing(pages):
            async for events in pages:
                self._note(number, events)
                yield events
        self._history.ended(number)

    async def read_log_page(
        self,
        *,
        cursor: int | None = None,
        offset: int = 0,
        limit: int = 100,
        after_position: int = 0,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
    ) -> EventPage:
        """Return one page of the log; as `EventStore.read_log_page`."""
        read = LogRead(after_position, until_position, where, backward, 0)
        # What an offset leaves out is nowhere written, so that nothing could be judged.
        number = None if offset else self._begin(_from_cursor(read, cursor), limit)
        page = await super().read_log_page(
            cursor=cursor,
            offset=offset,
            limit=limit,
            after_position=after_position,
            until_position=until_position,
            where=where,
            backward=backward,
        )
        if number is not None:
            self._note(number, page.events)
            self._history.ended(number)
        return page

    def _begin(self, read: LogRead, limit: int | None) -> int:
        """Note that a read begins; return its number.

        Raises:
            InvalidInputError: Its arguments are outside their limits, and nothing begins.
        """
        check_integer("after_position", read.after_position, least=0)
        check_filter(read.where)
        check_bounds(until_position=read.until_position, limit=limit)
        return self._history.followed(read, limit=limit, is_live=False)

    def _note(self, number: int, events: Iterable[RecordedEvent]) -> None:
        for recorded in events:
            self._history.received(number, recorded)

    @asynccontextmanager
    async def subscribe(
        self, *, after_position: int = 0, where: EventFilter = EVERY_EVENT
    ) -> AsyncGenerator[Subscription]:
        """Open a subscription; as `EventStore.subscribe`."""
        check_integer("after_position", after_position, least=0)
        check_filter(where)
        subscription = _WitnessedSubscription(
            self, self._history, after_position=after_position, where=where
        )
        try:
            yield subscription
        finally:
            subscription.stop()

    async def open(self) -> None:
        """Open the store behind, and note where its log ends."""
        begun_at_ns = self._history.opening()
        try:
            await self._store.open()
            head = await self._store.head()
        except BaseException as error:
            self._history.not_opened(begun_at_ns, error)
            with anyio.CancelScope(shield=True):
                await self._store.aclose()
            raise
        self._history.opened(begun_at_ns, head=head)

    async def open_damaged(self) -> None:
        """Open the store behind to be looked at; where its log ends proves nothing, as it is."""
        await self._call("open_damaged", self._store.open_damaged)

    async def aclose(self) -> None:
        """Close the store behind."""
        await self._call("aclose", self._store.aclose)

    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        """Append a batch, all or nothing."""
        number = self._history.invoked(batch)
        try:
            receipts = await self._store.commit(batch)
        except BaseException as error:
            self._history.not_done(number, error)
            raise
        self._history.done(number, receipts)
        return receipts

    async def put_progress(self, progress: Progress) -> None:
        """Keep a checkpoint in place of the one before, and what belongs to it."""
        await self._call("put_progress", self._store.put_progress, progress)
        self._history.checkpointed(progress.checkpoint)

    async def get_checkpoint(self, projection: str) -> Checkpoint | None:
        """Return a projection's checkpoint, or None."""
        checkpoint = await self._call("get_checkpoint", self._store.get_checkpoint, projection)
        if checkpoint is not None:
            self._history.checkpointed(checkpoint)
        return checkpoint

    async def _call(self, verb: str, method: Callable[..., Awaitable[T]], *arguments: object) -> T:
        try:
            return await method(*arguments)
        except Exception as error:
            self._history.failed(verb, error)
            raise


class _WitnessedSubscription(Subscription):
    """A subscription that writes down what it hands out."""

    def __init__(
        self, log: Log, history: HistoryWriter, *, after_position: int, where: EventFilter
    ) -> None:
        super().__init__(log, after_position=after_position, where=where)
        read = LogRead(after_position, None, where, backward=False, limit=0)
        self._history = history
        self._number = history.followed(read, limit=None, is_live=True)

    async def __anext__(self) -> RecordedEvent:
        recorded = await super().__anext__()
        self._history.received(self._number, recorded)
        return recorded

    async def read(self) -> Page | None:
        page = await super().read()
        for recorded in () if page is None else page.events:
            self._history.received(self._number, recorded)
        return page


def _from_cursor(read: LogRead, cursor: int | None) -> LogRead:
    if cursor is None:
        return read
    check_integer("cursor", cursor, least=0)
    if not read.backward:
        return replace(read, after_position=max(cursor, read.after_position))
    until = cursor if read.until_position is None else min(cursor, read.until_position)
    return replace(read, until_position=until)
