"""A client of a PostgreSQL store that writes its history, for `check_history`.

    client.py URL HISTORY NAME SETTINGS buy COUNT
    client.py URL HISTORY NAME SETTINGS crowd COUNT
    client.py URL HISTORY NAME SETTINGS work TASK_COUNT COUNT

One that buys takes so many seats, each on condition that nobody has it. One of a crowd appends so
often to the one stream of all. One that works runs so many tasks, which each append so often to
streams that all share, now and then to two at once; a follower, a projection in memory and one in
tables run beside them until the end mark. All wait for the start mark.

An append is made at the version that was read, and after a conflict again at a later one. What the
store did not do, or may have done, is repeated as it was, with the same event ids.

It writes a line when it is ready, and one when it has appended.
"""

import json
import random
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import anyio
from tests.faults.postgres.opened import store_on
from tests.integration.appender import END, START, Balances, Entered, SeatTaken, new, say, wait_for

from backstory import (
    ANY,
    AppendCondition,
    Backstory,
    ConflictError,
    EventStore,
    NewEvent,
    Receipt,
    RecordedEvent,
    StoreUnavailableError,
    StreamAppend,
    TableProjection,
    on,
    where,
)
from backstory.testing import HistoryWriter, WitnessedStore

T = TypeVar("T")
Call = Callable[[], Awaitable[Sequence[Receipt]]]

STREAM_COUNT: Final = 40
PAUSE_SECONDS: Final = 0.05


class Accounts(TableProjection, name="accounts"):
    """Sums and counts the entries of each stream, in a table."""

    schema = ("CREATE TABLE {accounts} (id TEXT PRIMARY KEY, total BIGINT, entries BIGINT)",)

    @on(Entered)
    def _entered(self, event: Entered, recorded: RecordedEvent) -> None:
        self.execute(
            "INSERT INTO {accounts} AS a VALUES ($1, $2, 1) ON CONFLICT (id) DO UPDATE "
            "SET total = a.total + excluded.total, entries = a.entries + 1",
            *(recorded.stream_id, event.amount),
        )

    async def read_accounts(self) -> dict[str, tuple[int, int]]:
        """Return the total and the number of entries of each stream."""
        rows = await self.read_rows("SELECT id, total, entries FROM {accounts}")
        return {id: (total, entries) for id, total, entries in rows}


class Client:
    """Appends until it is done, whatever comes in between, and counts that."""

    def __init__(self, store: EventStore, name: str) -> None:
        self._store = store
        self._name = name
        self._chance = random.Random(name)  # noqa: S311 - not for secrets
        self.conflict_count = 0
        self.repetition_count = 0
        self.retry_count_max = 0

    async def buy(self, count: int) -> None:
        """Take seats, each the one behind the last that is taken."""
        for _ in range(count):
            await self._until_done(self._seat)

    async def crowd(self, count: int) -> None:
        """Append to the one stream of all."""
        for _ in range(count):
            await self._until_done(partial(self._enter, {"hot-1": self._entries()}))

    async def work(self, count: int) -> None:
        """Append to streams that all share."""
        for _ in range(count):
            kind = self._chance.randrange(20)
            if kind == 0:
                await self._until_done(self._seat)
                continue
            streams = self._chance.sample(range(STREAM_COUNT), k=2 if kind == 1 else 1)
            entries = {f"account-{stream}": self._entries() for stream in streams}
            await self._until_done(partial(self._enter, entries))

    async def _until_done(self, prepare: Callable[[], Awaitable[Call]]) -> None:
        retry_count = 0
        while True:
            call = await self._patiently(prepare)
            try:
                await self._patiently(call)
            except ConflictError:
                retry_count += 1
            else:
                break
        self.conflict_count += retry_count
        self.retry_count_max = max(self.retry_count_max, retry_count)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await call()
            except StoreUnavailableError:
                self.repetition_count += 1
                await anyio.sleep(PAUSE_SECONDS)

    def _entries(self) -> list[NewEvent]:
        amount = self._chance.randint(-9, 9)
        count = self._chance.randint(1, 3)
        return [new(Entered(by=self._name, amount=amount)) for _ in range(count)]

    async def _enter(self, entries: dict[str, list[NewEvent]]) -> Call:
        parts = [
            StreamAppend(stream, events, await self._version(stream))
            for stream, events in entries.items()
        ]
        return lambda: self._store.append_many(parts)

    async def _version(self, stream_id: str) -> int:
        async for recorded in self._store.read_stream(stream_id, backward=True, limit=1):
            return recorded.version
        return 0

    async def _seat(self) -> Call:
        seat, position = 1, 0
        async for recorded in self._store.read_log(
            where=where(types=[SeatTaken]), backward=True, limit=1
        ):
            assert isinstance(recorded.data, SeatTaken)
            seat, position = recorded.data.seat + 1, recorded.position
        part = StreamAppend(
            f"seat-{seat}", [new(SeatTaken(by=self._name, seat=seat), f"seat:{seat}")], ANY
        )
        condition = AppendCondition(where(types=[SeatTaken]), position)
        return lambda: self._store.append_many([part], condition=condition)

    def report(self) -> None:
        """Say what came in between."""
        say(
            conflicts=self.conflict_count,
            repetitions=self.repetition_count,
            retries_max=self.retry_count_max,
        )


async def work(store: EventStore, client: Client, task_count: int, count: int) -> None:
    """Append with many tasks, a follower and two projections beside them."""
    async with Backstory(store, projections=[Accounts, Balances]) as story:
        async with anyio.create_task_group() as following:
            following.start_soon(follow, store)
            await wait_for(store, START)
            async with anyio.create_task_group() as working:
                for _ in range(task_count):
                    working.start_soon(client.work, count)
            client.report()
        for projection in (Accounts, Balances):
            await story.read_model(projection)


async def follow(store: EventStore) -> None:
    """Read all that is appended, from the first event to the end mark."""
    async with store.subscribe() as subscription:
        async for recorded in subscription:
            if recorded.stream_id == END:
                break


async def main() -> None:
    url, history_path, name, settings, role, *numbers = sys.argv[1:]
    counts = list(map(int, numbers))
    with HistoryWriter(history_path) as history:
        history.measure()
        async with WitnessedStore(store_on(url, **json.loads(settings)), history) as store:
            client = Client(store, name)
            if role == "work":
                await work(store, client, *counts)
            else:
                await wait_for(store, START)
                await (client.buy if role == "buy" else client.crowd)(*counts)
                client.report()
        history.measure()


if __name__ == "__main__":
    anyio.run(main)
