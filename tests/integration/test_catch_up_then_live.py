"""The hand-over from the past to the present, while appends go on all the time."""

import random
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, Noted, drain, new_event, noted
from tests.faults.account import faults

from backstory import (
    ANY,
    EventFilter,
    EventStore,
    RecordedEvent,
    StreamAppend,
    Subscription,
    where,
)

pytestmark = pytest.mark.anyio


@dataclass
class Appender:
    """Appends without a pause until the log is long enough."""

    store: EventStore
    seed: int
    length: int
    head: int = 0
    moved: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> None:
        chance = random.Random(self.seed)  # noqa: S311 - printed, to be repeated
        while self.head < self.length:
            events = [
                new_event(chance.choice([Noted(text="a"), Counted()]))
                for _ in range(chance.choice([1, 1, 1, 20]))
            ]
            appends = [StreamAppend(f"hot-{chance.randrange(3)}", events, ANY)]
            (receipt,) = await self.store.append_many(appends)
            self.head = receipt.last_position
            self.moved.set()
            self.moved = anyio.Event()

    async def wait_for(self, position: int) -> None:
        while self.head < position:
            await self.moved.wait()


@dataclass
class Follower:
    """Begins somewhere, at some time, and follows to the end; it may go away and come again."""

    store: EventStore
    seed: str
    last: int
    seen: list[RecordedEvent] = field(default_factory=list[RecordedEvent])
    after_position: int = 0
    condition: EventFilter = field(default_factory=EventFilter)

    async def run(self, appender: Appender) -> None:
        chance = random.Random(self.seed)  # noqa: S311 - printed, to be repeated
        await appender.wait_for(chance.randrange(self.last // 2))
        self.after_position = position = chance.randrange(appender.head + 1)
        self.condition = chance.choice([EventFilter(), where(types=[Counted])])
        while position < self.last:
            stay = chance.choice([1, 7, 100, 10**9])
            position = await self.follow(position, stay)

    async def follow(self, position: int, stay: int) -> int:
        async with self.store.subscribe(
            after_position=position, where=self.condition
        ) as subscription:
            while stay and subscription.position < self.last:
                self.seen.append(await anext(subscription))
                stay -= 1
            return subscription.position


@pytest.mark.parametrize(
    ("length", "followers"),
    [(1_500, 20), pytest.param(20_000, 100, marks=pytest.mark.slow)],
)
@pytest.mark.fault("T9", without="the hand-over at the place that the last page has reached")
async def test_every_follower_sees_each_event_once_in_order(
    store: EventStore, length: int, followers: int
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    appender = Appender(store, seed, length)
    crowd = [Follower(store, f"{seed} {number}", length) for number in range(followers)]
    faults.count(followers)

    with anyio.fail_after(3 * DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(appender.run)
            for follower in crowd:
                group.start_soon(follower.run, appender)
            await appender.wait_for(length)
            # An event that everybody wants lets those end who wait for the last one.
            await store.append("end-1", [new_event(Counted())], expected_version=ANY)

    log = await drain(store.read_log())
    for follower in crowd:
        types = follower.condition.items[0].types or ("test:noted", "test:counted")
        behind = [event for event in log if event.position > follower.after_position]
        wanted = [event for event in behind if event.type in types]
        assert follower.seen == wanted[: len(follower.seen)]
        # What came behind the last position it may have seen or not.
        assert len(follower.seen) >= sum(event.position <= length for event in wanted)


@pytest.mark.fault("T9", 34, without="the size of a page")
async def test_stuck_subscriber_holds_one_page_and_nobody_up(store: EventStore) -> None:
    async with store.subscribe() as stuck, store.subscribe() as other:
        await store.append("hot-1", [new_event()], expected_version=ANY)
        await anext(stuck)
        faults.count()

        for _ in range(5):
            events = [new_event() for _ in range(1_000)]
            await store.append("hot-1", events, expected_version=ANY)
        with anyio.fail_after(DEADLINE_SECONDS):
            seen = [await anext(other) for _ in range(5_001)]
            await anext(stuck)

        assert [event.version for event in seen] == list(range(1, 5_002))
        assert held_by(stuck) <= 1_000
        with anyio.fail_after(DEADLINE_SECONDS):
            rest = [await anext(stuck) for _ in range(4_999)]
        assert [event.version for event in rest] == list(range(3, 5_002))


def held_by(subscription: Subscription) -> int:
    events: Any = subscription._events  # pyright: ignore[reportPrivateUsage]  # white box
    return len(events)


@pytest.mark.fault("T9", without="the wake-up behind an append")
async def test_follower_of_an_idle_log_is_woken_by_one_append(store: EventStore) -> None:
    async with store.subscribe() as subscription:
        for number in range(1, 100):
            faults.count()
            async with anyio.create_task_group() as group:
                group.start_soon(append_when_live, store, subscription)
                with anyio.fail_after(DEADLINE_SECONDS):
                    assert (await anext(subscription)).version == number


async def append_when_live(store: EventStore, subscription: Subscription) -> None:
    while not subscription.is_live:
        await anyio.lowlevel.checkpoint()
    await store.append("hot-1", [new_event()], expected_version=ANY)


async def test_page_after_an_iteration_begins_with_what_is_at_hand(store: EventStore) -> None:
    await store.append("note-1", noted("a", "b", "c"), expected_version=ANY)

    async with store.subscribe() as subscription:
        first = await anext(subscription)
        page = await subscription.read()

    assert page is not None
    assert [first.position, *(event.position for event in page.events)] == [1, 2, 3]


async def test_stopped_subscription_keeps_nobody_waiting_for_its_catch_up(
    store: EventStore,
) -> None:
    async with store.subscribe() as subscription:
        subscription.stop()
        with anyio.fail_after(DEADLINE_SECONDS):
            await subscription.wait_caught_up()

    assert not subscription.is_live
