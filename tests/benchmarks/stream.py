"""Long streams to be read, in a store of ours and in a raw one; each is built once in a run."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.benchmarks.bench import Bench
from tests.benchmarks.meter import new_events, parts
from tests.benchmarks.raw import RawStore

from backstory import ANY, EventStore
from backstory.stores.sqlite import SQLiteStore

_BATCH_SIZE: Final = 1_000


def path_of(bench: Bench, stream_id: str, event_count: int) -> Path:
    """Return where the store of ours is that holds such a stream."""
    return Path(bench.folder, f"{stream_id}-{event_count}.db")


@asynccontextmanager
async def stores_with(
    bench: Bench, stream_id: str, event_count: int
) -> AsyncGenerator[tuple[SQLiteStore, RawStore]]:
    """Open two stores whose log begins with a stream of so many events."""
    path = path_of(bench, stream_id, event_count)
    is_new = not path.exists()
    raw = RawStore(path.with_suffix(".raw"))
    try:
        async with SQLiteStore(path) as store:
            if is_new:
                async with bench.building(f"{event_count:,} events in one stream", event_count):
                    await fill(store, stream_id, event_count)
                fill_raw(raw, stream_id, event_count)
            yield store, raw
    finally:
        raw.close()


async def fill(store: EventStore, stream_id: str, event_count: int) -> None:
    """Append so many events, a thousand at a time."""
    for size in parts(event_count, _BATCH_SIZE):
        await store.append(stream_id, new_events(size), expected_version=ANY)


def fill_raw(raw: RawStore, stream_id: str, event_count: int) -> None:
    """Do the same to a raw store."""
    for size in parts(event_count, _BATCH_SIZE):
        raw.append([stream_id] * size)
