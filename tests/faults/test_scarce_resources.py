"""Memory, file descriptors and tasks run short: callers are told, and it passes."""

import gc
from pathlib import Path

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, drain, noted, texts_of
from tests.faults.account import faults
from tests.faults.child import finish, needs_limits
from tests.integration.test_cancellation import Watched

from backstory import ANY, EventStore
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

DOCUMENTED = {"StoreUnavailableError", "MemoryError"}


@needs_limits
@pytest.mark.fault(34, without="statements that are read when the module is imported")
async def test_open_store_needs_no_further_descriptor(tmp_path: Path) -> None:
    (said,) = await finish("limited.py", tmp_path / "story.db", "files", 64)

    faults.count()
    assert said["errors"] == []
    assert said["after"] == said["acknowledged"] + 1


@needs_limits
@pytest.mark.fault(34, without="the closing of the first file when the second cannot be opened")
async def test_store_that_finds_no_descriptor_opens_when_there_is_one(tmp_path: Path) -> None:
    (said,) = await finish("opening.py", tmp_path / "story.db", 20)

    faults.count(said["refused"])
    assert said["refused"] >= 5
    assert set(said["errors"]) <= DOCUMENTED
    assert said["leaked"] == 0


@needs_limits
@pytest.mark.slow
@pytest.mark.fault(34, without="the slot of a reader that is given back after an error")
@pytest.mark.parametrize("megabytes", [5, 20, 60])
async def test_lack_of_memory_is_told_and_passes(tmp_path: Path, megabytes: int) -> None:
    (said,) = await finish("limited.py", tmp_path / "story.db", "memory", megabytes * 1_000_000)

    faults.count(said["refused"])
    assert set(said["errors"]) <= DOCUMENTED
    assert said["after"] == said["acknowledged"] + 1


@pytest.mark.slow
@pytest.mark.fault(34, without="the wake-up behind an append")
async def test_ten_thousand_subscribers_each_get_what_is_appended(store: EventStore) -> None:
    watched = Watched()
    seen: list[str] = []

    async def follow() -> None:
        async with store.subscribe() as subscription:
            seen.extend(texts_of([await anext(subscription)]))

    with anyio.fail_after(3 * DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:
            for _ in range(10_000):
                group.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            faults.count(10_000)
            await store.append("task-1", noted("a"), expected_version=0)

    assert seen == ["a"] * 10_000
    gc.collect()
    await watched.check()


@pytest.mark.fault(34, without="the limit on readers")
async def test_hundred_readers_share_a_few_connections(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        await store.append("task-1", noted(*"abc"), expected_version=ANY)
        watched = Watched()
        lengths: list[int] = []

        async def read() -> None:
            lengths.append(len(await drain(store.read_log())))

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(read)
                faults.count()

        assert lengths == [3] * 100
        await watched.check()
