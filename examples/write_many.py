"""Many events, few commits: what is appended together, or at the same time, is synced together.

Output:
    one append of 1,000 events: versions 1 to 1000
    two streams in one commit: ['sensor-b', 'sensor-c']
    200 callers at once: 200 events, dense: True
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import anyio

from backstory import ANY, NO_STREAM, Backstory, Event, EventStore, NewEvent, StreamAppend


class ValueRead(Event, type="sensor:value-read"):
    value: int


def new(value: int) -> NewEvent:
    return NewEvent.of(ValueRead(value=value), event_id=uuid4())


async def append_one(store: EventStore, value: int) -> None:
    await store.append("sensor-d", [new(value)], expected_version=ANY)


async def main(url: str) -> None:
    async with Backstory(url) as story:
        store = story.store

        many = [new(value) for value in range(1_000)]  # the most that one append takes
        receipt = await store.append("sensor-a", many, expected_version=NO_STREAM)
        print(f"one append of 1,000 events: versions 1 to {receipt.last_version}")

        receipts = await store.append_many(
            [
                StreamAppend("sensor-b", [new(1)], NO_STREAM),
                StreamAppend("sensor-c", [new(2)], NO_STREAM),
            ]
        )
        print("two streams in one commit:", [receipt.stream_id for receipt in receipts])

        async with anyio.create_task_group() as callers:
            for value in range(200):
                callers.start_soon(append_one, store, value)
        versions = [recorded.version async for recorded in story.read_stream("sensor-d")]
        dense = versions == list(range(1, 201))
        print(f"200 callers at once: {len(versions)} events, dense: {dense}")


with TemporaryDirectory() as folder:
    anyio.run(main, f"sqlite:///{Path(folder, 'sensors.db')}")
