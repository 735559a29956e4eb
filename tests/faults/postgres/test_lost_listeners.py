"""The connection that listens is ended: what others append is seen all the same."""

from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS, noted, texts_of
from tests.faults.postgres.opened import store_on, take
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy

from backstory import ANY, EventStore, Subscription

pytestmark = pytest.mark.anyio


@pytest.fixture
async def theirs(postgres_url: str) -> AsyncIterator[EventStore]:
    """Yield a store as another process has it."""
    async with store_on(postgres_url, listen=False) as store:
        yield store


async def until_listening(server: PostgresServer) -> list[int]:
    """Return the backends that listen, as soon as there are any."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while not (backends := await anyio.to_thread.run_sync(listening, server)):
            pass
    return backends


def listening(server: PostgresServer) -> list[int]:
    return server.backends(application_name="backstory %", query="LISTEN %")


async def see(subscription: Subscription, theirs: EventStore, text: str) -> None:
    """Let another process append once nothing is left to be read, and see what it has appended."""

    async def append_when_live() -> None:
        while not subscription.is_live:
            await anyio.lowlevel.checkpoint()
        await theirs.append("note-1", noted(text), expected_version=ANY)

    async with anyio.create_task_group() as group:
        group.start_soon(append_when_live)
        assert texts_of(await take(subscription, 1)) == [text]


@pytest.mark.fault("T10", store="postgres", without="the looks from time to time")
async def test_appends_of_others_are_seen_although_nobody_listens(
    postgres_server: PostgresServer, postgres_url: str, theirs: EventStore
) -> None:
    async with (
        Proxy(postgres_url) as proxy,
        store_on(proxy.url, poll_interval_seconds=0.05, connection_count_max=1) as store,
        store.subscribe() as subscription,
    ):
        await see(subscription, theirs, "heard")
        backends = await until_listening(postgres_server)
        proxy.refuse()
        await anyio.to_thread.run_sync(postgres_server.terminate, *backends)
        # The connection for reading is there still, and the listener cannot come back.
        for number in range(3):
            await see(subscription, theirs, str(number))
        await proxy.until_injected("refuse")
        proxy.lift()
        await until_listening(postgres_server)
        await see(subscription, theirs, "heard again")


@pytest.mark.fault("T10", store="postgres", without="the look when the connection is had again")
async def test_listener_is_had_again_and_looks_for_what_it_has_missed(
    postgres_server: PostgresServer, postgres_url: str, theirs: EventStore
) -> None:
    async with (
        store_on(postgres_url, poll_interval_seconds=3_600) as store,
        store.subscribe() as subscription,
    ):
        for number in range(0, 6, 2):
            (backend,) = await until_listening(postgres_server)
            await anyio.to_thread.run_sync(postgres_server.terminate, backend)
            await see(subscription, theirs, str(number))

            assert await until_listening(postgres_server) != [backend]
            await see(subscription, theirs, str(number + 1))
