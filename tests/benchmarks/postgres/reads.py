"""What reads from PostgreSQL: a load, a replay, and what follows the log.

Ours and raw are what they are on SQLite. In tables, each event is one row that is inserted, in a
statement for each, and each page is a transaction; ours keeps its checkpoint in it.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, Final

from tests.benchmarks.appends import BATCH_SIZE
from tests.benchmarks.bench import Bench
from tests.benchmarks.meter import Measured, Meter, Total, parts
from tests.benchmarks.postgres import rows
from tests.benchmarks.postgres.database import analyze, database, stores
from tests.benchmarks.postgres.raw import RawStore
from tests.benchmarks.row import Result
from tests.benchmarks.stream import fill

from backstory import Backstory, EventStore, Repository, TableProjection, on
from backstory.stores.postgres import PostgresStore

_LIMIT_SECONDS: Final = 600


_numbers: Final = count(1)


def _new_projection() -> Any:
    """Return a projection that has never run, and so begins with empty tables of its own."""

    class Rows(TableProjection, name=f"bench-rows-{next(_numbers)}"):
        schema = ("CREATE TABLE {measured} (number BIGINT PRIMARY KEY, text TEXT)",)

        @on(Measured)
        def _measured(self, event: Measured) -> None:
            self.execute("INSERT INTO {measured} VALUES ($1, $2)", event.number, event.text)

        async def count(self) -> int:
            """Return how many rows there are."""
            return int((await self.read_rows("SELECT count(*) FROM {measured}"))[0][0])

    return Rows


async def measure(bench: Bench) -> list[Result]:
    """Measure every row."""
    return [
        *await _load(bench),
        *await _follow(bench),
        *await _follow_in_tables(bench),
    ]


async def _load(bench: Bench) -> list[Result]:
    event_count = bench.scale.load_count
    async with _filled(bench, "meter-1", event_count) as (store, raw):
        repository = Repository(store)

        async def ours() -> None:
            await repository.load(Meter, "1")

        other = partial(raw.read_stream, "meter-1")
        size = f"{event_count:,} events"
        return [
            await bench.alternate(rows.LOAD, size=size, count=event_count, ours=ours, other=other)
        ]


async def _follow(bench: Bench) -> list[Result]:
    event_count = bench.scale.replayed_count
    async with _filled(bench, "meter-2", event_count) as (store, raw):

        async def replay() -> None:
            async with Backstory(store) as story:
                async for _ in story.replay(until_position=event_count):
                    pass

        async def project() -> None:
            await store.delete_checkpoint(Total.projection_name)
            async with Backstory(store, projections=[Total]) as story:
                await story.read_model(Total, timeout_seconds=_LIMIT_SECONDS)

        alternate = partial(bench.alternate, size=f"{event_count:,} events", count=event_count)
        return [
            await alternate(rows.REPLAY, ours=replay, other=raw.read_log),
            await alternate(
                rows.CATCH_UP, ours=project, other=partial(raw.project, Total().measured)
            ),
        ]


async def _follow_in_tables(bench: Bench) -> list[Result]:
    event_count = bench.scale.row_count
    async with _filled(bench, "meter-3", event_count) as (store, raw):
        return [
            await bench.alternate(
                rows.TABLES,
                size=f"{event_count:,} events, a row each",
                count=event_count,
                ours=partial(build_rows, store, event_count),
                other=partial(raw.project_into, "raw_rows"),
            )
        ]


async def build_rows(store: EventStore, event_count: int) -> None:
    """Keep every event of a log as a row of a new table."""
    rows = _new_projection()
    async with Backstory(store, projections=[rows]) as story:
        model = await story.read_model(rows, timeout_seconds=_LIMIT_SECONDS)
        assert await model.count() == event_count
        assert not await story.projections.parked(rows)


@asynccontextmanager
async def _filled(
    bench: Bench, stream_id: str, event_count: int
) -> AsyncGenerator[tuple[PostgresStore, RawStore]]:
    """Open two stores whose log is a stream of so many events."""
    with database(bench) as url:
        async with stores(url) as (store, raw):
            async with bench.building(f"{event_count:,} events on PostgreSQL", event_count):
                await fill(store, stream_id, event_count)
            for size in parts(event_count, BATCH_SIZE):
                await raw.append([stream_id] * size)
            await analyze(url)
            yield store, raw
