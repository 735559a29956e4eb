"""Subscribers that are slow, stuck or gone: no append waits for them, and they miss nothing.

Nothing here is measured in time. That an append waits for no subscriber is shown by letting none of
them go on before every append has returned; and it takes as many waits as it takes alone.
"""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, drain, new_event
from tests.faults.account import faults
from tests.integration.test_cancellation import Stepper, Watched

from backstory import ANY, EventStore, Receipt, Subscription
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio

SUBSCRIBERS = 50
PAST, APPENDS, BATCH = 11, 18, 100
EVENTS = APPENDS * BATCH
PAGE = 1_000
"""As many events as a subscription holds at most; what is there at first is more."""


async def append(store: EventStore) -> Receipt:
    events = [new_event() for _ in range(BATCH)]
    return await store.append("hot-1", events, expected_version=ANY)


async def waits_of_an_append(store: EventStore) -> int:
    """Append, and return how often the caller had to wait."""
    stepper = Stepper(append(store), at=0, cancel=partial(pytest.fail, "nobody cancels"))
    await stepper
    return stepper.waits


@asynccontextmanager
async def crowd(store: EventStore, count: int = SUBSCRIBERS) -> AsyncGenerator[list[Subscription]]:
    """Let many subscribe who do not read of themselves."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(store.subscribe()) for _ in range(count)]


def held_by(subscription: Subscription) -> int:
    events: Any = subscription._events  # pyright: ignore[reportPrivateUsage]  # white box
    return len(events)


async def follow(subscription: Subscription, seen: list[int], gate: anyio.Event) -> None:
    """Take every event of the log, and wait at the gate behind each."""
    async for recorded in subscription:
        seen.append(recorded.position)
        await gate.wait()
        if recorded.position == EVENTS:
            return


@pytest.mark.fault(21, without="the page that is the only buffer of a subscription")
async def test_no_append_waits_for_a_subscriber_and_each_gets_everything(
    store: EventStore,
) -> None:
    counted, opened, gate = FaultyStore(store), anyio.Event(), anyio.Event()
    opened.set()
    (alone,) = {await waits_of_an_append(counted) for _ in range(PAST)}
    seen: list[list[int]] = [[] for _ in range(SUBSCRIBERS)]
    async with crowd(counted) as subscriptions, anyio.create_task_group() as group:
        _silent, slow, quick = subscriptions[:20], subscriptions[20:40], subscriptions[40:]
        for subscription, positions in zip(subscriptions[20:], seen[20:], strict=True):
            way = gate if subscription in slow else opened
            group.start_soon(follow, subscription, positions, way)
        faults.count(len(subscriptions) - len(quick))

        with anyio.fail_after(DEADLINE_SECONDS):
            waits = [await waits_of_an_append(counted) for _ in range(APPENDS - PAST)]
            while any(len(positions) < EVENTS for positions in seen[40:]):
                await anyio.lowlevel.checkpoint()

        assert set(waits) == {alone}
        assert [len(positions) for positions in seen[20:40]] == [1] * 20
        assert max(held_by(subscription) for subscription in subscriptions) < PAGE
        before = counted.count("read_page")
        await append(counted)
        gate.set()  # only now do the slow ones go on
        assert counted.count("read_page") == before

    assert seen[:20] == [[]] * 20
    assert seen[20:] == [list(range(1, EVENTS + 1))] * 30


@pytest.mark.fault(21, without="the position of the event that was handed out last")
async def test_subscriber_that_was_dropped_goes_on_behind_what_it_has_taken(
    store: EventStore,
) -> None:
    for _ in range(APPENDS):
        await append(store)
    taken: list[int] = []

    # Ever more at a time: in the middle of a page, at its end, beyond it.
    for count in (0, 1, PAGE - 1, 1, PAGE, EVENTS):
        async with store.subscribe(after_position=len(taken)) as subscription:
            left = range(min(count, EVENTS - len(taken)))
            taken += [(await anext(subscription)).position for _ in left]
            faults.count()
            assert subscription.position == len(taken)
            assert held_by(subscription) < PAGE

    assert taken == list(range(1, EVENTS + 1))


@pytest.mark.fault(21, without="reads that hold nothing between their pages")
async def test_subscriber_that_dies_leaves_nothing_and_hinders_nobody(store: EventStore) -> None:
    await append(store)
    watched = Watched()
    dead: list[Subscription] = []

    async def die() -> None:
        async with store.subscribe() as subscription:
            await anext(subscription)
            dead.append(subscription)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        for _ in range(SUBSCRIBERS):
            group.start_soon(die)
        with anyio.fail_after(DEADLINE_SECONDS):
            while len(dead) < SUBSCRIBERS:
                await anyio.lowlevel.checkpoint()
        # All of them are in the middle: others still append, and read to the end.
        with anyio.fail_after(DEADLINE_SECONDS):
            await append(store)
            assert len(await drain(store.read_log())) == 2 * BATCH
        faults.count(SUBSCRIBERS)
        group.cancel_scope.cancel()

    await watched.check()
    assert (await append(store)).last_position == 3 * BATCH


@pytest.mark.fault(21, "T32", without="reads that end before their events are handed out")
async def test_stuck_subscribers_do_not_keep_the_wal_from_being_emptied(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path) as store, crowd(store, 8) as subscriptions:
        await append(store)
        for subscription in subscriptions:
            await anext(subscription)
            faults.count()
        await append(store)

        with closing(sqlite3.connect(path)) as db:
            emptied = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

        assert emptied == (0, 0, 0)
        assert path.with_name("story.db-wal").stat().st_size == 0
