"""A hot standby is read, and takes over with everything that was acknowledged."""

from collections.abc import Iterator
from typing import Final

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, drain, new_event, noted, texts_of
from tests.servers.postgres import OwnPostgresServer, StandbyServer

from backstory import (
    ANY,
    Backstory,
    EventStore,
    Projection,
    StoreUnavailableError,
    on,
    store_of,
)

# Two servers are started.
pytestmark = [pytest.mark.anyio, pytest.mark.slow]

COUNT: Final = 50


class Count(Projection, name="count"):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


@pytest.fixture
def standby(own_postgres_server: OwnPostgresServer) -> Iterator[StandbyServer]:
    with StandbyServer(own_postgres_server) as standby:
        yield standby


def wait_for_the_standby(primary: OwnPostgresServer) -> None:
    """Let the primary acknowledge only what the standby has on its disk, and shows."""
    primary.execute("ALTER SYSTEM SET synchronous_commit = remote_apply")
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    while not primary.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"):
        pass  # the test has a time limit of its own


async def append(store: EventStore, *texts: str) -> None:
    await store.append("note-1", noted(*texts), expected_version=ANY)


async def test_standby_is_read_and_followed(
    own_postgres_server: OwnPostgresServer, standby: StandbyServer
) -> None:
    wait_for_the_standby(own_postgres_server)
    async with store_of(own_postgres_server.url()) as primary:
        await append(primary, "a")
        async with (
            store_of(f"{standby.url()}?poll_interval_seconds=0.01", read_only=True) as replica,
            replica.subscribe() as subscription,
        ):
            with anyio.fail_after(DEADLINE_SECONDS):
                first = await anext(subscription)
                await append(primary, "b", "c")
                others = [await anext(subscription), await anext(subscription)]

            assert texts_of([first, *others]) == ["a", "b", "c"]
            assert await replica.head() == 3


async def test_standby_refuses_to_be_written(
    own_postgres_server: OwnPostgresServer, standby: StandbyServer
) -> None:
    async with store_of(own_postgres_server.url()) as primary:
        await append(primary, "a")

    with pytest.raises(StoreUnavailableError, match="the server is a standby"):
        await store_of(f"{standby.url()}?retry_seconds=0").open()


async def test_program_finds_the_new_primary_and_goes_on(
    own_postgres_server: OwnPostgresServer, standby: StandbyServer
) -> None:
    wait_for_the_standby(own_postgres_server)
    hosts = f"127.0.0.1:{own_postgres_server.port},127.0.0.1:{standby.port}"
    url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
    steps = [new_event(Counted(by=1)) for _ in range(2 * COUNT)]
    async with Backstory(url, projections=[Count]) as story:
        store = story.store
        followed: list[str] = []
        async with anyio.create_task_group() as group:

            async def follow() -> None:
                async with store.subscribe() as subscription:
                    async for recorded in subscription:
                        followed.append(recorded.event_id)
                        if len(followed) == 2 * COUNT:
                            return

            group.start_soon(follow)
            for step in steps[:COUNT]:
                await store.append("counter-1", [step], expected_version=ANY)
            await anyio.to_thread.run_sync(own_postgres_server.kill_immediately)
            await anyio.to_thread.run_sync(standby.promote)
            for step in steps[COUNT:]:
                await store.append("counter-1", [step], expected_version=ANY)

        assert followed == [event.event_id for event in steps]
        assert (await story.read_model(Count)).total == 2 * COUNT
    async with store_of(standby.url(), read_only=True) as promoted:
        assert [event.event_id for event in await drain(promoted.read_log())] == followed
