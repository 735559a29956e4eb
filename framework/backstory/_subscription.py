"""Subscriptions: an ordered, resumable feed of the log; catch-up, then live.

What it may do after what is the table `TRANSITIONS`; whatever changes the state goes through it.

Why nothing is missed, doubled or out of order. A subscription knows one thing: the position up to
which it has read. Every event it hands out comes from a page of the log that begins behind that
position, and positions only ever rise, in the order of commits: nothing that appears later lies
behind a position that was once read. So the next page continues exactly where the last one ended,
whether the events in it are old or were appended a moment ago. Live is not another source of
events. It is the same reading, with a pause before it: when a page reaches the head of the log, the
subscription asks the store to be woken when the log grows beyond that position. A wake-up carries
no data. If one comes too often, a page is empty; if one is lost, the store's own polling finds the
log grown. An append between the last page and the wait is not lost either, because the wait names
the position, and ends at once when the log is already beyond it.

Back-pressure is the absence of a buffer: the next page is read when the events of the last one have
been taken. A slow subscriber holds one page and slows nobody. While it does, the state says so.

A filter is applied by the store. What it leaves out still counts as read: `position` advances over
it, so that a subscriber of rare events does not read a long log again after a restart.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Final, Protocol, Self

import anyio

from backstory._filter import EventFilter
from backstory._pages import PAGE_EVENT_COUNT, LogRead, Page
from backstory._recorded import RecordedEvent


class Log(Protocol):
    """What a subscription needs of a store: pages, and to be woken."""

    async def read_page(self, read: LogRead) -> Page:
        """Return one page of the log."""
        ...

    async def wait_beyond(self, position: int) -> None:
        """Return when the log may have events beyond a position; too early is allowed."""
        ...


class SubscriptionState(Enum):
    """What a subscription is doing."""

    CATCHING_UP = "catching up"
    """It reads the log."""
    HELD_UP = "held up"
    """It has read a page, and waits until its events are taken."""
    LIVE = "live"
    """It waits for the log to grow."""
    STOPPED = "stopped"
    """It is over."""


class Cause(Enum):
    """What changes the state of a subscription."""

    PAGE = "a page"
    TAKEN = "all of it is taken"
    HEAD = "the head"
    WOKEN = "an append"
    STOP = "stop"


TRANSITIONS: Final[Mapping[tuple[SubscriptionState, Cause], SubscriptionState]] = {
    (SubscriptionState.CATCHING_UP, Cause.PAGE): SubscriptionState.HELD_UP,
    (SubscriptionState.HELD_UP, Cause.TAKEN): SubscriptionState.CATCHING_UP,
    (SubscriptionState.CATCHING_UP, Cause.HEAD): SubscriptionState.LIVE,
    (SubscriptionState.LIVE, Cause.WOKEN): SubscriptionState.CATCHING_UP,
    (SubscriptionState.CATCHING_UP, Cause.STOP): SubscriptionState.STOPPED,
    (SubscriptionState.HELD_UP, Cause.STOP): SubscriptionState.STOPPED,
    (SubscriptionState.LIVE, Cause.STOP): SubscriptionState.STOPPED,
}
"""What a state becomes because of what; all else changes nothing, and a stopped one stays so."""


class Subscription:
    """One ordered pass over the log, from a position on and without an end.

    Iterate it in one place at a time. It holds no resource while its events are being handled.
    """

    def __init__(self, log: Log, *, after_position: int, where: EventFilter) -> None:
        self._log = log
        self._where = where
        self._events: deque[RecordedEvent] = deque()
        self._reached = after_position
        self._caught_up = anyio.Event()
        self._waiting: anyio.CancelScope | None = None
        self._is_at_head = False
        self.position = after_position
        """All up to here has been handed out, or left out by the filter. Subscribing again after
        this position goes on without a gap or a repeat."""
        self.state = SubscriptionState.CATCHING_UP
        """What it is doing."""

    @property
    def is_live(self) -> bool:
        """Whether everything that was in the log has been handed out, as far as is known."""
        return self.state is SubscriptionState.LIVE

    async def wait_caught_up(self) -> None:
        """Return when the subscription has been live once, or has stopped.

        Somebody else must be iterating it meanwhile.
        """
        await self._caught_up.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RecordedEvent:
        if not self._events:
            self._move(Cause.TAKEN)
        while not self._events:
            if (page := await self._read()) is None:
                raise StopAsyncIteration
            self._events.extend(page.events)
            if not page.events:
                self.position = page.reached
        event = self._events.popleft()
        self.position = event.position if self._events else self._reached
        return event

    async def read(self) -> Page | None:
        """Return the next page, or None when the subscription has stopped.

        For readers that handle many events at a time. A page may hold no event, where the filter
        left all of them out; `position` is behind the page.
        """
        if self._events:  # left over from an iteration
            page: Page | None = Page(list(self._events), self._reached, is_last=False)
            self._events.clear()
        else:
            self._move(Cause.TAKEN)
            page = await self._read()
        self.position = self._reached
        return page

    async def _read(self) -> Page | None:
        if self._is_at_head and not self._is_stopped:
            await self._wait_live()
        if self._is_stopped:
            return None
        page = await self._log.read_page(self._next_page())
        self._reached, self._is_at_head = page.reached, page.is_last
        if page.events:
            self._move(Cause.PAGE)
        return page

    @property
    def _is_stopped(self) -> bool:
        return self.state is SubscriptionState.STOPPED

    def _move(self, cause: Cause) -> None:
        self.state = TRANSITIONS.get((self.state, cause), self.state)

    def _next_page(self) -> LogRead:
        return LogRead(
            after_position=self._reached,
            until_position=None,
            where=self._where,
            backward=False,
            limit=PAGE_EVENT_COUNT,
        )

    async def _wait_live(self) -> None:
        self._move(Cause.HEAD)
        self._caught_up.set()
        try:
            # A scope of its own for each wait: one that was left by a cancellation is used up.
            with anyio.CancelScope() as self._waiting:
                await self._log.wait_beyond(self._reached)
        finally:
            self._move(Cause.WOKEN)

    def stop(self) -> None:
        """End the subscription: its iteration ends once the events at hand are taken."""
        self._move(Cause.STOP)
        self._caught_up.set()
        if self._waiting is not None:
            self._waiting.cancel()
