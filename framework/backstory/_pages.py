"""Pages: how stores are read, and long reads as one page after another.

Where a server makes the pages, the next one is asked for before the events of one are handled, so
that nobody waits for what the server does meanwhile. Pages that are made in this process would gain
nothing: Python runs one thread at a time. So a store says whether it is worth it. An iteration
begins with it when it hands out its second page: whoever looks at a few events has the server read
no more than those.

A page that was read ahead is as old as the moment it was asked for. Of what is appended during a
read, some is seen and some is not, ahead or not; nothing is left out between two pages, since each
begins where the last one ended.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, Generic, Self, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from backstory._filter import EventFilter
from backstory._recorded import RecordedEvent

PAGE_EVENT_COUNT: Final = 1_000
"""Long reads take so many events at a time."""


class Page(Struct, frozen=True):
    """Events in the order asked for, and how far they were looked for."""

    events: list[RecordedEvent]
    """The events; empty when none matched."""
    reached: int
    """The position (of a stream: the version) up to which everything that matches is in `events` or
    in the pages before; forward reads only."""
    is_last: bool
    """Whether nothing further matched when the page was read."""


class PageRead(Struct, frozen=True):
    """One page that is asked for."""

    def behind(self, page: Page) -> Self:
        """Return the read that goes on where a page ended."""
        raise NotImplementedError


class LogRead(PageRead, frozen=True):
    """One page of the log that is asked for."""

    after_position: int
    """Exclusive lower bound."""
    until_position: int | None
    """Inclusive upper bound; None for the head."""
    where: EventFilter
    """What is wanted."""
    backward: bool
    """Whether the newest comes first."""
    limit: int
    """At most so many events."""

    def behind(self, page: Page) -> Self:
        """Return the read that goes on where a page ended."""
        if self.backward:
            return replace(self, until_position=page.events[-1].position - 1)
        return replace(self, after_position=page.reached)


class StreamRead(PageRead, frozen=True):
    """One page of a stream that is asked for."""

    stream_id: str
    """The stream."""
    after_version: int
    """Exclusive lower bound."""
    until_version: int | None
    """Inclusive upper bound; None for the stream's end."""
    until_position: int | None
    """Inclusive upper bound on positions; None for no bound."""
    where: EventFilter
    """What is wanted."""
    backward: bool
    """Whether the newest comes first."""
    limit: int
    """At most so many events."""

    def behind(self, page: Page) -> Self:
        """Return the read that goes on where a page ended."""
        if self.backward:
            return replace(self, until_version=page.events[-1].version - 1)
        return replace(self, after_version=page.reached)


R = TypeVar("R", bound=PageRead)


class ReadAhead(Generic[R]):
    """Reads pages of a store, and one ahead where it is told which one will be wanted."""

    def __init__(self, read_page: Callable[[R], Coroutine[Any, Any, Page]], *, is_on: bool) -> None:
        """Make one that has begun nothing.

        Args:
            read_page: Reads a page of the store.
            is_on: Whether anything is read ahead.
        """
        self._read_page = read_page
        self._is_on = is_on
        self._ahead: tuple[R, asyncio.Task[Page]] | None = None

    async def read(self, read: R) -> Page:
        """Return a page: the one that was begun, if it is that one.

        What failed before it was asked for is tried anew.

        Raises:
            StoreError: The store did not answer.
        """
        begun_read, begun = self._ahead or (None, None)
        if begun is not None and begun_read == read and not _has_failed(begun):
            self._ahead = None
            return await begun  # cancelled, it is cancelled too
        self.drop()
        return await self._read_page(read)

    async def begin(self, read: R) -> None:
        """Begin to read a page, in place of what was begun before."""
        self.drop()
        if not self._is_on:
            return
        begun = asyncio.create_task(self._read_page(read), name="reading ahead")
        begun.add_done_callback(_has_failed)  # who looks at an error keeps asyncio from logging it
        self._ahead = read, begun
        await asyncio.sleep(0)  # it is on its way before the caller handles what it has

    def drop(self) -> None:
        """Let go of what was begun."""
        if self._ahead is not None:
            self._ahead[1].cancel()
            self._ahead = None


def _has_failed(begun: "asyncio.Task[Page]") -> bool:
    return begun.done() and (begun.cancelled() or begun.exception() is not None)


async def read_pages(
    read_page: Callable[[R], Coroutine[Any, Any, Page]],
    read: R,
    *,
    limit: int | None,
    reads_ahead: bool,
) -> AsyncGenerator[list[RecordedEvent]]:
    """Iterate over the events of a long read in lists of up to 1,000.

    Args:
        read_page: Reads a page of the store.
        read: What is asked for; its own `limit` does not count.
        limit: At most so many events in all; None for every one.
        reads_ahead: Whether a page is read while the one before is handled.

    Raises:
        StoreError: The store did not answer.
    """
    if limit == 0:
        return
    pages = ReadAhead(read_page, is_on=reads_ahead)
    next_read: R | None = _of_size(read, limit)
    is_long = False
    try:
        while next_read is not None:
            page = await pages.read(next_read)
            limit = None if limit is None else limit - len(page.events)
            is_over = page.is_last or limit == 0
            next_read = None if is_over else _of_size(next_read.behind(page), limit)
            if next_read is not None and is_long:
                await pages.begin(next_read)
            is_long = True
            if page.events:
                yield page.events
    finally:
        pages.drop()


def _of_size(read: R, limit: int | None) -> R:
    return replace(read, limit=PAGE_EVENT_COUNT if limit is None else min(limit, PAGE_EVENT_COUNT))
