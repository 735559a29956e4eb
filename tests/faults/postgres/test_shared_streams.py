"""Several processes append to the same streams of one database, in peace and under every fault."""

import pytest
from tests.faults.account import faults
from tests.faults.postgres.clients import Clients
from tests.faults.postgres.opened import check_dense, store_on
from tests.integration.appender import SeatTaken

pytestmark = pytest.mark.anyio


@pytest.mark.fault(10, "T6", "T25", store="postgres", without="the unique versions")
@pytest.mark.parametrize(
    ("process_count", "append_count"),
    [
        (2, 150),
        pytest.param(8, 100, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
        pytest.param(32, 15, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
async def test_processes_share_one_stream_and_each_version_has_one_winner(
    clients: Clients, process_count: int, append_count: int
) -> None:
    for _ in range(process_count):
        clients.start("crowd", append_count, connection_count_max=2)
    await clients.begin()
    went = [await one.line() for one in clients.running]
    for one in clients.running:
        await one.end()

    verdict = await clients.judge()

    print(sorted(one["retries_max"] for one in went))  # noqa: T201 - pytest shows it when the test fails, and with -s
    faults.count(verdict.judged.conflict_count)
    assert verdict.judged.ok_count == process_count * append_count + 1
    assert verdict.judged.conflict_count == sum(one["conflicts"] for one in went) > 0
    assert verdict.judged.failed_count == verdict.judged.unknown_count == 0


@pytest.mark.fault(10, "T5", store="postgres", without="the look for what a condition excludes")
@pytest.mark.parametrize(
    ("process_count", "seat_count"), [(2, 30), pytest.param(4, 250, marks=pytest.mark.slow)]
)
async def test_processes_sell_each_seat_once(
    clients: Clients, process_count: int, seat_count: int
) -> None:
    for _ in range(process_count):
        clients.start("buy", seat_count)
    await clients.begin()
    for one in clients.running:
        await one.line()
        await one.end()

    verdict = await clients.judge()

    faults.count(verdict.judged.conflict_count)
    async with store_on(clients.url, listen=False) as store:
        sold = [
            taken.seat
            for recorded in await check_dense(store)
            if isinstance(taken := recorded.data, SeatTaken)
        ]
    assert sorted(sold) == list(range(1, process_count * seat_count + 1))
    assert verdict.judged.conflict_count > 0
