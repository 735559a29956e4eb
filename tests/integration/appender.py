"""A client of an SQLite store that writes its history, for `check_history`.

    appender.py PATH HISTORY NAME append COUNT
    appender.py PATH HISTORY NAME follow
    appender.py PATH HISTORY NAME project balances|seats

One that appends waits for the start mark and then makes so many appends to ten streams that all
processes share, each at the version that it has read, and repeats it at a later one as long as it
meets a conflict. One in ten goes to two streams at once, and one in ten takes a seat, on condition
that nobody has it. One that follows or projects ends when it has seen the end mark.

It writes a line when it is ready, around each append, and at the end a line that says how it went.
"""

import json
import random
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from backstory import (
    ANY,
    AppendCondition,
    Backstory,
    ConflictError,
    Event,
    EventStore,
    Metadata,
    NewEvent,
    Projection,
    RecordedEvent,
    StreamAppend,
    on,
    where,
)
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import HistoryWriter, WitnessedStore

STREAM_COUNT = 10


class Entered(Event, type="ledger:entered"):
    """An amount was entered."""

    by: str
    amount: int
    padding: str = ""


class SeatTaken(Event, type="ledger:seat_taken"):
    """A seat was taken, which only one process can."""

    by: str
    seat: int


class Marked(Event, type="ledger:marked"):
    """The load begins, or is over."""


START = "mark-start"
END = "mark-end"


class Balances(Projection, name="ledger balances"):
    """Sums and counts the entries of each stream."""

    total_of: dict[str, int] = {}
    version_of: dict[str, int] = {}

    @on(Entered)
    def _entered(self, event: Entered, recorded: RecordedEvent) -> None:
        total = self.total_of.get(recorded.stream_id, 0)
        self.total_of[recorded.stream_id] = total + event.amount
        self.version_of[recorded.stream_id] = recorded.version


class Seats(Projection, name="ledger seats"):
    """Knows who has which seat; what is rare in the log."""

    taken_by: dict[int, str] = {}
    last_position: int = 0

    @on(SeatTaken)
    def _taken(self, event: SeatTaken, recorded: RecordedEvent) -> None:
        self.taken_by[event.seat] = event.by
        self.last_position = recorded.position


PROJECTIONS: dict[str, type[Projection]] = {"balances": Balances, "seats": Seats}


def say(**said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


class Appender:
    """Appends, and counts how often it has to try again."""

    def __init__(self, store: EventStore, name: str) -> None:
        self._store = store
        self._name = name
        self._chance = random.Random(name)  # noqa: S311 - not for secrets
        self._retries: list[int] = []
        self._waits: list[float] = []

    async def run(self, count: int) -> None:
        begun_at = time.monotonic()
        for number in range(count):
            say(begun=number)
            await self._append()
            say(done=number)
        say(
            appends=len(self._retries),
            retries=sum(self._retries),
            retries_max=max(self._retries, default=0),
            wait_seconds_max=max(self._waits, default=0.0),
            seconds=time.monotonic() - begun_at,
        )

    async def _append(self) -> None:
        kind = self._chance.randrange(10)
        if kind == 0:
            await self._until_done(self._take_seat)
            return
        streams = self._chance.sample(range(STREAM_COUNT), k=2 if kind == 1 else 1)
        entries = {f"account-{stream}": self._entries() for stream in streams}
        await self._until_done(lambda: self._enter(entries))

    async def _until_done(self, attempt: Callable[[], Awaitable[None]]) -> None:
        begun_at, retries = time.monotonic(), 0
        while True:
            try:
                await attempt()
            except ConflictError:
                retries += 1
            else:
                break
        self._retries.append(retries)
        self._waits.append(time.monotonic() - begun_at)

    def _entries(self) -> list[NewEvent]:
        padding = "x" * self._chance.choice([0, 10, 2_000])
        amount = self._chance.randint(-9, 9)
        count = self._chance.randint(1, 3)
        return [new(Entered(by=self._name, amount=amount, padding=padding)) for _ in range(count)]

    async def _enter(self, entries: dict[str, list[NewEvent]]) -> None:
        await self._store.append_many(
            [
                StreamAppend(stream, events, await self._version(stream))
                for stream, events in entries.items()
            ]
        )

    async def _version(self, stream_id: str) -> int:
        async for recorded in self._store.read_stream(stream_id, backward=True, limit=1):
            return recorded.version
        return 0

    async def _take_seat(self) -> None:
        """Take the seat behind the last one that is taken."""
        seat, position = 1, 0
        async for recorded in self._store.read_log(
            where=where(types=[SeatTaken]), backward=True, limit=1
        ):
            assert isinstance(recorded.data, SeatTaken)
            seat, position = recorded.data.seat + 1, recorded.position
        await self._store.append(
            f"seat-{seat}",
            [new(SeatTaken(by=self._name, seat=seat), f"seat:{seat}")],
            expected_version=ANY,
            condition=AppendCondition(where(types=[SeatTaken]), position),
        )


def new(event: Event, *tags: str) -> NewEvent:
    return NewEvent.of(event, event_id=uuid.uuid4(), metadata=Metadata(tags=tags))


async def wait_for(store: EventStore, mark: str) -> None:
    """Say that this process is ready, and wait for the next event on a stream."""
    head = await store.head()
    async with store.subscribe(after_position=head, where=where(streams=[mark])) as subscription:
        say(ready=True)
        await anext(subscription)


async def follow(store: EventStore) -> None:
    async with store.subscribe() as subscription:
        say(ready=True)
        count = 0
        async for recorded in subscription:
            count += 1
            if recorded.stream_id == END:
                break
    say(received=count)


async def project(store: EventStore, name: str) -> None:
    projection = PROJECTIONS[name]
    async with Backstory(store, projections=[projection]) as story:
        await wait_for(store, END)
        await story.read_model(projection)
    say(projected=name)


async def main() -> None:
    path, history_path, name, role, *arguments = sys.argv[1:]
    with HistoryWriter(history_path) as history:
        history.measure()
        async with WitnessedStore(SQLiteStore(path), history) as store:
            if role == "append":
                await wait_for(store, START)
                await Appender(store, name).run(int(arguments[0]))
            elif role == "follow":
                await follow(store)
            else:
                await project(store, arguments[0])
        history.measure()


if __name__ == "__main__":
    anyio.run(main)
