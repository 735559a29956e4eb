"""Every system call of a workload that appends and checkpoints is made to fail, or to kill."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import pytest
from tests.faults.account import faults
from tests.faults.judged import check_after
from tests.faults.strace import Traced, needs_strace, run_traced

from backstory.stores.sqlite import SQLiteStore

pytestmark = [pytest.mark.anyio, needs_strace]

CALLS: Final = ("pwrite64", "fdatasync", "ftruncate", "unlink")
"""The calls of SQLite."""

ONLY: Final = {"write": "-head"}
"""Whose calls are meant, where Python makes the same ones for itself."""

CALL_COUNT_MAX: Final = 200
"""No thread of the workload makes so many; a test that comes so far has not ended."""

AT_ONCE: Final = 3
"""How many programs run at a time: they wait for disks and for strace."""


@dataclass
class Rounds:
    """One workload after the other, each struck at a later call, until one is not struck at all."""

    folder: Path
    call: str
    fault: str
    is_new: bool = False
    seed: int = field(default_factory=lambda: random.SystemRandom().randrange(1_000_000))
    injected: int = 0
    is_ended: bool = False
    _next: int = 0

    async def run(self, *, up_to: int = CALL_COUNT_MAX) -> None:
        print(f"seed: {self.seed}")  # noqa: T201 - pytest shows it when the test fails
        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(self._work, up_to)
        faults.count(self.injected)

    async def _work(self, up_to: int) -> None:
        while not self.is_ended and self._next < up_to:
            self._next += 1
            await self._strike(self._next)

    async def _strike(self, number: int) -> None:
        path = self.folder / f"{number}.db"
        if not self.is_new:
            async with SQLiteStore(path):
                pass
        only = ONLY.get(self.call)
        history = self.folder / f"{number}.jsonl"
        traced = await run_traced(
            "workload.py",
            *(path, history, "fsync", f"{self.seed} {number}"),
            trace=[self.call],
            inject=f"{self.call}:{self.fault}:when={number}",
            only=Path(f"{path}{only}") if only else None,
            log=self.folder / f"{number}.log",
        )
        self.injected += traced.injected
        self.is_ended = self.is_ended or not traced.injected
        check_ended(traced)
        await check_after(path, history)


def check_ended(traced: Traced) -> None:
    """Check that a program came to its end, or was killed by strace."""
    assert traced.is_killed or traced.returncode == 0, traced.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.fault(1, "T32", without="answers that wait for COMMIT")
@pytest.mark.parametrize("call", [*CALLS, *ONLY])
async def test_kill_at_each_call_loses_nothing_acknowledged(tmp_path: Path, call: str) -> None:
    rounds = Rounds(tmp_path, call, "signal=KILL")

    await rounds.run()

    assert rounds.is_ended


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.fault(1, without="the writing connection that rolls back what one for reading may not")
@pytest.mark.parametrize("call", CALLS)
async def test_kill_while_the_file_is_made_leaves_one_that_opens(tmp_path: Path, call: str) -> None:
    rounds = Rounds(tmp_path, call, "signal=KILL", is_new=True)

    await rounds.run()

    assert rounds.is_ended


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.fault(7, without="an error of COMMIT that reaches the caller")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EINTR"])
@pytest.mark.parametrize("call", [*CALLS, *ONLY])
async def test_error_at_each_call_is_told_and_passes(tmp_path: Path, call: str, error: str) -> None:
    rounds = Rounds(tmp_path, call, f"error={error}")

    await rounds.run()

    assert rounds.is_ended


@pytest.mark.fault(7, without="an error of COMMIT that reaches the caller")
async def test_sync_that_fails_is_told_and_passes(tmp_path: Path) -> None:
    await Rounds(tmp_path, "fdatasync", "error=EIO").run(up_to=AT_ONCE)
