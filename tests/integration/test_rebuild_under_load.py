"""A read model is built anew beside the one that serves: readers see a whole one all the time."""

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from tests.faults.account import faults
from tests.integration.process import lines, output, start
from tests.integration.rebuilding import Placed

from backstory import (
    ANY,
    Backstory,
    EventStore,
    NewEvent,
    RecordedEvent,
    TableProjection,
    TableStatementError,
    on,
    store_of,
)

pytestmark = pytest.mark.anyio

TABLES = {
    "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'places__*'",
    "postgresql": "SELECT tablename::text FROM pg_tables"
    " WHERE schemaname = current_schema() AND tablename LIKE 'places\\_\\_%'",
}


@dataclass
class Watched:
    """What a reader has seen of the read model, and what was appended meanwhile."""

    store: EventStore
    look_count: int = 0
    last: int = 0
    appended: int = 0
    faults: list[str] = field(default_factory=list[str])
    is_over: bool = False

    async def look(self) -> None:
        while not self.is_over:
            try:
                found = await self.store.query_tables(
                    "SELECT count(*), coalesce(max(position), 0) FROM places__places"
                )
            except TableStatementError:
                await anyio.lowlevel.checkpoint()
                continue  # the first one is not built yet
            ((count, last),) = found.rows
            assert isinstance(count, int)
            assert isinstance(last, int)
            if count != last or last < self.last:
                self.faults.append(f"{count} rows up to {last}, after {self.last}")
            self.last, self.look_count = last, self.look_count + 1

    async def load(self) -> None:
        while not self.is_over:
            await self.append(
                1
            )  # slower than it is folded, or a build would never have come as far

    async def append(self, event_count: int) -> None:
        events = [
            NewEvent.of(Placed(number=number), event_id=uuid.uuid4())
            for number in range(event_count)
        ]
        await self.store.append("place-1", events, expected_version=ANY)
        self.appended += event_count


@asynccontextmanager
async def watched(url: str) -> AsyncGenerator[Watched]:
    async with store_of(url) as store:
        seen = Watched(store)
        yield seen


@pytest.mark.fault(20, "T11", without="the wait until it is built")
@pytest.mark.parametrize(
    "event_count",
    [5_000, pytest.param(200_000, marks=[pytest.mark.slow, pytest.mark.timeout(400)])],
)
async def test_reader_sees_a_whole_read_model_all_the_time(
    url_of: Callable[[str], str], event_count: int
) -> None:
    url = url_of("story")
    async with watched(url) as seen:
        for _ in range(event_count // 1_000):
            await seen.append(1_000)
        async with anyio.create_task_group() as group:
            group.start_soon(seen.look)
            group.start_soon(seen.load)
            await anyio.to_thread.run_sync(kill_half_way, url, event_count)
            await anyio.to_thread.run_sync(build, url)
            seen.is_over = True

        assert seen.faults == []
        assert seen.look_count > 10
        tables = await seen.store.query_tables(TABLES[url.partition(":")[0]])
        assert tables.rows == [("places__places__2",)]
    await anyio.to_thread.run_sync(build, url)  # whatever was appended last


def kill_half_way(url: str, event_count: int) -> None:
    """Start a program that builds the read model anew, and kill it when half of it is built."""
    with start("rebuilding.py", url) as process:
        said = lines(process)
        assert next(said) == "serves"
        anyio.run(half_built, url, event_count // 2)
        process.kill()
        faults.count()
        rest = output(process).read()
    assert b"built" not in rest, "it was too fast to be killed half-way"


async def half_built(url: str, position: int) -> None:
    async with store_of(url, read_only=True) as store:
        while True:
            checkpoint = await store.load_checkpoint("places (building)")
            if checkpoint is not None and checkpoint.position >= position:
                return
            await anyio.lowlevel.checkpoint()


def build(url: str) -> None:
    with start("rebuilding.py", url) as process:
        said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    assert said.split() == [b'"serves"', b'"built"']


class PlacedCount(TableProjection, name="placed-count"):
    """Counts: what is folded twice counts twice."""

    schema = ("CREATE TABLE {counts} (total INTEGER)", "INSERT INTO {counts} VALUES (0)")

    @on(Placed)
    def _placed(self, event: Placed, recorded: RecordedEvent) -> None:
        self.execute("UPDATE {counts} SET total = total + 1")

    async def total(self) -> object:
        return (await self.read_rows("SELECT total FROM {counts}"))[0][0]


@pytest.mark.slow
@pytest.mark.fault(20, "T11", without="the look for the checkpoint of a build")
async def test_reset_in_the_middle_of_a_rebuild_leaves_nothing_half_built(
    store: EventStore,
) -> None:
    seen = Watched(store)
    for _ in range(8):
        await seen.append(1_000)
    async with Backstory(store, projections=[PlacedCount]) as story:
        await story.read_model(PlacedCount)
        await story.projections.rebuild(PlacedCount, timeout_seconds=0)
        while not (story.projections.status(PlacedCount).building_position or 0):
            await anyio.lowlevel.checkpoint()
        faults.count()
        assert await story.projections.reset(PlacedCount)
        assert await story.projections.rebuild(PlacedCount)

        assert await (await story.read_model(PlacedCount)).total() == 8_000
