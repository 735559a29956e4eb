"""How the PostgreSQL store reads: along which indexes, how much of the log, how many bytes."""

import json
import secrets
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest
from msgspec.structs import replace
from tests.conftest import Listed, Noted, drain, new_event, noted
from tests.servers.postgres import PostgresServer

from backstory import (
    ANY,
    CorruptLogError,
    EventFilter,
    LogRead,
    Metadata,
    RecordedEvent,
    Snapshot,
    StreamRead,
    where,
)
from backstory._clock import to_microseconds
from backstory._progress import Progress
from backstory._snapshot import Checkpoint
from backstory.stores.postgres import PostgresStore
from backstory.stores.postgres._migrate import INDEXES
from backstory.stores.postgres._query import (
    READ_SETTINGS,
    Query,
    log_query,
    moment,
    stream_query,
)
from backstory.stores.postgres._query import microseconds as microseconds_of
from backstory.stores.postgres._read import read_page, read_stream_page
from backstory.stores.postgres._statement import statement

pytestmark = pytest.mark.anyio

SCHEMA: Final = '"backstory"'
EVENT_COUNT: Final = 200_000
PAGE: Final = 1_000
VISITED_MAX: Final = 6 * PAGE
"""Rows of tables and indexes that a page may look at; every read of the log as a whole is over."""

FILL: Final = """
    INSERT INTO backstory.events (
        position, stream_id, version, event_id, type, schema_version, recorded_at, metadata, data,
        hash, digest
    )
    SELECT
        p,
        CASE WHEN p % 4 = 0 THEN 'tale-long' ELSE 'task-' || other % 10000 END,
        CASE WHEN p % 4 = 0 THEN p / 4 ELSE other / 10000 + 1 END,
        gen_random_uuid(),
        CASE
            WHEN p % 50000 = 7 THEN 'test:rare'
            WHEN p <= $1 / 2 AND p % 2 = 0 THEN 'test:early'
            ELSE 'test:' || p % 12
        END,
        1,
        timestamptz '2026-01-01Z' + p * interval '1 second',
        json_build_object(
            'correlation_id', 'c' || p / 10,
            'causation_id', 'k' || p / 5,
            'actor', 'a' || p % 40,
            'tags', array_remove(ARRAY[
                'seat:' || p % 20000,
                CASE WHEN p % 2 = 1 THEN 'half' END,
                CASE WHEN p % 60000 = 1 THEN 'few' END
            ], NULL)
        ),
        json_build_object('text', repeat('x', 100)),
        sha256(''),
        sha256('')
    FROM (SELECT p, p - p / 4 - 1 AS other FROM generate_series(1, $1::bigint) AS p) AS p
"""


@pytest.fixture(scope="module")
def logs(postgres_server: PostgresServer) -> Iterator[dict[str, str]]:
    """Yield the URLs of two large logs, with the statistics that ANALYZE makes and without any."""
    fresh = postgres_server.create_database()
    analyzed = f"{fresh}_analyzed"
    anyio.run(create_store, fresh)
    for sql in ("ALTER TABLE backstory.events SET (autovacuum_enabled = off)", FILL):
        postgres_server.execute(sql, *([EVENT_COUNT] if sql is FILL else []), url=fresh)
    names = [urlsplit(url).path.removeprefix("/") for url in (analyzed, fresh)]
    postgres_server.execute(f"CREATE DATABASE {names[0]} TEMPLATE {names[1]}")
    postgres_server.execute("VACUUM ANALYZE backstory.events", url=analyzed)
    yield {"analyzed": analyzed, "fresh": fresh}
    for url in (analyzed, fresh):
        postgres_server.drop_database(url)


async def create_store(url: str) -> None:
    async with PostgresStore(url):
        pass


@asynccontextmanager
async def reader(url: str) -> AsyncGenerator[Any]:
    """Connect as the store does to read."""
    db = await asyncpg.connect(url, server_settings=READ_SETTINGS)
    try:
        yield db
    finally:
        await db.close()


async def explained(db: Any, query: Query) -> list[dict[str, Any]]:
    """Run a query, and return the nodes of its plan with what they did."""
    sql = f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS, FORMAT JSON) {query.sql}"
    return list(nodes(json.loads(await db.fetchval(sql, *query.parameters))[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def visited(plan: list[dict[str, Any]]) -> int:
    """Return how many rows of the log and its indexes were looked at."""
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in plan
        if "Relation Name" in node or node["Node Type"] == "Bitmap Index Scan"
    )


def reads_of(wanted: EventFilter) -> list[LogRead]:
    """Return reads of a page at the beginning, in the middle and at the end, and of a match."""
    middle = EVENT_COUNT // 2
    return [
        *(LogRead(after, None, wanted, False, PAGE) for after in (0, middle, EVENT_COUNT - 100)),
        LogRead(middle, middle + 5 * PAGE, wanted, True, PAGE),
        LogRead(0, None, wanted, True, 1),
        LogRead(EVENT_COUNT - 100, None, wanted, True, 1),
    ]


FILTERS: Final = {
    "every_event": EventFilter(),
    "type": where(types=["test:3"]),
    "rare_type": where(types=["test:rare"]),
    "absent_type": where(types=["test:absent"]),
    "early_type": where(types=["test:early"]),
    "several_types": where(types=["test:3", "test:5", "test:rare", "test:early", "test:absent"]),
    "category": where(categories=["tale"]),
    "absent_category": where(categories=["absent"]),
    "correlation_id": where(correlation_id="c777"),
    "causation_id": where(causation_id="k777"),
    "actor": where(actor="a7"),
    "absent_actor": where(actor="absent"),
    "stream": where(streams=["task-7"]),
    "long_stream": where(streams=["tale-long"]),
    "several_streams": where(streams=["tale-long", "task-7", "task-8", "task-absent"]),
    "items": where(types=["test:3"]) | where(streams=["tale-long"]) | where(actor="a7"),
}
TAGS: Final = {
    "dense_tag": where(tags=["half"]),
    "seat": where(tags=["seat:7"]),
    "rare_tag": where(tags=["few"]),
    "absent_tag": where(tags=["absent"]),
    "tags_and_types": where(tags=["seat:7", "half"], types=["test:3", "test:7"]),
    "items": where(tags=["seat:7"], types=["test:7"]) | where(types=["test:rare"]),
    "many_absent_types": where(types=[f"test:absent{number}" for number in range(12)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["analyzed", "fresh"])
@pytest.mark.parametrize("name", FILTERS)
async def test_page_costs_the_same_wherever_it_lies(
    logs: dict[str, str], name: str, statistics: str
) -> None:
    async with reader(logs[statistics]) as db:
        for read in reads_of(FILTERS[name]):
            plan = await explained(db, log_query(read, SCHEMA))

            assert not any(node["Node Type"] == "Seq Scan" for node in plan), read
            assert visited(plan) <= VISITED_MAX, read


@pytest.mark.slow
@pytest.mark.parametrize("name", TAGS)
async def test_index_without_order_is_used_where_little_matches(
    logs: dict[str, str], name: str
) -> None:
    async with reader(logs["analyzed"]) as db:
        for read in reads_of(TAGS[name]):
            plan = await explained(db, log_query(read, SCHEMA))

            assert not any(node["Node Type"] == "Seq Scan" for node in plan), read
            assert visited(plan) <= VISITED_MAX, read


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["analyzed", "fresh"])
async def test_page_of_a_stream_costs_the_same_wherever_it_lies(
    logs: dict[str, str], statistics: str
) -> None:
    last = EVENT_COUNT // 4
    async with reader(logs[statistics]) as db:
        for after, until_version, until_position, is_backward in (
            (0, None, None, False),
            (last // 2, None, None, False),
            (last - 10, None, None, False),
            (0, None, None, True),
            (0, last // 2, None, True),
            (0, None, 4_000, False),
            (0, None, 4_000, True),
            (0, None, EVENT_COUNT // 2, True),
        ):
            read = StreamRead(
                *("tale-long", after, until_version, until_position, EventFilter()),
                backward=is_backward,
                limit=PAGE,
            )
            plan = await explained(db, stream_query(read, SCHEMA))

            assert not any(node["Node Type"] == "Seq Scan" for node in plan), read
            assert visited(plan) <= VISITED_MAX, read


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["analyzed", "fresh"])
async def test_listing_streams_looks_at_each_once_or_twice(
    logs: dict[str, str], statistics: str
) -> None:
    async with reader(logs[statistics]) as db:
        for after, until in (("", "\U0010ffff"), ("tale-", "tale."), ("task-5", "task.")):
            query = Query(statement("list_streams", SCHEMA), (after, until, 100))

            assert visited(await explained(db, query)) <= 250


@pytest.mark.slow
async def test_heads_of_many_streams_are_looked_up_one_by_one(logs: dict[str, str]) -> None:
    stream_ids = ["tale-long", *(f"task-{number}" for number in range(999))]
    async with reader(logs["fresh"]) as db:
        plan = await explained(db, Query(statement("read_stream_heads", SCHEMA), (stream_ids,)))

    assert visited(plan) == len(stream_ids)


LARGE: Final = [Noted(text=secrets.token_hex(450_000)) for _ in range(3)]


async def test_page_ends_when_it_has_become_large(postgres_url: str) -> None:
    async with PostgresStore(postgres_url) as store:
        for _ in range(4):
            events = [new_event(event) for event in LARGE]
            await store.append("note-1", events, expected_version=ANY)
        await store.append("note-1", noted("small"), expected_version=ANY)

        page = await store.read_page(LogRead(0, None, EventFilter(), False, PAGE))
        read = StreamRead("note-1", 0, None, None, EventFilter(), True, PAGE)
        stream_page = await store.read_stream_page(read)

        assert [event.position for event in page.events] == [1, 2, 3, 4, 5]
        assert (page.reached, page.is_last) == (5, False)
        assert [event.version for event in stream_page.events] == [13, 12, 11, 10, 9, 8]
        assert not stream_page.is_last
        assert [len(await store.read_sealed_page(0, PAGE))] == [5]
        assert [event.position for event in await drain(store.read_log())] == list(range(1, 14))


async def test_large_events_behind_a_page_are_not_read(postgres_url: str) -> None:
    async with PostgresStore(postgres_url) as store:
        for _ in range(8):
            events = [new_event(event) for event in LARGE]
            await store.append("note-1", events, expected_version=ANY)
    read = LogRead(0, None, EventFilter(), False, PAGE)

    async with reader(postgres_url) as db:
        (plan, *_) = await explained(db, log_query(read, SCHEMA))

    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert blocks * 8_192 < 2 * 5 * 900_000  # five of the 24 events, and what leads to them


SMALL: Final = (
    EventFilter(),
    where(types=["test:noted"]),
    where(types=["test:noted", "test:listed", "test:absent"]),
    where(categories=["task", "note"], types=["test:listed"]),
    where(streams=["task-1"]),
    where(streams=["task-1", "note-1"], actor="ada"),
    where(correlation_id="c1"),
    where(causation_id="k1"),
    where(actor="bob"),
    where(tags=["x"]),
    where(tags=["x", "y"], types=["test:noted"]),
    where(tags=["x"]) | where(types=["test:listed"]) | where(streams=["task-1"]),
    where(recorded_after=datetime(2020, 1, 1, tzinfo=UTC)),
    where(recorded_until=datetime(2020, 1, 1, tzinfo=UTC)),
)


async def write_some(store: PostgresStore) -> list[RecordedEvent]:
    for number in range(30):
        metadata = Metadata(
            actor=("ada", "bob", None)[number % 3],
            correlation_id=f"c{number % 4}",
            causation_id="k1" if number % 5 == 0 else None,
            tags=tuple(tag for tag, step in (("x", 2), ("y", 3)) if number % step == 0),
        )
        event = Noted(text="a") if number % 4 else Listed(words=["w"])
        stream_id = ("task-1", "note-1", "task-2")[number % 3]
        await store.append(stream_id, [new_event(event, metadata=metadata)], expected_version=ANY)
    return await drain(store.read_log())


async def pages_of(db: Any, wanted: EventFilter, *, backward: bool) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    read = LogRead(3, 28, wanted, backward, 4)
    while not (page := await read_page(db, SCHEMA, read)).is_last:
        events += page.events
        end = page.events[-1].position
        read = (
            replace(read, until_position=end - 1)
            if backward
            else replace(read, after_position=page.reached)
        )
    return events + page.events


@pytest.mark.parametrize("dropped", [*sorted(INDEXES), "all of them"])
async def test_missing_index_changes_no_answer(postgres_url: str, dropped: str) -> None:
    async with PostgresStore(postgres_url) as store:
        events = await write_some(store)
    among = events[3:28]

    async with reader(postgres_url) as db:
        for name in INDEXES if dropped == "all of them" else [dropped]:
            await db.execute(f"DROP INDEX backstory.events_{name}")
        for wanted in SMALL:
            matching = [event for event in among if wanted.matches(event)]
            assert await pages_of(db, wanted, backward=False) == matching
            assert await pages_of(db, wanted, backward=True) == matching[::-1]
            of_stream = StreamRead("task-1", 1, None, 25, wanted, False, PAGE)
            assert (await read_stream_page(db, SCHEMA, of_stream)).events == [
                event
                for event in events[:25]
                if event.stream_id == "task-1" and event.version > 1 and wanted.matches(event)
            ]


async def test_page_says_how_far_it_has_looked(postgres_url: str) -> None:
    async with PostgresStore(postgres_url) as store:
        await write_some(store)
        absent = where(types=["test:absent"])

        for read, reached in (
            (LogRead(0, None, absent, False, 10), 30),
            (LogRead(0, 20, absent, False, 10), 20),
            (LogRead(0, 99, absent, False, 10), 30),
            (LogRead(40, None, absent, False, 10), 40),
            (LogRead(5, None, EventFilter(), False, 10), 15),
        ):
            page = await store.read_page(read)
            assert (page.reached, page.is_last) == (reached, reached != 15)


@pytest.mark.parametrize(
    "microseconds",
    [
        to_microseconds(datetime.min.replace(tzinfo=UTC)),
        to_microseconds(datetime.max.replace(tzinfo=UTC)),
        *(-62_135_596_799_999_999, -1, 0, 1, 999_999, 1_800_000_000_123_457),
        *(-86_400_000_001, -86_400_000_000, 253_402_300_799_999_998),
    ],
)
async def test_times_are_exact(postgres_server: PostgresServer, microseconds: int) -> None:
    sql = f"SELECT (extract(epoch FROM {moment('$1')}) * 1000000)::bigint"  # noqa: S608 - fixed pieces

    assert postgres_server.execute(sql, microseconds)[0][0] == microseconds
    back = f"SELECT {microseconds_of(moment('$1'))}"
    assert postgres_server.execute(back, microseconds)[0][0] == microseconds


def test_no_value_stands_in_a_statement() -> None:
    hostile = "x'; DROP TABLE events; --"
    wanted = where(tags=[hostile], actor=hostile, correlation_id=hostile)
    wanted |= where(streams=[f"task-{hostile}"], causation_id=hostile)

    queries = (
        log_query(LogRead(1, 2, wanted, False, 3), SCHEMA),
        stream_query(StreamRead(f"task-{hostile}", 1, 2, 3, wanted, False, 4), SCHEMA),
    )

    for query in queries:
        assert "DROP" not in query.sql
        assert hostile in query.parameters


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("DROP TABLE notes", "the table notes is missing"),
        ("DROP FUNCTION take_turn CASCADE", "the function take_turn is missing"),
        (
            "ALTER TABLE events DROP CONSTRAINT events_version",
            "the constraint events_version is missing",
        ),
        ("ALTER TABLE events DROP CONSTRAINT events_pkey", "the constraint events_pkey is missing"),
        (
            "DROP TRIGGER events_are_not_changed ON events",
            "the trigger events_are_not_changed is missing",
        ),
        (
            "ALTER TABLE events DISABLE TRIGGER events_are_not_changed",
            "the trigger events_are_not_changed is disabled",
        ),
        (
            "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'events_type'::regclass",
            "the index events_type is invalid",
        ),
    ],
)
async def test_what_the_schema_lacks_is_named(postgres_url: str, change: str, found: str) -> None:
    async with PostgresStore(postgres_url) as store:
        assert await store.check_engine() == []
        async with reader(postgres_url) as db:
            await db.execute("SET search_path = backstory")
            await db.execute(change)

        said = await store.check_engine()

    assert any(one.startswith(found) for one in said)


async def test_saved_state_ahead_of_the_log_is_named(postgres_url: str) -> None:
    async with PostgresStore(postgres_url) as store:
        await store.append("note-1", noted("a"), expected_version=0)
        await store.save_snapshot(Snapshot("note-1", 1, "f", b"{}"))
        await store.save_snapshot(Snapshot("note-1", 2, "f", b"{}"))
        await store.save_progress(Progress(Checkpoint("Counts", 1, "f", b"{}")))
        await store.save_progress(Progress(Checkpoint("It's ahead", 2, "f", b"{}")))

        found = await store.check_engine()

    assert found == [
        "the snapshot of stream 'note-1' at version 2 is ahead of the stream",
        "the checkpoint of projection 'It''s ahead' at position 2 is ahead of the log",
    ]


@pytest.mark.parametrize("column", ["hash", "digest"])
async def test_hash_that_has_lost_its_form_is_named_by_its_position(
    postgres_url: str, column: str
) -> None:
    async with PostgresStore(postgres_url) as store:
        await store.append("note-1", noted("a", "b", "c"), expected_version=0)
        async with reader(postgres_url) as db:
            await db.execute("ALTER TABLE backstory.events DISABLE TRIGGER ALL")
            await db.execute("ALTER TABLE backstory.events DROP CONSTRAINT events_form")
            sql = f"UPDATE backstory.events SET {column} = 'short' WHERE position = 2"  # noqa: S608 - a parameter of this test
            await db.execute(sql)

        with pytest.raises(CorruptLogError) as damaged:
            await store.read_sealed_page(0, PAGE)
        assert damaged.value.position == 2
        (first,) = await store.read_sealed_page(0, 1)
        (third,) = await store.read_sealed_page(2, 1)

    assert first.hash_before is None
    assert third.position_before == 2
    assert (third.hash_before is None) == (column == "hash")


async def test_statistics_count_what_is_there(postgres_url: str) -> None:
    async with PostgresStore(postgres_url) as store:
        empty = await store.statistics()
        events = await write_some(store)
        counted = await store.statistics()

    assert (empty.event_count, empty.head, empty.oldest) == (0, 0, None)
    assert (counted.event_count, counted.head) == (30, 30)
    assert (counted.oldest, counted.newest) == (events[0].recorded_at, events[-1].recorded_at)
    assert counted.events_by_category == {"note": 10, "task": 20}
    assert counted.streams_by_category == {"note": 1, "task": 2}
    assert counted.size_bytes > empty.size_bytes > 0
