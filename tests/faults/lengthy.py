"""Fills an SQLite store with many events, reads them, and measures time and memory.

    lengthy.py PATH stream|streams COUNT

All events lie in one stream, or each in a stream of its own. It writes one line with the measures.
"""

import json
import re
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import anyio

from backstory import (
    ANY,
    Aggregate,
    Durability,
    Event,
    EventStore,
    NewEvent,
    Repository,
    StreamAppend,
    on,
)
from backstory.stores.sqlite import SQLiteStore

AT_ONCE = 1_000


class Ticked(Event, type="fault:counted"):
    by: int


class Clockwork(Aggregate, category="long", snapshot_every=100):
    total: int = 0

    def tick(self) -> int:
        self.emit(Ticked(by=1))
        return self.total

    @on(Ticked)
    def _ticked(self, event: Ticked) -> None:
        self.total += event.by


def events(count: int) -> list[NewEvent]:
    return [NewEvent.of(Ticked(by=1), event_id=uuid.uuid4()) for _ in range(count)]


async def fill(store: EventStore, kind: str, count: int) -> None:
    for begin in range(0, count, AT_ONCE):
        if kind == "stream":
            await store.append("long-1", events(AT_ONCE), expected_version=begin)
        else:
            ids = range(begin, begin + AT_ONCE)
            await store.append_many([StreamAppend(f"long-{n}", events(1), ANY) for n in ids])


async def measure(items: AsyncIterator[Any]) -> tuple[int, float, float]:
    """Return how many items there are, and the seconds that early and late pages take."""
    pages: list[float] = []
    count, begun_at = 0, time.perf_counter()
    async for _ in items:
        count += 1
        if not count % AT_ONCE:
            pages.append(time.perf_counter() - begun_at)
            begun_at = time.perf_counter()
    few = max(1, len(pages) // 20)
    first = statistics.median(islice(pages, few))
    return count, first, statistics.median(pages[-few:])


def peak_bytes() -> int:
    """Return the most memory that this process has had resident."""
    # What getrusage says begins with what the parent had when it started us.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert peak is not None
    return int(peak[1]) * 1_024


async def main(arguments: Sequence[str]) -> None:
    path, kind, count = arguments[0], arguments[1], int(arguments[2])
    said: dict[str, Any] = {}
    async with SQLiteStore(path, durability=Durability.BUFFERED) as store:
        await fill(store, kind, count)
        said["events"] = (await store.statistics()).event_count
        if kind == "stream":
            said |= await look_into_the_stream(store)
        else:
            read, first, last = await measure(store.read_streams("long"))
            said |= {"read": read, "first_page_seconds": first, "last_page_seconds": last}
    said["memory_bytes"] = peak_bytes()
    sys.stdout.write(json.dumps(said) + "\n")


async def look_into_the_stream(store: EventStore) -> dict[str, Any]:
    read, first, last = await measure(store.read_stream("long-1"))
    backward, _, _ = await measure(store.read_log(backward=True))
    repository = Repository(store)
    total = await repository.execute(Clockwork.tick, "1")  # folds all of it, once
    begun_at = time.perf_counter()
    loaded = await repository.load(Clockwork, "1")
    return {
        "read": read,
        "read_backward": backward,
        "first_page_seconds": first,
        "last_page_seconds": last,
        "tail_events": loaded.version - loaded.snapshot_version,
        "load_seconds": time.perf_counter() - begun_at,
        "total": total,
    }


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
