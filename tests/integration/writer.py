"""Appends to an SQLite store, and says what was acknowledged: one line for each append.

    writer.py PATH NAME APPENDS CALLERS STREAMS

Several callers append at once, batches of one to three events, each to a stream of its choice at
the version that it has read; on a conflict it reads again. A line is written when the answer has
come, so that whoever reads the lines knows what must be there, whatever happens to the process.
"""

import json
import random
import sys
import uuid

import anyio

from backstory import (
    Event,
    NewEvent,
    Receipt,
    VersionConflictError,
)
from backstory.stores.sqlite import SQLiteStore


class Written(Event, type="process:written"):
    """A process wrote something down."""

    by: str
    number: int
    padding: str = ""


class Writer:
    def __init__(self, store: SQLiteStore, name: str, streams: int) -> None:
        self.store = store
        self.name = name
        self.streams = streams
        self.chance = random.Random(name)  # noqa: S311 - not for secrets
        self.conflicts = 0

    async def write(self, append_count: int) -> None:
        for number in range(append_count):
            count = self.chance.randint(1, 3)
            padding = "x" * self.chance.choice([0, 10, 5_000])
            event = Written(by=self.name, number=number, padding=padding)
            events = [NewEvent.of(event, event_id=uuid.uuid4()) for _ in range(count)]
            receipt = await self.append(f"hot-{self.chance.randrange(self.streams)}", events)
            acknowledged = {
                "stream_id": receipt.stream_id,
                "versions": [receipt.first_version, receipt.last_version],
                "positions": [receipt.first_position, receipt.last_position],
                "event_ids": [event.event_id for event in events],
                "data": events[0].data_json.decode(),
            }
            sys.stdout.write(json.dumps(acknowledged) + "\n")
            sys.stdout.flush()

    async def append(self, stream_id: str, events: list[NewEvent]) -> Receipt:
        while True:
            version = 0
            async for recorded in self.store.read_stream(stream_id, backward=True, limit=1):
                version = recorded.version
            try:
                return await self.store.append(stream_id, events, expected_version=version)
            except VersionConflictError:
                self.conflicts += 1


async def main() -> None:
    path, name, *numbers = sys.argv[1:]
    append_count, caller_count, stream_count = map(int, numbers)
    async with SQLiteStore(path) as store:
        writer = Writer(store, name, stream_count)
        async with anyio.create_task_group() as group:
            for _ in range(caller_count):
                group.start_soon(writer.write, append_count)


if __name__ == "__main__":
    anyio.run(main)
