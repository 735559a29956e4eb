"""The log of a store, read past what cannot be read.

A page that fails is asked for again in halves, until the single event at fault stands alone. Where
the store knows its position, it is passed over. Where it does not, since whole pages of a file are
gone, the next position that can be read is looked for: in steps that double, and then between the
last two. So a large hole costs few reads, and memory is that of one page.
"""

from collections.abc import AsyncIterator

from msgspec import Struct

from backstory._errors import CorruptLogError
from backstory._pages import PAGE_EVENT_COUNT
from backstory._store import EventStore, SealedEvent


class UnreadableEvents(Struct, frozen=True):
    """Positions that cannot be read."""

    first_position: int
    last_position: int
    reason: str


async def read_sealed_log(
    store: EventStore, *, after_position: int, until_position: int
) -> AsyncIterator[SealedEvent | UnreadableEvents]:
    """Iterate over the log, in constant memory.

    Args:
        store: An open store.
        after_position: Exclusive lower bound; below 0 too, where nothing may be.
        until_position: Inclusive upper bound.

    Yields:
        Events with what seals them, and what lies between them and cannot be read. Where the store
        is damaged they may come in any order.
    """
    after, count = after_position, PAGE_EVENT_COUNT
    while after < until_position:
        try:
            page = await store.read_sealed_page(after, count)
        except CorruptLogError as error:
            if count > 1:
                count //= 2
                continue
            hole = await _hole(store, after, until_position, error)
            yield hole
            after = hole.last_position
            continue
        events = _trusted(page, after)
        within = _until(events, until_position)
        for sealed in within:
            yield sealed
        if not within or len(within) < len(events):
            return
        # A damaged position may not lead back.
        after = max(after + 1, within[-1].recorded.position)
        count = min(2 * count, PAGE_EVENT_COUNT)


def _trusted(page: list[SealedEvent], after: int) -> list[SealedEvent]:
    """Return a page without a last event that lies far ahead.

    Its position may be damaged, and to go on behind it could leave out the rest of the log. On the
    next page it comes first, and what follows it says where to go on.
    """
    if len(page) > 1:
        before, last = (sealed.recorded.position for sealed in page[-2:])
        if last > max(before, after) + 1:
            return page[:-1]
    return page


def _until(events: list[SealedEvent], until_position: int) -> list[SealedEvent]:
    count = len(events)
    while count and events[count - 1].recorded.position > until_position:
        count -= 1
    return events[:count]


async def _hole(
    store: EventStore, after: int, until: int, error: CorruptLogError
) -> UnreadableEvents:
    """Return what cannot be read behind a position."""
    if _names_next(error, after):
        return UnreadableEvents(error.position, error.position, error.reason)
    unreadable, step = after, 1
    readable = after + step
    while readable < until and not await _is_readable(store, readable):
        unreadable, step = readable, 2 * step
        readable = min(unreadable + step, until)
    while readable - unreadable > 1:
        middle = (unreadable + readable) // 2
        if await _is_readable(store, middle):
            readable = middle
        else:
            unreadable = middle
    # Where nothing is known below position 1, nothing was written there either.
    first = after + 1 if after >= 0 else min(1, readable)
    return UnreadableEvents(first, readable, error.reason)


async def _is_readable(store: EventStore, after: int) -> bool:
    """Tell whether the next event behind a position can be read."""
    try:
        await store.read_sealed_page(after, 1)
    except CorruptLogError as error:
        return _names_next(error, after)
    return True


def _names_next(error: CorruptLogError, after: int) -> bool:
    return error.position > max(after, 0)  # 0 says that it is not known
