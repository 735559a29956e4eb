"""What must hold of an SQLite store after any fault: judged by the histories of its clients."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.conftest import DEADLINE_SECONDS, noted

from backstory import ANY
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import History, HistoryVerdict, check_history, read_history


async def check_after(path: Path, *histories: Path, after_position: int = 0) -> HistoryVerdict:
    """Open a store as the next process would, judge it, append to it, and close it.

    Raises:
        AssertionError: Something does not hold.
        BackstoryError: It could not be opened or read.
    """
    return await judge(path, [read_history(one) for one in histories], after_position)


async def judge(
    path: Path, histories: Sequence[History], after_position: int = 0
) -> HistoryVerdict:
    """As `check_after`, of histories that have been read."""
    async with SQLiteStore(path) as store:
        verdict = await check_history(
            store,
            histories,
            after_position=after_position,
            answer_seconds_max=DEADLINE_SECONDS,
        )
        verdict.check()
        head = await store.head()
        receipt = await store.append("after-1", noted("alive"), expected_version=ANY)
        assert receipt.first_position > head
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return verdict
