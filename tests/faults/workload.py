"""A client of an SQLite store that goes on whatever goes wrong, and writes its history.

    workload.py PATH HISTORY DURABILITY SEED

It opens the store twice, so that the log is checkpointed in the middle and at the end, and appends
a few batches each time. An append that fails is made again with the same event ids, and a store
that cannot be opened is opened again, three times each. It ends in good order as long as every
error is a documented one.
"""

import random
import sys
import uuid
from collections.abc import Sequence

import anyio

from backstory import (
    ANY,
    BackstoryError,
    Checkpoint,
    Durability,
    Event,
    EventStore,
    NewEvent,
    Snapshot,
    StreamAppend,
)
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import HistoryWriter, WitnessedStore

ATTEMPT_COUNT = 3


class Worked(Event, type="fault:worked"):
    """Something was done."""

    number: int
    padding: str


class Workload:
    """A few appends, one after the other."""

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - printed, to be repeated
        self._number = 0

    async def run(self, store: EventStore) -> None:
        for size in (0, 6_000):
            events = [self._event(size) for _ in range(self._chance.randint(1, 3))]
            await self._append(store, StreamAppend(self._stream(), events, ANY))
        both = [StreamAppend(f"both-{n}", [self._event(10)], ANY) for n in (1, 2)]
        await self._append(store, *both)
        await self._keep(store)

    def _stream(self) -> str:
        return f"work-{self._chance.randrange(2)}"

    def _event(self, size: int) -> NewEvent:
        self._number += 1
        event = Worked(number=self._number, padding="x" * size)
        return NewEvent.of(event, event_id=uuid.UUID(int=self._chance.getrandbits(128), version=4))

    async def _append(self, store: EventStore, *appends: StreamAppend) -> None:
        for _ in range(ATTEMPT_COUNT):
            try:
                await store.append_many(appends)
            except BackstoryError:
                continue  # it stands in the history
            return

    async def _keep(self, store: EventStore) -> None:
        try:
            await store.save_snapshot(Snapshot("work-0", 1, "f", b"{}"))
            await store.save_checkpoint(Checkpoint("Works", 1, "f", b"{}"))
        except BackstoryError:
            pass  # likewise


async def main(arguments: Sequence[str]) -> None:
    path, history_path, durability, seed = arguments
    workload = Workload(seed)
    with HistoryWriter(history_path) as history:
        for _ in range(2):
            for _ in range(ATTEMPT_COUNT):
                witnessed = WitnessedStore(
                    SQLiteStore(path, durability=Durability(durability)), history
                )
                try:
                    async with witnessed as store:
                        await workload.run(store)
                except BackstoryError:
                    continue  # likewise
                break


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
