"""Processes append, follow and project while all that can break does, again and again.

Backends are terminated, the server is stopped as by a crash and started again, and connections are
reset around requests. What happens next is drawn from a seed, each time the log has grown by some.
"""

import math
import os
import random
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from tests.faults.postgres.client import Accounts
from tests.faults.postgres.clients import Clients
from tests.faults.postgres.opened import check_dense, end, store_on
from tests.integration.appender import END, Entered
from tests.servers.postgres import OwnPostgresServer
from tests.servers.proxy import Proxy

from backstory import Backstory, EventStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def clients(own_postgres_server: OwnPostgresServer, tmp_path: Path) -> Iterator[Clients]:
    """Yield clients of a server that may be killed."""
    clients = Clients(own_postgres_server.url(), tmp_path)
    yield clients
    clients.end()


class Havoc:
    """Breaks one thing after the other, in an order that its seed decides."""

    def __init__(self, server: OwnPostgresServer, proxy: Proxy, seed: int) -> None:
        self._server = server
        self._proxy = proxy
        self._chance = random.Random(seed)  # noqa: S311 - printed, to be repeated
        self.wrought: list[str] = []
        self.is_over = False

    async def wreak(self) -> None:
        """Break something."""
        kinds = {"terminate": self._terminate, "crash": self._crash, "cut": self._cut}
        # Each at least once.
        missing = [kind for kind in kinds if kind not in self.wrought]
        kind = self._chance.choice(missing or [*kinds])
        await kinds[kind]()
        self.wrought.append(kind)

    async def _terminate(self) -> None:
        await anyio.to_thread.run_sync(self._terminate_some)

    def _terminate_some(self) -> None:
        backends = self._server.backends(application_name="backstory %")
        end(self._server, self._chance.sample(backends, k=min(4, len(backends))))

    async def _crash(self) -> None:
        await anyio.to_thread.run_sync(self._server.kill_immediately)
        await anyio.to_thread.run_sync(self._server.start)

    async def _cut(self) -> None:
        self._proxy.cut_all()


async def wreak_as_it_grows(store: EventStore, havoc: Havoc, *, each: int) -> None:
    """Break something whenever so many events have come, until the end mark at the latest."""
    async with store.subscribe() as subscription:
        async for recorded in subscription:
            if recorded.stream_id == END:
                break
            if recorded.position % each == 0 and not havoc.is_over:
                await havoc.wreak()


async def entries_of(store: EventStore) -> dict[str, tuple[int, int]]:
    """Return the total and the number of entries of each stream, counted from the log."""
    entries: dict[str, tuple[int, int]] = {}
    for recorded in await check_dense(store):
        if isinstance(entered := recorded.data, Entered):
            total, count = entries.get(recorded.stream_id, (0, 0))
            entries[recorded.stream_id] = total + entered.amount, count + 1
    return entries


@pytest.mark.fault(
    *(2, 10, 14, 15, 19, "T1", "T6", "T7", "T9", "T12"),
    store="postgres",
    without="the event ids of the second attempt",
)
@pytest.mark.parametrize(
    ("process_count", "counts", "often"),
    [
        (2, (4, 25), (100, 0.003)),
        pytest.param(
            4, (16, 250), (1_000, 0.001), marks=[pytest.mark.slow, pytest.mark.timeout(900)]
        ),
        pytest.param(
            *(4, (16, 2_000), (8_000, 0.001)),
            marks=[
                pytest.mark.slow,
                pytest.mark.timeout(3_600),
                pytest.mark.skipif(
                    not os.environ.get("BACKSTORY_TEST_FULL"),
                    reason="takes half an hour; set BACKSTORY_TEST_FULL",
                ),
            ],
        ),
    ],
)
async def test_nothing_contradicts_what_anybody_was_told(
    own_postgres_server: OwnPostgresServer,
    clients: Clients,
    process_count: int,
    counts: tuple[int, int],
    often: tuple[int, float],
) -> None:
    each, cut = often
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    async with Proxy(clients.url) as proxy, clients.witnessed("parent") as store:
        for _ in range(process_count):
            clients.start("work", *counts, url=proxy.url)
        await clients.begin(before=lambda: void(proxy.cut_at_random(at_reply=cut, before=cut)))
        went = list[dict[str, object]]()
        havoc = Havoc(own_postgres_server, proxy, seed)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: wreak_as_it_grows(store, havoc, each=each))
            went += [await one.line() for one in clients.running]
            havoc.is_over = True
            proxy.lift()
            await clients.finish()
        for one in clients.running:
            await one.end()
        async with Backstory(store, projections=[Accounts]) as story:
            accounts = await (await story.read_model(Accounts)).read_accounts()

    print(went, havoc.wrought, proxy.injected)  # noqa: T201 - pytest shows it when the test fails, and with -s
    verdict = await clients.judge()
    async with store_on(clients.url, listen=False) as judged:
        assert accounts == await entries_of(judged)
    assert verdict.judged.ok_count >= process_count * math.prod(counts)
    assert verdict.judged.conflict_count > 0
    assert {*havoc.wrought} == {"terminate", "crash", "cut"}
    assert verdict.judged.subscription_count >= process_count


def void(_: object) -> None:
    pass
