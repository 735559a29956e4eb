"""Snapshots: a load folds what came since the last one, and changed code is noticed.

A meter takes a snapshot every 100 readings. Then a helper that its handler calls is exchanged, as
the next release of a program would; nothing else is changed, and the next load folds the events
again. At the end a handler has done what none should, and looked at a setting: a check in the
background finds that the snapshot no longer says what the events say, and deletes it.

Output:
    read 250 times: 250, from the snapshot at version 200
    at version 150: 150, from the snapshot at version 100
    another helper: 500, folded from the first event
    read 10 more times: 520, from the snapshot at version 260
    another setting: 520, from the snapshot at version 260
    snapshots that were checked: 1, that differed: 1
    so it was deleted: 5200, folded from the first event
"""

import os

import anyio
import anyio.lowlevel

from backstory import Aggregate, Backstory, Event, Repository, on
from backstory.stores.in_memory import InMemoryStore


class MeterRead(Event, type="meter:read"):
    count: int = 1


def counted(count: int) -> int:
    return count


def counted_twice(count: int) -> int:
    return count * 2


class Meter(Aggregate, category="meter", snapshot_every=100):
    total: int = 0

    def read(self, times: int) -> None:
        for _ in range(times):
            self.emit(MeterRead())

    @on(MeterRead)
    def _read(self, event: MeterRead) -> None:
        # A handler has only its event to go by; looking at a setting is a mistake.
        self.total += counted(event.count) * int(os.environ.get("METER_FACTOR", "1"))


def show(what: str, meter: Meter) -> None:
    version = meter.snapshot_version
    source = f"from the snapshot at version {version}" if version else "folded from the first event"
    print(f"{what}: {meter.total}, {source}")


async def main() -> None:
    global counted  # noqa: PLW0603 - stands for a new release of the program
    async with InMemoryStore() as store:
        repository = Repository(store)
        for times in (100, 100, 50):
            await repository.execute(Meter.read, "hall", times)
        show("read 250 times", await repository.load(Meter, "hall"))
        show("at version 150", await repository.load(Meter, "hall", at_version=150))

        counted = counted_twice
        show("another helper", await repository.load(Meter, "hall"))
        await repository.execute(Meter.read, "hall", 10)
        show("read 10 more times", await repository.load(Meter, "hall"))

        os.environ["METER_FACTOR"] = "10"
        # One load in a hundred is checked, when nothing else is said.
        async with Backstory(store, shadow_check_share=1) as story:
            show("another setting", await story.load(Meter, "hall"))
            snapshots = story.repository.snapshots
            while not snapshots.check_count:  # a program has other things to do meanwhile
                await anyio.lowlevel.checkpoint()
        count, different = snapshots.check_count, snapshots.difference_count
        print(f"snapshots that were checked: {count}, that differed: {different}")
        show("so it was deleted", await repository.load(Meter, "hall"))


anyio.run(main)
