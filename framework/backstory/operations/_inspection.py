"""A store that is opened to be looked at, whatever is wrong with it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from backstory._store import EventStore


@asynccontextmanager
async def inspected(store: EventStore) -> AsyncGenerator[EventStore]:
    """Open a store to be looked at, also one that refuses to open as damaged.

        async with inspected(SQLiteStore("story.db", read_only=True)) as store:
            verification = await verify(store)

    What is read from it may be wrong: it is for `verify` and `salvage`.

    Args:
        store: A store that is not open, and was made to be read only.

    Raises:
        ConfigurationError: What is there is no store, or it was not made to be read only.
        CorruptLogError: So much is damaged that nothing can be read.
        StoreUnavailableError: It could not be opened.
    """
    await store.open_damaged()
    try:
        yield store
    finally:
        await store.aclose()
