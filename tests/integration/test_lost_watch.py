"""What looks for other processes' appends breaks down: nothing is lost, and nobody is told a lie.

The watch of an SQLite file looks through a connection of its own. A wake-up is a hint; whoever
waits is woken by a later look, and a projector looks by itself when no wake-up comes.
"""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, new_event, noted, texts_of
from tests.faults.account import faults

from backstory import ANY, Backstory, EventStore, Projection, on
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio


class Totals(Projection):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


@pytest.fixture
async def ours(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(tmp_path / "story.db", poll_interval_seconds=0.001) as store:
        yield store


@pytest.fixture
async def theirs(ours: SQLiteStore) -> AsyncIterator[SQLiteStore]:
    """Yield a second handle, whose appends the first one is not told of."""
    async with SQLiteStore(ours.path) as store:
        yield store


def watch_of(store: SQLiteStore) -> Any:
    return store._watch  # pyright: ignore[reportPrivateUsage]  # white box: what is to break


async def kill(store: SQLiteStore) -> None:
    """Close the connection of the watch behind its back."""
    watcher: Any = store._watcher  # pyright: ignore[reportPrivateUsage]  # as above
    await watcher.run(sqlite3.Connection.close)
    faults.count()


async def wait_failed(caplog: pytest.LogCaptureFixture, times: int) -> None:
    """Return when the watch has said so often that a look has failed."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while sum(record.message == "watch.failed" for record in caplog.records) < times:
            await anyio.lowlevel.checkpoint()


@pytest.mark.fault("T10", without="the look that is made again")
async def test_subscriber_is_woken_once_looks_no_longer_fail(
    ours: SQLiteStore,
    theirs: SQLiteStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail() -> None:
        faults.count()
        raise sqlite3.OperationalError("disk I/O error")

    seen: list[str] = []

    async def follow() -> None:
        async with ours.subscribe() as subscription:
            seen.extend(texts_of([await anext(subscription)]))

    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:
            monkeypatch.setattr(watch_of(ours), "_look", fail)
            group.start_soon(follow)
            await wait_failed(caplog, 1)
            await theirs.append("note-1", noted("a"), expected_version=ANY)
            await wait_failed(caplog, 3)
            assert seen == []
            monkeypatch.undo()

    assert seen == ["a"]


@pytest.mark.fault("T10", without="the new connection after a look that failed")
async def test_subscriber_is_woken_although_the_watch_has_lost_its_connection(
    ours: SQLiteStore, theirs: SQLiteStore
) -> None:
    async with ours.subscribe() as subscription:
        for number in range(3):
            await kill(ours)
            async with anyio.create_task_group() as group:
                group.start_soon(append_when_live, theirs, subscription, str(number))
                with anyio.fail_after(DEADLINE_SECONDS):
                    assert texts_of([await anext(subscription)]) == [str(number)]


async def append_when_live(store: EventStore, subscription: Any, text: str) -> None:
    while not subscription.is_live:
        await anyio.lowlevel.checkpoint()
    await store.append("note-1", noted(text), expected_version=ANY)


@pytest.mark.slow
@pytest.mark.fault("T10", "T37", without="the projector's own look, and the head that is read anew")
async def test_projector_gets_on_and_its_lag_is_true_without_a_watch(
    ours: SQLiteStore, theirs: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        faults.count()
        raise sqlite3.OperationalError("disk I/O error")

    async with Backstory(ours, projections=[Totals]) as story:
        await story.read_model(Totals)
        monkeypatch.setattr(watch_of(ours), "_look", fail)
        for total in range(1, 4):
            await theirs.append("counter-1", [new_event(Counted())], expected_version=ANY)
            assert (await story.read_model(Totals)).total == total

        await story.projections.pause(Totals)
        await theirs.append("counter-1", [new_event(Counted())], expected_version=ANY)
        assert (await story.projections.show(Totals)).lag == 1
        monkeypatch.undo()


@pytest.mark.fault("T37", without="the word of a projector that waits for its store")
async def test_projection_whose_log_cannot_be_read_says_so_until_it_can(store: EventStore) -> None:
    faulty = FaultyStore(store)
    async with Backstory(faulty, projections=[Totals]) as story:
        assert (await story.read_model(Totals)).total == 0
        assert (await story.projections.show(Totals)).is_healthy

        faulty.fail("read_page", times=None)
        await store.append("counter-1", [new_event(Counted())], expected_version=ANY)
        with anyio.fail_after(DEADLINE_SECONDS):
            while story.projections.status(Totals).is_healthy:
                await anyio.lowlevel.checkpoint()
        status = story.projections.status(Totals)
        faults.count()

        assert status.position == 0
        assert status.error is not None
        assert "read_page" in status.error
        faulty.heal()
        assert (await story.read_model(Totals)).total == 1
        assert story.projections.status(Totals).is_healthy
