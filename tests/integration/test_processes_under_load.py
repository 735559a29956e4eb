"""Many processes append to the same streams, with others that follow and project beside them.

Afterwards the history checker judges what each of them was told against what is there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.faults.account import faults
from tests.integration.appender import END, START, Balances, Seats
from tests.integration.load import Load, finish_all, mark, wait_ready

from backstory.stores.sqlite import SQLiteStore
from backstory.testing import HistoryVerdict, WitnessedStore, check_history

pytestmark = pytest.mark.anyio

FINISH_RATIO_MAX = 4
"""How much longer the last of the processes may take than the first, that all do the same work."""


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    load = Load(tmp_path)
    yield load
    load.end()


async def run(load: Load, process_count: int, append_count: int) -> list[dict[str, Any]]:
    """Let so many processes make so many appends each; return how it went for each of them."""
    with load.history("marks") as history:
        async with WitnessedStore(SQLiteStore(load.path), history) as store:
            beside = [
                *(load.start(f"follower-{number}", "follow") for number in range(2)),
                *(load.start(name, "project", name) for name in ("balances", "seats")),
            ]
            writers = [
                load.start(f"writer-{number}", "append", append_count)
                for number in range(process_count)
            ]
            await wait_ready([*beside, *writers])
            await mark(store, START)
            went = await finish_all(writers)
            await mark(store, END)
            await finish_all(beside)
    return went


async def judge(load: Load) -> HistoryVerdict:
    async with SQLiteStore(load.path) as store:
        return await check_history(store, load.histories(), projections=[Balances, Seats])


def print_fairness(went: list[dict[str, Any]], verdict: HistoryVerdict) -> None:
    for one in sorted(went, key=lambda one: float(one["seconds"])):
        print(  # noqa: T201 - pytest shows it when the test fails, and with -s
            f"{one['appends']} appends in {one['seconds']:.1f} s, {one['retries']} retries, "
            f"{one['retries_max']} at most for one, which waited {one['wait_seconds_max']:.2f} s"
        )
    print(verdict.report())  # noqa: T201 - likewise


@pytest.mark.fault(10, without="the judgement of expected versions")
@pytest.mark.parametrize(
    ("process_count", "append_count", "budget_seconds"),
    [
        (3, 150, 100),
        pytest.param(8, 5_000, 600, marks=[pytest.mark.slow, pytest.mark.timeout(700)], id="soak"),
    ],
)
async def test_processes_share_streams_and_nothing_contradicts_what_they_were_told(
    load: Load, process_count: int, append_count: int, budget_seconds: int
) -> None:
    with anyio.fail_after(budget_seconds):
        went = await run(load, process_count, append_count)
        verdict = await judge(load)

    print_fairness(went, verdict)
    verdict.check()
    judged = verdict.judged
    # Two marks beside what the writers appended.
    assert judged.ok_count == process_count * append_count + 2
    faults.count(judged.conflict_count)
    assert judged.refused_count == judged.failed_count == judged.unknown_count == 0
    assert judged.error_count == 0
    assert judged.batch_count > 0
    assert judged.condition_count > 0
    assert judged.received_count > 2 * judged.event_count  # two followers, and the projectors
    assert judged.checkpoint_count >= 2
    assert judged.measure_count == process_count + 4
    seconds = [float(one["seconds"]) for one in went]
    assert max(seconds) <= FINISH_RATIO_MAX * min(seconds)
