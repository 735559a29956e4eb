"""Who waits for the log to grow is woken when it has, and not by what is no longer there."""

import asyncio

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS

from backstory import StoreClosedError
from backstory._watch import Watch

pytestmark = pytest.mark.anyio


class Heads:
    """The heads that looks find, one behind the other; the last one again and again."""

    def __init__(self, *heads: int) -> None:
        self.heads = list(heads)
        self.looks = 0

    async def look(self) -> int:
        self.looks += 1
        return self.heads.pop(0) if len(self.heads) > 1 else self.heads[0]


async def test_log_that_went_back_wakes_nobody_for_what_it_once_held() -> None:
    heads = Heads(9, 3)
    watch = Watch(store="a store", look=heads.look, poll_interval_seconds=0.001)
    watch.open()
    with anyio.fail_after(DEADLINE_SECONDS):
        await watch.wait_beyond(8)  # it has been at 9
        waiting = asyncio.create_task(watch.wait_beyond(9))
        while heads.looks < 4:
            await asyncio.wait([waiting], timeout=0)

        behind = asyncio.create_task(watch.wait_beyond(3))
        await asyncio.wait([behind], timeout=0)
        assert not behind.done()
        heads.heads = [4]
        await behind

        await watch.aclose()
        with pytest.raises(StoreClosedError):
            await waiting


async def test_what_is_heard_of_is_looked_for_at_once() -> None:
    heads = Heads(0, 1)
    watch = Watch(store="a store", look=heads.look, poll_interval_seconds=3_600)
    watch.open()
    with anyio.fail_after(DEADLINE_SECONDS):
        waiting = asyncio.create_task(watch.wait_beyond(0))
        while not heads.looks:
            await asyncio.wait([waiting], timeout=0)
        watch.heard()
        await waiting
        await watch.aclose()
