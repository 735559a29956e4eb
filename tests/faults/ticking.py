"""Appends to an SQLite store, and measures how long its event loop stands still meanwhile.

ticking.py PATH APPENDS
"""

import json
import sys
import time
import uuid

import anyio

from backstory import ANY, Event, NewEvent
from backstory.stores.sqlite import SQLiteStore

TICK_SECONDS = 0.01


class Ticked(Event, type="fault:ticked"):
    """Time went by."""


async def main(path: str, append_count: str) -> None:
    pauses: list[float] = []

    async def tick() -> None:
        while True:
            begun_at = time.monotonic()
            await anyio.sleep(TICK_SECONDS)
            pauses.append(time.monotonic() - begun_at)

    seconds = 0.0
    async with SQLiteStore(path) as store, anyio.create_task_group() as group:
        group.start_soon(tick)
        begun_at = time.monotonic()
        for _ in range(int(append_count)):
            event = NewEvent.of(Ticked(), event_id=uuid.uuid4())
            await store.append("tick-1", [event], expected_version=ANY)
        seconds = (time.monotonic() - begun_at) / int(append_count)
        group.cancel_scope.cancel()
    said = {"append_seconds": seconds, "pause_seconds_max": max(pauses)}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
