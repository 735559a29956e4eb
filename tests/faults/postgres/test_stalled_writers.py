"""Somebody holds the turn, a transaction or a row, and falls asleep: others wait, and not for ever.

No position is given before the turn is had, and the turn is kept until the transaction has ended.
So a writer that stalls holds up appends, for as long as the time limits say, and never the feed of
what has been appended; and whoever has seen a position has seen all before it.
"""

import signal
from collections.abc import AsyncIterator

import anyio
import asyncpg
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, drain, new_event, noted, texts_of
from tests.faults.account import faults
from tests.faults.postgres.clients import Clients
from tests.faults.postgres.opened import (
    SCHEMA,
    check_dense,
    held_turn,
    session_on,
    store_on,
    take,
    until_waiting,
)
from tests.servers.postgres import OwnPostgresServer, PostgresServer
from tests.servers.proxy import Proxy

from backstory import (
    ANY,
    AppendCondition,
    ConditionConflictError,
    EventStore,
    Metadata,
    NewEvent,
    StoreUnavailableError,
    where,
)

pytestmark = pytest.mark.anyio

LAG_SECONDS_MAX = 1.0
"""How long an append may take to reach a follower, whatever else is open on the server."""

NAPS = f"""
CREATE FUNCTION {SCHEMA}.nap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.category = 'slow' THEN PERFORM pg_advisory_xact_lock(7); END IF;
    IF NEW.category = 'doze' THEN PERFORM pg_sleep(random() / 100); END IF;
    IF NEW.category = 'doomed' THEN RAISE EXCEPTION 'doomed'; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER nap AFTER INSERT ON {SCHEMA}.events FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.nap();
"""
"""Lets an append stand still in the middle, before it is committed, or fail there."""


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[EventStore]:
    """Yield a store on a database of the test's own."""
    async with store_on(postgres_url) as store:
        yield store


@pytest.mark.fault(11, "T1", store="postgres", without="the time limit for locks")
async def test_writer_waits_for_a_stalled_one_as_long_as_its_time_limit_says(
    postgres_url: str, store: EventStore
) -> None:
    await store.append("note-1", noted("before"), expected_version=0)
    async with store_on(postgres_url, lock_timeout_seconds=0.2) as waiting:
        async with store.subscribe() as subscription, held_turn(postgres_url):
            faults.count()
            with anyio.fail_after(DEADLINE_SECONDS):
                with pytest.raises(StoreUnavailableError, match="lock timeout") as raised:
                    await waiting.append("note-1", noted("kept out"), expected_version=1)
            assert not raised.value.outcome_unknown
            # Reading needs no turn.
            assert texts_of(await take(subscription, 1)) == ["before"]
            assert await waiting.head() == 1

        receipt = await waiting.append("note-1", noted("after"), expected_version=1)
    assert receipt.last_position == 2


async def until_turn_is_taken(session: asyncpg.Connection) -> None:
    """Wait until somebody has the turn."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while not await session.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND objsubid = 2 AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        ):
            pass


@pytest.mark.slow
@pytest.mark.fault(11, "T1", store="postgres", without="the time limit for idle transactions")
async def test_process_that_is_stopped_while_it_has_the_turn_loses_it(
    postgres_url: str, clients: Clients
) -> None:
    async with (
        clients.witnessed("other") as store,
        Proxy(postgres_url) as proxy,
        session_on(postgres_url) as looking,
    ):
        await store.append("note-1", noted("before"), expected_version=0)
        buyer = clients.start("buy", 1, url=proxy.url, lock_timeout_seconds=1)
        # Slowed down, so that it can be stopped between two statements of its transaction.
        await clients.begin(before=lambda: proxy.delay(0.1))
        await until_turn_is_taken(looking)
        buyer.process.send_signal(signal.SIGSTOP)
        faults.count()

        async with anyio.create_task_group() as group:
            group.start_soon(until_waiting, looking, "%append_events%")
            with anyio.fail_after(DEADLINE_SECONDS):
                await store.append("note-1", noted("after"), expected_version=1)

        proxy.delay(0)
        buyer.process.send_signal(signal.SIGCONT)
        went = await buyer.line()
        await buyer.end()

    assert went["conflicts"] == 0
    verdict = await clients.judge()
    assert verdict.judged.event_count == 4  # two notes, the start mark and the seat
    assert verdict.judged.condition_count == 1


@pytest.mark.fault(11, "T1", store="postgres", without="the lock, and with positions of a sequence")
async def test_reader_sees_nothing_behind_an_append_that_is_not_committed(
    postgres_url: str, store: EventStore
) -> None:
    answered: list[str] = []

    async def append(to: EventStore, name: str) -> None:
        await to.append(f"{name}-1", noted(name, name), expected_version=0)
        answered.append(name)

    async with (
        store_on(postgres_url) as other,
        session_on(postgres_url) as session,
        store.subscribe() as subscription,
    ):
        await session.execute(NAPS)
        await session.execute("SELECT pg_advisory_lock(7)")
        faults.count()
        with anyio.fail_after(DEADLINE_SECONDS):
            async with session_on(postgres_url) as looking, anyio.create_task_group() as group:
                group.start_soon(append, other, "slow")
                await until_waiting(looking, "%append_events%")
                group.start_soon(append, store, "fast")
                # It waits for its turn. If it did not, what it appends would be seen first.
                while not answered and not await is_waiting(looking, count=2):
                    pass
                assert await drain(store.read_log()) == []
                assert not subscription.is_live or await store.head() == 0
                await session.execute("SELECT pg_advisory_unlock(7)")
        seen = await take(subscription, 4)

    assert texts_of(seen) == ["slow", "slow", "fast", "fast"]
    assert answered == ["slow", "fast"]
    assert seen == await check_dense_of(postgres_url)


async def is_waiting(session: asyncpg.Connection, *, count: int) -> bool:
    found = await session.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE '%append_events%' AND datname = current_database()"
    )
    return bool(found >= count)


async def check_dense_of(url: str) -> list[object]:
    async with store_on(url, listen=False) as store:
        return list(await check_dense(store))


@pytest.mark.fault(11, "T1", "T2", "T3", store="postgres", without="the lock in append_events")
@pytest.mark.parametrize(
    ("writer_count", "append_count"),
    [(4, 25), pytest.param(8, 150, marks=[pytest.mark.slow, pytest.mark.timeout(300)])],
)
async def test_follower_that_reads_all_the_time_never_sees_a_hole(
    postgres_url: str, store: EventStore, writer_count: int, append_count: int
) -> None:
    total = writer_count * append_count

    async def write(number: int) -> None:
        async with store_on(postgres_url, listen=False, connection_count_max=1) as writer:
            for count in range(append_count):
                name = "doze" if (number + count) % 3 == 0 else "note"
                events = noted(*["x"] * (1 + count % 3))
                await writer.append(f"{name}-{number}", events, expected_version=ANY)
                await writer.append(f"{name}-shared", noted("y"), expected_version=ANY)

    async with session_on(postgres_url) as session:
        await session.execute(NAPS)
    reads = 0
    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as writing:
            for number in range(writer_count):
                writing.start_soon(write, number)

            async def read_on() -> None:
                nonlocal reads
                while True:
                    page = await store.read_log_page(limit=10_000)
                    positions = [recorded.position for recorded in page.events]
                    assert positions == list(range(1, len(positions) + 1))
                    reads += 1

            group.start_soon(read_on)
        group.cancel_scope.cancel()

    faults.count(reads)
    assert len(await check_dense(store)) > 2 * total


@pytest.mark.fault(
    11, 12, "T2", "T3", "T4", store="postgres", without="positions in place of transaction ids"
)
@pytest.mark.parametrize(
    "seconds", [1.5, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(200)])]
)
@pytest.mark.parametrize("is_same_database", [True, False], ids=["the same", "another"])
async def test_transaction_that_stays_open_holds_nothing_up(
    postgres_server: PostgresServer,
    postgres_url: str,
    store: EventStore,
    seconds: float,
    *,
    is_same_database: bool,
) -> None:
    ended = anyio.Event()

    async def stay(session: asyncpg.Connection) -> None:
        await session.execute(f"SELECT pg_sleep({seconds})")
        await session.execute("COMMIT")
        ended.set()

    count = 0
    other_url = postgres_url if is_same_database else postgres_server.create_database()
    async with session_on(other_url) as session, store.subscribe() as subscription:
        # It writes first, and so has an older transaction id than everything that follows.
        await session.execute("BEGIN; CREATE TABLE own AS SELECT 1 AS one")
        faults.count()
        async with anyio.create_task_group() as group:
            group.start_soon(stay, session)
            while not ended.is_set():
                count += 1
                with anyio.fail_after(LAG_SECONDS_MAX):
                    await store.append(f"note-{count % 3}", noted(str(count)), expected_version=ANY)
                    assert texts_of(await take(subscription, 1)) == [str(count)]
    if not is_same_database:
        postgres_server.drop_database(other_url)
    assert len(await check_dense(store)) == count > 1


@pytest.mark.fault(
    13, store="postgres", without="positions behind the last event, in place of a sequence"
)
@pytest.mark.parametrize(
    "round_count",
    [3, pytest.param(160, marks=[pytest.mark.slow, pytest.mark.timeout(300)])],
)
async def test_aborted_appends_and_a_crash_leave_no_gap(
    own_postgres_server: OwnPostgresServer, round_count: int
) -> None:
    server = own_postgres_server
    url, doomed_count = server.url(), 64

    async with store_on(url) as store, store.subscribe() as subscription:
        async with session_on(url) as session:
            await session.execute(NAPS)

        async def doom(number: int) -> None:
            with pytest.raises(StoreUnavailableError, match="doomed"):
                await store.append(f"doomed-{number}", noted("x"), expected_version=ANY)
            faults.count()

        for number in range(round_count):
            async with anyio.create_task_group() as group:
                for doomed in range(doomed_count):
                    group.start_soon(doom, doomed)
            await store.append("note-1", noted("x"), expected_version=number)
        await anyio.to_thread.run_sync(server.kill_immediately)
        await anyio.to_thread.run_sync(server.start)
        with anyio.fail_after(LAG_SECONDS_MAX + DEADLINE_SECONDS):
            await store.append("note-1", noted("after"), expected_version=round_count)
            seen = await take(subscription, round_count + 1)

        assert seen == await check_dense(store)


def seat(buyer: str) -> NewEvent:
    return new_event(Counted(), metadata=Metadata(tags=("seat:1",), actor=buyer))


@pytest.mark.fault(11, "T5", store="postgres", without="the turn that is taken before the look")
async def test_seat_that_is_being_sold_is_not_sold_again(
    postgres_url: str, store: EventStore
) -> None:
    condition = AppendCondition(where(tags=["seat:1"]), after_position=0)
    refused: list[Exception] = []

    async def buy(at: EventStore, stream_id: str) -> None:
        try:
            await at.append(stream_id, [seat(stream_id)], expected_version=ANY, condition=condition)
        except ConditionConflictError as error:
            refused.append(error)

    async with (
        store_on(postgres_url) as other,
        session_on(postgres_url) as session,
        session_on(postgres_url) as looking,
        anyio.create_task_group() as group,
    ):
        await session.execute(NAPS)
        await session.execute("SELECT pg_advisory_lock(7)")
        faults.count()
        group.start_soon(buy, other, "slow-1")
        await until_waiting(looking, "%append_events%")
        group.start_soon(buy, store, "fast-1")
        await until_waiting(looking, "%take_turn%")
        await session.execute("SELECT pg_advisory_unlock(7)")

    assert len(refused) == 1
    (sold,) = await check_dense(store)
    assert sold.stream_id == "slow-1"
