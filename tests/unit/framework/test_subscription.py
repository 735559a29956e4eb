"""Subscriptions, over a log whose every page and wake-up the test decides."""

import asyncio

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS

from backstory import (
    LogRead,
    Page,
    RecordedEvent,
    StoreClosedError,
    Subscription,
    SubscriptionState,
    where,
)
from backstory._filter import EVERY_EVENT
from backstory._subscription import TRANSITIONS, Cause

pytestmark = pytest.mark.anyio


def event(position: int) -> RecordedEvent:
    event_id = f"0191d7a6-0000-7000-8000-{position:012}"
    return RecordedEvent(position, "task-1", position, event_id, "t", 1, 0, b"{}", b"{}")


class ScriptedLog:
    """A log that holds the positions it is told to, and counts what it is asked."""

    def __init__(self, *positions: int, page_length: int = 1_000) -> None:
        self.positions = list(positions)
        self.hidden: set[int] = set()
        self.page_length = page_length
        self.reads: list[LogRead] = []
        self.waits: list[int] = []
        self.wake_ups = 0
        self.error: Exception | None = None
        self._bell = anyio.Event()

    def wake(self, *positions: int) -> None:
        self.positions += positions
        self.wake_ups += 1
        self._bell.set()
        self._bell = anyio.Event()

    async def read_page(self, read: LogRead) -> Page:
        await anyio.lowlevel.checkpoint()
        self.reads.append(read)
        if self.error is not None:
            raise self.error
        behind = [p for p in self.positions if p > read.after_position]
        found = [p for p in behind if p not in self.hidden][: self.page_length]
        is_last = len(found) < self.page_length
        reached = max([read.after_position, *behind]) if is_last else found[-1]
        return Page([event(position) for position in found], reached, is_last)

    async def wait_beyond(self, position: int) -> None:
        self.waits.append(position)
        await self._bell.wait()


def subscribe(log: ScriptedLog, after_position: int = 0) -> Subscription:
    return Subscription(log, after_position=after_position, where=EVERY_EVENT)


async def take(subscription: Subscription, count: int) -> list[int]:
    with anyio.fail_after(DEADLINE_SECONDS):
        return [(await anext(subscription)).position for _ in range(count)]


async def wait_until_live(subscription: Subscription) -> None:
    with anyio.fail_after(DEADLINE_SECONDS):
        while not subscription.is_live:
            await anyio.lowlevel.checkpoint()


async def test_each_page_begins_where_the_last_ended() -> None:
    log = ScriptedLog(1, 2, 5, 6, 9, page_length=2)

    assert await take(subscribe(log), 5) == [1, 2, 5, 6, 9]
    assert [read.after_position for read in log.reads] == [0, 2, 6]


async def test_filter_is_the_store_s_business() -> None:
    log = ScriptedLog(1)
    wanted = where(types=["a"])

    await take(Subscription(log, after_position=0, where=wanted), 1)

    assert log.reads[0].where == wanted
    assert not log.reads[0].backward
    assert log.reads[0].until_position is None


async def test_wait_names_the_position_that_was_read() -> None:
    log = ScriptedLog(1, 4)
    subscription = subscribe(log)

    async with anyio.create_task_group() as group:
        await take(subscription, 2)
        group.start_soon(take, subscription, 1)
        await wait_until_live(subscription)
        log.wake(7)

    assert log.waits == [4]
    assert subscription.position == 7


async def test_wake_up_without_an_event_is_harmless() -> None:
    log = ScriptedLog(1)
    subscription = subscribe(log, after_position=1)
    seen: list[int] = []

    async def follow() -> None:
        seen.extend(await take(subscription, 2))

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        for positions in ((), (), (2,), (), (3,)):
            await wait_until_live(subscription)
            log.wake(*positions)
            await until(lambda: len(log.waits) > log.wake_ups or len(seen) == 2)

    assert seen == [2, 3]


async def until(condition: object) -> None:
    assert callable(condition)
    with anyio.fail_after(DEADLINE_SECONDS):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def test_position_is_behind_what_was_handed_out() -> None:
    log = ScriptedLog(1, 2, 3, 9)
    log.hidden = {9}
    subscription = subscribe(log)
    positions: list[int] = []

    for _ in range(3):
        await take(subscription, 1)
        positions.append(subscription.position)

    assert positions == [1, 2, 9]


async def test_page_of_hidden_events_moves_the_position() -> None:
    log = ScriptedLog(1, 2)
    log.hidden = {1, 2}
    subscription = subscribe(log)

    page = await subscription.read()

    assert page == Page([], 2, is_last=True)
    assert subscription.position == 2


async def test_only_one_page_is_held_at_a_time() -> None:
    log = ScriptedLog(*range(1, 100), page_length=10)
    subscription = subscribe(log)

    await take(subscription, 10)

    assert len(log.reads) == 1


async def test_error_of_the_store_reaches_the_subscriber_and_passes() -> None:
    log = ScriptedLog(1, 2, page_length=1)
    subscription = subscribe(log)
    assert await take(subscription, 1) == [1]

    log.error = StoreClosedError(store="memory://")
    with pytest.raises(StoreClosedError):
        await anext(subscription)
    log.error = None

    assert await take(subscription, 1) == [2]


async def test_events_at_hand_are_given_out_after_stop() -> None:
    log = ScriptedLog(1, 2, 3)
    subscription = subscribe(log)
    await take(subscription, 1)

    subscription.stop()

    assert [recorded.position async for recorded in subscription] == [2, 3]
    assert subscription.state is SubscriptionState.STOPPED
    assert len(log.reads) == 1


async def test_stop_wakes_who_waits() -> None:
    subscription = subscribe(ScriptedLog())

    async with anyio.create_task_group() as group:

        async def stop() -> None:
            await wait_until_live(subscription)
            subscription.stop()

        group.start_soon(stop)
        assert [recorded async for recorded in subscription] == []

    assert await subscription.read() is None


async def test_cancelled_wait_can_be_made_again() -> None:
    log = ScriptedLog()
    subscription = subscribe(log)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            with anyio.CancelScope() as limit:

                async def give_up(limit: anyio.CancelScope = limit) -> None:
                    await wait_until_live(subscription)
                    limit.cancel()

                group.start_soon(give_up)
                await anext(subscription)
            assert subscription.state is SubscriptionState.CATCHING_UP
        log.wake(1)
        group.start_soon(wake_when_live, subscription, log)
        assert await take(subscription, 1) == [1]


async def test_cancelled_wait_can_be_made_again_in_another_task() -> None:
    log = ScriptedLog()
    subscription = subscribe(log)

    with anyio.CancelScope() as limit:
        async with anyio.create_task_group() as group:
            group.start_soon(cancel_when_live, subscription, limit)
            await anext(subscription)

    async def follow() -> int:
        return (await anext(subscription)).position

    # asyncio's own task stands in none of anyio's scopes.
    following = asyncio.create_task(follow())
    await wait_until_live(subscription)
    log.wake(1)

    assert await asyncio.wait_for(following, DEADLINE_SECONDS) == 1


async def cancel_when_live(subscription: Subscription, limit: anyio.CancelScope) -> None:
    await wait_until_live(subscription)
    limit.cancel()


async def wake_when_live(subscription: Subscription, log: ScriptedLog) -> None:
    with anyio.move_on_after(DEADLINE_SECONDS):
        while subscription.position == 0:
            if subscription.is_live:
                log.wake()
            await anyio.lowlevel.checkpoint()


async def test_caught_up_is_said_once_the_head_was_read() -> None:
    log = ScriptedLog(1, 2, page_length=1)
    subscription = subscribe(log)
    said: list[int] = []

    async def listen() -> None:
        await subscription.wait_caught_up()
        said.append(len(log.reads))
        log.wake(3)

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        assert await take(subscription, 3) == [1, 2, 3]

    assert said == [3]


def test_nothing_leads_out_of_stopped_and_everything_leads_into_it() -> None:
    sources = {source for source, _ in TRANSITIONS}
    stopping = {source for source, cause in TRANSITIONS if cause is Cause.STOP}

    assert SubscriptionState.STOPPED not in sources
    assert sources == stopping == set(SubscriptionState) - {SubscriptionState.STOPPED}


async def test_slow_reader_holds_the_subscription_up() -> None:
    log = ScriptedLog(1, 2)
    subscription = subscribe(log)

    await anext(subscription)
    asked = len(log.reads)
    assert subscription.state is SubscriptionState.HELD_UP
    await anext(subscription)

    assert subscription.state is SubscriptionState.HELD_UP
    assert len(log.reads) == asked
