"""Processes are killed at random moments while they append, round after round on one file.

After every round the file is opened, and the history checker judges all that any process was told
since the first round. How long the opening took is printed; it has no bound of its own here, since
it depends on the machine more than on the kill.
"""

import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS
from tests.faults.account import faults
from tests.integration.appender import START, Balances
from tests.integration.load import Load, finish_all, mark, wait_ready
from tests.integration.process import lines

from backstory import Backstory
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import HistoryVerdict, WitnessedStore, check_history
from backstory.testing._history import Opened

pytestmark = pytest.mark.anyio

WRITER_COUNT = 4


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    load = Load(tmp_path)
    yield load
    load.end()


class Rounds:
    """Rounds on one file, drawn from one seed."""

    def __init__(self, load: Load, seed: int, append_count: int) -> None:
        self._load = load
        self._chance = random.Random(seed)  # noqa: S311 - printed, to be repeated
        self._append_count = append_count
        self._number = 0
        self.killed_count = 0

    async def run_one(self) -> HistoryVerdict:
        """Kill one writer or all, let the others finish; open the file, judge it, append to it."""
        self._number += 1
        writers = [
            self._load.start(f"round-{self._number}-{number}", "append", self._append_count)
            for number in range(WRITER_COUNT)
        ]
        await wait_ready(writers)
        with self._load.history("reader") as history:
            async with WitnessedStore(SQLiteStore(self._load.path), history) as store:
                await mark(store, START)
        await self._kill_some(writers)
        return await self._judge()

    async def _kill_some(self, writers: "list[subprocess.Popen[bytes]]") -> None:
        victim = self._chance.choice(writers)
        doomed = writers if self._chance.random() < 1 / 3 else [victim]
        # Two lines for each append, before and after it; some are left to be made.
        line_count = self._chance.randrange(1, 2 * self._append_count * 3 // 4)
        await anyio.to_thread.run_sync(read_lines, victim, line_count)
        for process in doomed:
            process.kill()
        await finish_all([writer for writer in writers if writer not in doomed])
        for process in doomed:
            await anyio.to_thread.run_sync(process.communicate)
            self.killed_count += process.returncode == -signal.SIGKILL

    async def _judge(self) -> HistoryVerdict:
        """Open the file as the next process would, and go on with its projection."""
        with self._load.history("reader") as history, anyio.fail_after(DEADLINE_SECONDS):
            async with (
                WitnessedStore(SQLiteStore(self._load.path), history) as store,
                Backstory(store, projections=[Balances]) as story,
            ):
                await mark(store, "mark-reopened")
                await story.read_model(Balances)
        async with SQLiteStore(self._load.path) as judged:
            verdict = await check_history(judged, self._load.histories(), projections=[Balances])
        verdict.check()
        return verdict


def read_lines(process: "subprocess.Popen[bytes]", count: int) -> None:
    for _ in zip(range(count), lines(process), strict=False):
        pass


def print_openings(load: Load, verdict: HistoryVerdict) -> None:
    openings = sorted(
        (line.at_ns - line.begun_at_ns) / 1_000_000
        for history in load.histories()
        if history.name.endswith("reader")
        for line in history.lines
        if isinstance(line, Opened)
    )
    middle, longest = openings[len(openings) // 2], openings[-1]
    print(f"{len(openings)} openings: {middle:.1f} ms in the middle, {longest:.1f} ms at most")  # noqa: T201 - pytest shows it when the test fails, and with -s
    print(verdict.report())  # noqa: T201 - likewise


@pytest.mark.fault(2, without="answers that wait for COMMIT")
@pytest.mark.parametrize(
    ("round_count", "append_count"),
    [
        (3, 20),
        pytest.param(
            50, 100, marks=[pytest.mark.slow, pytest.mark.timeout(900)], id="fifty rounds"
        ),
    ],
)
async def test_killed_processes_lose_nothing_that_was_acknowledged(
    load: Load, round_count: int, append_count: int
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    rounds = Rounds(load, seed, append_count)

    *_, verdict = [await rounds.run_one() for _ in range(round_count)]

    print_openings(load, verdict)
    faults.count(rounds.killed_count)
    judged = verdict.judged
    assert judged.ok_count > round_count
    assert judged.opening_count >= round_count * (WRITER_COUNT + 2)
    # Nobody but those who were killed can be without an answer.
    assert judged.unknown_count <= rounds.killed_count
    assert judged.refused_count == judged.failed_count == judged.error_count == 0
    assert judged.checkpoint_count >= round_count
