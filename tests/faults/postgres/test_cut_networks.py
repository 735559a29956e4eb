"""The network is silent, slow, refuses or ends connections; the server is killed and comes back.

Every call ends within its time limits, with an answer or an error that is documented; what can be
made again is made again by the store itself; what is dead is thrown away.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS, drain, noted, texts_of
from tests.faults.account import faults
from tests.faults.postgres.opened import check_dense, end, held_turn, store_on, take
from tests.servers.postgres import OwnPostgresServer, PostgresServer
from tests.servers.proxy import Proxy

from backstory import ANY, EventStore, Snapshot, StoreUnavailableError
from backstory._progress import Note
from backstory.stores.postgres import _database

pytestmark = pytest.mark.anyio

IMPATIENT = {
    "connect_timeout_seconds": 0.7,
    "statement_timeout_seconds": 0.7,
    "retry_seconds": 0.3,
}
ANSWER_SECONDS_MAX = 10
"""Far more than those limits come to, and far less than a call that hangs takes."""


@pytest.fixture
async def direct(postgres_url: str) -> AsyncIterator[EventStore]:
    """Yield a store that goes round the proxy."""
    async with store_on(postgres_url, listen=False) as store:
        yield store


def calls_of(store: EventStore) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return a call of each kind, by its name."""
    return {
        "append": lambda: store.append("note-1", noted("lost"), expected_version=ANY),
        "head": store.head,
        "read_log": lambda: drain(store.read_log()),
        "query": lambda: store.query("SELECT 1 AS one", ()),
        "put_notes": lambda: store.put_notes([Note("space", "key", b"{}")]),
        "save_snapshot": lambda: store.save_snapshot(Snapshot("note-1", 1, "f", b"{}")),
        "try_own": lambda: store.try_own("Counts"),
    }


@contextmanager
def black_hole(proxy: Proxy) -> Generator[None]:
    proxy.black_hole()
    yield
    proxy.lift()


@contextmanager
def long_delay(proxy: Proxy) -> Generator[None]:
    proxy.delay(3)
    yield
    proxy.lift()


@contextmanager
def refusal(proxy: Proxy) -> Generator[None]:
    proxy.refuse()
    proxy.cut_all()
    yield
    proxy.lift()


@pytest.mark.fault(15, store="postgres", without="the time limits")
@pytest.mark.parametrize("breaking", [black_hole, long_delay, refusal])
async def test_every_call_ends_in_time_and_works_again_when_the_network_does(
    direct: EventStore,
    proxy: Proxy,
    breaking: Callable[[Proxy], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_database, "_REFUSED_SECONDS", 0.01)
    await direct.append("note-1", noted("before"), expected_version=0)
    told: list[str] = []

    async def ask(name: str, call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(StoreUnavailableError):
            await call()
        told.append(name)

    async with store_on(proxy.url, listen=False, **IMPATIENT) as store:
        calls = calls_of(store)
        for call in calls.values():
            await call()
        with breaking(proxy), anyio.fail_after(ANSWER_SECONDS_MAX):
            async with anyio.create_task_group() as group:
                for name, call in calls.items():
                    group.start_soon(ask, name, call)
        with anyio.fail_after(DEADLINE_SECONDS):
            for call in calls.values():
                while not await succeeds(call):
                    await anyio.lowlevel.checkpoint()
        receipt = await store.append("note-2", noted("after"), expected_version=0)

    assert sorted(told) == sorted(calls)
    log = await check_dense(direct)
    assert log[-1].position == receipt.last_position
    # Those of the working network, and of the other one what may have happened.
    assert 4 <= len(log) <= 5


async def succeeds(call: Callable[[], Awaitable[object]]) -> bool:
    """Make a call, and tell whether it was done."""
    try:
        await call()
    except StoreUnavailableError:
        return False
    return True


@pytest.mark.fault(15, store="postgres", without="the time limit for connecting")
async def test_opening_ends_in_time_when_nobody_answers(proxy: Proxy) -> None:
    proxy.black_hole()
    store = store_on(proxy.url, **IMPATIENT)

    with anyio.fail_after(2 * ANSWER_SECONDS_MAX), pytest.raises(StoreUnavailableError):
        await store.open()

    proxy.lift()
    async with store:
        assert await store.head() == 0


@pytest.mark.fault(15, store="postgres", without="the attempts after the first")
async def test_calls_outlast_a_server_that_refuses_connections_for_a_while(
    direct: EventStore, proxy: Proxy
) -> None:
    async with store_on(proxy.url, listen=False) as store:
        await store.append("note-1", noted("a"), expected_version=0)
        answered: list[object] = []

        async def ask(call: Callable[[], Awaitable[object]]) -> None:
            answered.append(await call())

        with refusal(proxy):
            async with anyio.create_task_group() as group:
                for call in calls_of(store).values():
                    group.start_soon(ask, call)
                await proxy.until_injected("refuse", times=20)
                assert answered == []
                proxy.lift()

    assert len(answered) == len(calls_of(store))
    assert len(await check_dense(direct)) == 2


@pytest.mark.fault(15, store="postgres", without="the circuit breaker")
async def test_store_that_cannot_be_reached_is_left_alone_for_a_while(
    direct: EventStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await direct.append("note-1", noted("a"), expected_version=0)
    monkeypatch.setattr(_database, "_REFUSED_SECONDS", 0.5)
    async with store_on(proxy.url, listen=False, retry_seconds=0) as store:
        await store.head()
        with refusal(proxy):
            for _ in range(5):
                assert not await succeeds(store.head)
            knocked = proxy.connection_count
            with pytest.raises(StoreUnavailableError, match="not tried again yet") as raised:
                await store.append("note-1", noted("b"), expected_version=1)
            assert not raised.value.outcome_unknown
            assert proxy.connection_count == knocked
        with anyio.fail_after(DEADLINE_SECONDS):
            while not await succeeds(store.head):
                await anyio.lowlevel.checkpoint()
        assert (await store.append("note-1", noted("b"), expected_version=1)).last_version == 2


@pytest.mark.fault(15, store="postgres", without="the look only at connections that were lost")
async def test_appends_that_wait_for_the_turn_do_not_keep_readers_out(
    postgres_url: str,
) -> None:
    async with (
        store_on(postgres_url, listen=False, lock_timeout_seconds=0.02) as store,
        held_turn(postgres_url) as holding,
    ):
        for _ in range(8):
            faults.count()
            with pytest.raises(StoreUnavailableError, match="lock timeout"):
                await store.append("note-1", noted("x"), expected_version=ANY)

        assert await store.head() == 0
        await holding.execute("ROLLBACK")
        assert (await store.append("note-1", noted("x"), expected_version=0)).last_position == 1


@pytest.mark.fault(15, "T9", store="postgres", without="the attempts after the first")
async def test_subscription_goes_on_from_its_position(direct: EventStore, proxy: Proxy) -> None:
    texts = [str(number) for number in range(30)]
    async with (
        store_on(proxy.url, poll_interval_seconds=0.05) as store,
        store.subscribe() as subscription,
    ):
        seen: list[str] = []
        for number, text in enumerate(texts):
            if number % 3 == 0:
                proxy.cut_all()
            if number % 3 == 1:
                proxy.cut_at_reply(b"json_send")
            await direct.append(f"note-{number % 4}", noted(text), expected_version=ANY)
            seen += texts_of(await take(subscription, 1))

    assert seen == texts


@pytest.mark.fault(2, 15, store="postgres", without="the attempts after the first")
@pytest.mark.parametrize("round_count", [5, pytest.param(50, marks=pytest.mark.slow)])
async def test_storm_of_terminated_backends_is_outlasted_and_leaves_no_connection(
    postgres_server: PostgresServer, postgres_url: str, round_count: int
) -> None:
    appended = 0

    async def append(store: EventStore, stream: int) -> None:
        nonlocal appended
        while appended <= 100 * round_count:
            events = noted(str(appended))
            await store.append(f"note-{stream}", events, expected_version=ANY)
            appended += 1

    async def read(store: EventStore) -> None:
        while appended <= 100 * round_count:
            await store.read_log_page(limit=10)

    async with store_on(postgres_url, connection_count_max=4) as store:
        async with anyio.create_task_group() as group:
            for stream in range(8):
                group.start_soon(append, store, stream)
                group.start_soon(read, store)
            for number in range(round_count):
                while appended <= 100 * number:
                    await anyio.lowlevel.checkpoint()
                await anyio.to_thread.run_sync(terminate_all, postgres_server)
        log = await check_dense(store)
        assert len(log) >= appended
        # Those for reading, and one each to write and to listen.
        backends = await anyio.to_thread.run_sync(backends_of_stores, postgres_server)
        assert len(backends) <= 4 + 2
    with anyio.fail_after(DEADLINE_SECONDS):
        while await anyio.to_thread.run_sync(backends_of_stores, postgres_server):
            pass


def backends_of_stores(server: PostgresServer) -> list[int]:
    return server.backends(application_name="backstory %")


def terminate_all(server: PostgresServer) -> None:
    end(server, backends_of_stores(server))


@pytest.mark.fault(2, 15, store="postgres", without="the attempts after the first")
async def test_server_that_crashes_and_comes_back_is_waited_for(
    own_postgres_server: OwnPostgresServer,
) -> None:
    server = own_postgres_server
    async with store_on(server.url()) as store, store.subscribe() as subscription:
        for number in range(3):
            await store.append("note-1", noted("a"), expected_version=2 * number)
            await anyio.to_thread.run_sync(server.kill_immediately)
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, server.start)
                # Made while the server is down.
                await store.append("note-1", noted("b"), expected_version=2 * number + 1)

        assert texts_of(await take(subscription, 6)) == [*"ababab"]
        assert len(await check_dense(store)) == 6
