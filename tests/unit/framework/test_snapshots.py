"""The snapshots of a store: found, taken, and now and then checked in the background."""

import logging
import math
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from tests.conftest import Counted, noted

from backstory import (
    Aggregate,
    Backstory,
    InvalidInputError,
    Repository,
    on,
)
from backstory._fingerprint import fingerprint_of
from backstory._snapshots import Snapshots
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio


class Adder(Aggregate, category="adder", snapshot_every=10):
    count: int = 0
    total: int = 0
    steps: list[int] = []

    def add(self, times: int = 1) -> None:
        for _ in range(times):
            self.emit(Counted())

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.count += event.by
        # What no handler should do, and no fingerprint can see: look at the world around it.
        self.total += event.by * int(os.environ.get("BACKSTORY_TEST_RATE", "1"))
        self.steps.append(self.total)


@pytest.fixture
def log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> pytest.LogCaptureFixture:
    """Return what is logged, even where a tool that configures logging has run before."""
    monkeypatch.setattr(logging.getLogger("backstory"), "disabled", False)
    return caplog


@pytest.fixture
async def store() -> AsyncIterator[FaultyStore]:
    """Yield a store with one adder, whose snapshot is at version 10 of 11."""
    async with FaultyStore(InMemoryStore()) as store:
        repository = Repository(store)
        await repository.execute(Adder.add, "1", times=10)
        await repository.execute(Adder.add, "1")
        yield store


@pytest.fixture
def another_rate(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - the store is filled before
    """Let the handlers give another state from now on, as a changed setting would."""
    monkeypatch.setenv("BACKSTORY_TEST_RATE", "2")


async def load(
    store: FaultyStore,
    *,
    times: int = 1,
    share: float = 1,
    chance: Callable[[], float] | None = None,
) -> tuple[Adder, Snapshots]:
    """Load the adder some times, let every check end, and return the last with the snapshots."""
    adder = Adder.blank("1")
    background = anyio.create_task_group()
    repository = Repository(store, background=background, shadow_check_share=share, chance=chance)
    async with background:
        for _ in range(times):
            adder = await repository.load(Adder, "1")
            await anyio.wait_all_tasks_blocked()
    return adder, repository.snapshots


async def test_aggregate_says_which_snapshot_it_was_loaded_from(store: FaultyStore) -> None:
    repository = Repository(store)

    assert (await repository.load(Adder, "1")).snapshot_version == 10
    assert (await repository.load(Adder, "1", at_version=9)).snapshot_version == 0
    assert (await repository.load(Adder, "another")).snapshot_version == 0


async def test_state_that_the_events_give_too_is_left_alone(store: FaultyStore) -> None:
    _, snapshots = await load(store)

    assert (snapshots.check_count, snapshots.difference_count) == (1, 0)
    assert await store.delete_snapshots() == 1


@pytest.mark.usefixtures("another_rate")
async def test_state_that_the_events_do_not_give_is_reported_and_deleted(
    store: FaultyStore, log: pytest.LogCaptureFixture
) -> None:
    adder, snapshots = await load(store)

    assert adder.total == 10 + 2  # the answer is not the check's business
    assert (snapshots.check_count, snapshots.difference_count) == (1, 1)
    [record] = [entry for entry in log.records if entry.message == "snapshot.differs"]
    said: Any = record
    assert (said.levelno, said.stream_id, said.version) == (logging.ERROR, "adder-1", 10)
    assert said.field == "total"
    assert await store.delete_snapshots() == 0
    assert (await Repository(store).load(Adder, "1")).total == 11 * 2


@pytest.mark.usefixtures("another_rate")
async def test_snapshots_of_other_streams_are_kept(store: FaultyStore) -> None:
    await Repository(store).execute(Adder.add, "2", times=10)

    await load(store)

    assert await store.delete_snapshots() == 1


async def test_share_says_how_many_loads_are_checked(store: FaultyStore) -> None:
    numbers = iter([0.01, 0.05, 0.049, 0.99])

    _, snapshots = await load(store, times=4, share=0.05, chance=lambda: next(numbers))

    assert snapshots.check_count == 2


@pytest.mark.parametrize(("share", "count"), [(0, 0), (1, 3)])
async def test_share_of_none_checks_nothing_and_of_one_every_load(
    store: FaultyStore, share: float, count: int
) -> None:
    _, snapshots = await load(store, times=3, share=share)

    assert snapshots.check_count == count


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, "1"])
async def test_share_that_is_none_is_refused(store: FaultyStore, share: Any) -> None:
    with pytest.raises(InvalidInputError, match="shadow_check_share"):
        Repository(store, shadow_check_share=share)
    with pytest.raises(InvalidInputError, match="shadow_check_share"):
        Backstory(store, shadow_check_share=share)


async def test_load_without_a_background_is_not_checked(store: FaultyStore) -> None:
    repository = Repository(store, shadow_check_share=1)

    await repository.load(Adder, "1")

    assert repository.snapshots.check_count == 0


async def test_load_without_a_snapshot_is_not_checked(store: FaultyStore) -> None:
    await store.delete_snapshots()

    _, snapshots = await load(store)

    assert snapshots.check_count == 0


async def test_load_does_not_wait_for_its_check_and_one_check_runs_at_a_time(
    store: FaultyStore,
) -> None:
    background = anyio.create_task_group()
    snapshots = Snapshots(store, background=background, shadow_check_share=1)
    async with background:
        held = store.delay("read_stream_page")
        for _ in range(3):
            assert (await snapshots.load(Adder.blank("1"))).version == 10
            await held.wait_reached()
        held.release()

    assert snapshots.check_count == 1


async def test_stopped_check_ends_before_it_has_compared(store: FaultyStore) -> None:
    background = anyio.create_task_group()
    snapshots = Snapshots(store, background=background, shadow_check_share=1)
    async with background:
        held = store.delay("read_stream_page")
        await snapshots.load(Adder.blank("1"))
        await held.wait_reached()
        snapshots.stop_checking()
        held.release()
        await anyio.wait_all_tasks_blocked()
        await snapshots.load(Adder.blank("1"))

    assert snapshots.check_count == 0


async def test_leaving_a_backstory_ends_its_checks(store: FaultyStore) -> None:
    story = Backstory(store, shadow_check_share=1)
    await story.__aenter__()
    snapshots = story.repository.snapshots
    held = store.delay("read_stream_page", times=1)
    await snapshots.load(Adder.blank("1"))
    await held.wait_reached()
    held.release()

    await story.__aexit__(None, None, None)

    assert snapshots.check_count == 0


async def test_stream_that_is_long_is_not_checked(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backstory._snapshots._CHECK_EVENT_COUNT_MAX", 9)

    _, snapshots = await load(store)

    assert snapshots.check_count == 0


async def test_check_that_fails_harms_nobody(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BACKSTORY_TEST_RATE", "no number")

    background = anyio.create_task_group()
    snapshots = Snapshots(store, background=background, shadow_check_share=1)
    async with background:
        await snapshots.load(Adder.blank("1"))

    assert snapshots.check_count == 0
    assert [entry.message for entry in log.records] == ["snapshot.unchecked"]


@pytest.mark.parametrize("verb", ["read_stream_page", "drop_snapshots"])
@pytest.mark.usefixtures("another_rate")
async def test_check_that_the_store_does_not_serve_harms_nobody(
    store: FaultyStore, verb: Any
) -> None:
    background = anyio.create_task_group()
    snapshots = Snapshots(store, background=background, shadow_check_share=1)
    async with background:
        store.fail(verb)
        await snapshots.load(Adder.blank("1"))

    assert await store.delete_snapshots() == 1


async def test_snapshot_ahead_of_its_stream_is_not_checked(store: FaultyStore) -> None:
    # As after an older backup was put back.
    other = FaultyStore(InMemoryStore())
    async with other:
        await other.append("adder-1", noted("one"), expected_version=0)
        snapshot = await store.load_snapshot("adder-1", fingerprint=fingerprint_of(Adder))
        assert snapshot is not None
        await other.save_snapshot(snapshot)
        background = anyio.create_task_group()
        snapshots = Snapshots(other, background=background, shadow_check_share=1)
        async with background:
            await snapshots.load(Adder.blank("1"))

    assert snapshots.check_count == 0


async def test_code_that_is_exchanged_while_it_runs_gets_no_old_snapshot(
    store: FaultyStore,
) -> None:
    repository = Repository(store)
    assert (await repository.load(Adder, "1")).snapshot_version == 10
    handler: Any = vars(Adder)["_counted"]
    code = handler.__code__
    try:
        # As a reloader does it: the class stays, its method gets other code.
        handler.__code__ = halved.__code__
        assert (await repository.load(Adder, "1")).total == -11
    finally:
        handler.__code__ = code

    assert (await repository.load(Adder, "1")).snapshot_version == 10


def halved(self: Adder, event: Counted) -> None:
    self.total -= event.by
