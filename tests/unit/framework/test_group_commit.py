"""Whoever waits for a group is answered, whatever becomes of it."""

import asyncio
from collections.abc import Sequence

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, noted

from backstory import ANY, StoreClosedError, StoreUnavailableError, StreamAppend
from backstory._commit import Batch
from backstory._group_commit import Answer, GroupCommit

pytestmark = pytest.mark.anyio


def batch(number: int) -> Batch:
    return Batch((StreamAppend(f"task-{number}", noted("a"), ANY),))


async def test_group_that_is_cut_short_is_told_that_nobody_knows() -> None:
    begun = asyncio.Event()

    async def write(_batches: Sequence[Batch]) -> Sequence[Answer | Exception]:
        begun.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    groups = GroupCommit(store="a store", write=write)
    groups.open()
    with anyio.fail_after(DEADLINE_SECONDS):
        first = asyncio.create_task(groups.commit(batch(1)))
        await begun.wait()
        behind = asyncio.create_task(groups.commit(batch(2)))
        await asyncio.wait([behind], timeout=0)

        assert groups._task is not None  # pyright: ignore[reportPrivateUsage]  # as a loop does that shuts down
        groups._task.cancel()  # pyright: ignore[reportPrivateUsage]  # likewise
        with pytest.raises(StoreUnavailableError) as caught:
            await first
        with pytest.raises(StoreClosedError):
            await groups.commit(batch(3))
        await groups.aclose()
        with pytest.raises(StoreClosedError):
            await behind

    assert caught.value.outcome_unknown


async def test_what_waits_is_written_before_it_is_closed() -> None:
    written: list[str] = []

    async def write(batches: Sequence[Batch]) -> Sequence[Answer | Exception]:
        await asyncio.sleep(0)
        written.extend(part.stream_id for one in batches for part in one.appends)
        return [() for _ in batches]

    groups = GroupCommit(store="a store", write=write)
    groups.open()
    with anyio.fail_after(DEADLINE_SECONDS):
        waiting = [asyncio.create_task(groups.commit(batch(number))) for number in range(5)]
        await asyncio.wait(waiting, timeout=0)
        await groups.aclose()
        await asyncio.gather(*waiting)
        with pytest.raises(StoreClosedError):
            await groups.commit(batch(9))

    assert written == [f"task-{number}" for number in range(5)]
