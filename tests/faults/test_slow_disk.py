"""The disk is slow, or writes less than it says."""

from pathlib import Path

import pytest
from tests.faults.account import faults
from tests.faults.strace import needs_strace, run_traced

from backstory import ConfigurationError, CorruptLogError
from backstory.operations import verify
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import check_history, read_history

pytestmark = [pytest.mark.anyio, needs_strace]

DELAY_SECONDS = 1.0

PAUSE_SECONDS_MAX = 0.5
"""How long the event loop may stand still: a machine may be busy, but not as long as the disk."""


@pytest.mark.slow
@pytest.mark.fault(8, without="the thread of a connection")
async def test_slow_sync_does_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path):
        pass

    traced = await run_traced(
        "ticking.py",
        *(path, 2),
        trace=["fdatasync"],
        inject=f"fdatasync:delay_exit={int(DELAY_SECONDS * 1_000_000)}",
        log=tmp_path / "log",
    )

    assert traced.returncode == 0, traced.stderr
    faults.count(traced.injected)
    said = traced.lines[-1]
    assert said["append_seconds"] > DELAY_SECONDS
    assert said["pause_seconds_max"] < PAUSE_SECONDS_MAX


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.fault(8, without="the head beside the file, and `verify`")
async def test_write_that_leaves_out_its_beginning_is_noticed_or_harmless(tmp_path: Path) -> None:
    # The system says that 10 bytes are written, and has written none: SQLite goes on behind them.
    number, is_struck, harmed = 0, True, 0

    while is_struck:
        number += 1
        path, history = tmp_path / f"{number}.db", tmp_path / f"{number}.jsonl"
        async with SQLiteStore(path):
            pass
        traced = await run_traced(
            "workload.py",
            *(path, history, "fsync", number),
            trace=["pwrite64"],
            inject=f"pwrite64:retval=10:when={number}",
            only=Path(f"{path}-wal"),
            log=tmp_path / f"{number}.log",
        )
        assert traced.returncode == 0, traced.stderr
        is_struck = traced.injected > 0
        faults.count(traced.injected)
        harmed += await is_harm_noticed(path, history)

    assert harmed  # else no write was short


async def is_harm_noticed(path: Path, history: Path) -> bool:
    """Tell whether something was harmed; then it must be noticed, at the latest by `verify`."""
    try:
        async with SQLiteStore(path) as store:
            verdict = await check_history(store, [read_history(history)])
            verification = await verify(store)
    except (CorruptLogError, ConfigurationError):
        return True
    assert not (verdict.findings and verification.is_whole), verdict.report()
    return bool(verdict.findings)
