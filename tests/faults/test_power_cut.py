"""The power goes while a store is written to: what was not synced is lost, torn or reordered."""

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.faults.account import faults
from tests.faults.judged import check_after
from tests.faults.power import Disk, Operation, read_operations
from tests.faults.strace import Traced, needs_strace, run_traced

from backstory import Durability
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import read_history
from backstory.testing._history import Answered

pytestmark = [pytest.mark.anyio, needs_strace]

TRACE = ("pwrite64", "write", "ftruncate", "fsync", "fdatasync", "unlink", "openat")


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)  # noqa: S311 - printed, to be repeated


class Recording:
    """What a workload did to its files, run by run."""

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.made = folder / "made"
        self.made.mkdir()
        self._folder = folder
        self._logs: list[str] = []

    async def make_store(self) -> None:
        """Let the store be there already, and all of it synced."""
        async with SQLiteStore(self.disk / "story.db"):
            pass
        shutil.copytree(self.disk, self.made, dirs_exist_ok=True)

    async def run(self, durability: str, seed: int, *, inject: str = "") -> Traced:
        """Run the workload, and write down what it does."""
        traced = await run_traced(
            "workload.py",
            *(self.disk / "story.db", self._history(len(self._logs)), durability, seed),
            trace=TRACE,
            inject=inject,
            with_content=True,
            log=self._folder / f"strace-{len(self._logs)}.log",
        )
        self._logs.append(traced.log)
        return traced

    def operations(self) -> list[Operation]:
        return [operation for log in self._logs for operation in read_operations(log)]

    def is_answer(self, operation: Operation) -> bool:
        return operation.path.endswith(".jsonl") and b'"answered"' in operation.data

    def _history(self, number: int) -> Path:
        return self._folder / f"history-{number}.jsonl"

    def cut_power(
        self, done: Sequence[Operation], folder: Path, chance: random.Random
    ) -> tuple[Path, list[Path]]:
        """Return the database and the histories as they are when the power goes."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        disk = Disk(self.disk, self.made)
        disk.do(done)
        disk.cut_power(folder, chance)
        # The histories lie on another disk.
        histories = [self._history(number) for number in range(len(self._logs))]
        for history in histories:
            lines = [one.data for one in done if one.path == str(history)]
            (folder / history.name).write_bytes(b"".join(lines))
        return folder / "story.db", [folder / history.name for history in histories]


def moments(
    recording: Recording, operations: Sequence[Operation], count: int, chance: random.Random
) -> Iterator[int]:
    """Yield moments at which the power goes: any, and right behind an answer, where it hurts."""
    answers = [n for n, one in enumerate(operations, 1) if recording.is_answer(one)]
    for number in range(count):
        yield chance.choice(answers) if number % 2 else chance.randrange(1, len(operations))


@pytest.mark.fault(3, "T32", without="`synchronous = FULL`")
@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize(
    "cuts", [20, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
async def test_synced_appends_outlive_a_power_cut(
    tmp_path: Path, chance: random.Random, cuts: int, *, is_new: bool
) -> None:
    recording = Recording(tmp_path)
    if not is_new:
        await recording.make_store()
    traced = await recording.run("fsync", chance.randrange(1_000_000))
    assert traced.returncode == 0, traced.stderr
    operations = recording.operations()

    for moment in moments(recording, operations, cuts, chance):
        done = operations[:moment]
        path, histories = recording.cut_power(done, tmp_path / "left", chance)
        faults.count()
        await check_after(path, *histories)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.fault(3, without="the transaction around a commit")
async def test_buffered_appends_are_whole_or_gone_after_a_power_cut(
    tmp_path: Path, chance: random.Random
) -> None:
    recording = Recording(tmp_path)
    await recording.make_store()
    traced = await recording.run("buffered", chance.randrange(1_000_000))
    assert traced.returncode == 0, traced.stderr
    operations = recording.operations()
    lost_count = 0

    for moment in moments(recording, operations, 200, chance):
        done = operations[:moment]
        path, histories = recording.cut_power(done, tmp_path / "left", chance)
        faults.count()
        lost_count += await has_lost_some(path, histories)
        for history in histories:
            forget_answers(history)
        await check_after(path, *histories)
    assert lost_count  # else nothing was held back


def forget_answers(history: Path) -> None:
    """Let each append be one whose answer never came: it is there whole, or not at all."""
    lines = history.read_bytes().splitlines(keepends=True)
    history.write_bytes(b"".join(line for line in lines if b'"answered"' not in line))


async def has_lost_some(path: Path, histories: Sequence[Path]) -> bool:
    """Tell whether a log ends before what was acknowledged; it opens all the same."""
    acknowledged = max(
        (
            receipt.last_position
            for history in histories
            for line in read_history(history).lines
            if isinstance(line, Answered)
            for receipt in line.receipts
        ),
        default=0,
    )
    async with SQLiteStore(path, durability=Durability.BUFFERED) as store:
        return await store.head() < acknowledged


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.fault(3, "T12", without="the sync of the WAL that another process has written")
async def test_receipt_of_a_repetition_is_as_durable_as_the_first(
    tmp_path: Path, chance: random.Random
) -> None:
    for number in range(3, 7):
        folder = tmp_path / str(number)
        folder.mkdir()
        recording = Recording(folder)
        await recording.make_store()
        seed = chance.randrange(1_000_000)
        # Killed before the sync: what is written lies in the memory of the system.
        killed = await recording.run("fsync", seed, inject=f"fdatasync:signal=KILL:when={number}")
        assert killed.is_killed
        first = len(recording.operations())
        again = await recording.run("fsync", seed)
        assert again.returncode == 0, again.stderr
        operations = recording.operations()

        for moment, one in enumerate(operations, 1):
            if moment > first and recording.is_answer(one):
                path, histories = recording.cut_power(operations[:moment], folder / "left", chance)
                faults.count()
                await check_after(path, *histories)
