"""What a subscriber gets, and when."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from backstory._commit import Receipt
from backstory._errors import (
    InvalidInputError,
)
from backstory._filter import where
from backstory._recorded import RecordedEvent
from backstory._store import EventStore
from backstory._subscription import Subscription, SubscriptionState
from backstory._versions import ANY
from backstory.testing._events import new_event
from backstory.testing._store_contract._contract import Contract
from backstory.testing._store_contract._sample import (
    Counted,
    Noted,
    drain,
    noted,
    texts_of,
)


class Subscribe(Contract):
    """What a subscriber gets."""

    async def test_past_and_present_come_in_one_order(self, store: EventStore) -> None:
        await store.append("task-1", noted("a", "b"), expected_version=ANY)

        async with store.subscribe() as subscription:
            past = await self.take(subscription, 2)
            await store.append("task-2", noted("c"), expected_version=ANY)
            present = await self.take(subscription, 1)

        assert texts_of([*past, *present]) == ["a", "b", "c"]
        assert subscription.position == present[0].position

    async def test_after_position_is_exclusive(self, store: EventStore) -> None:
        receipt = await store.append("task-1", noted("a", "b", "c"), expected_version=ANY)

        async with store.subscribe(after_position=receipt.first_position) as subscription:
            events = await self.take(subscription, 2)

        assert texts_of(events) == ["b", "c"]

    async def test_subscription_ahead_of_the_log_waits_for_it(self, store: EventStore) -> None:
        first = await store.append("task-1", noted("a"), expected_version=ANY)

        async with (
            store.subscribe(after_position=first.last_position) as subscription,
            anyio.create_task_group() as group,
        ):
            group.start_soon(self._caught_up_then_append, subscription, store)
            assert texts_of(await self.take(subscription, 1)) == ["b"]

    async def test_state_says_when_it_has_caught_up(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)
        states: list[SubscriptionState] = []

        async with store.subscribe() as subscription:
            states.append(subscription.state)
            async with anyio.create_task_group() as group:

                async def watch() -> None:
                    await subscription.wait_caught_up()
                    assert subscription.is_live
                    states.append(subscription.state)
                    await store.append("task-1", noted("b"), expected_version=ANY)

                group.start_soon(watch)
                await self.take(subscription, 2)

                assert subscription.state is SubscriptionState.HELD_UP

        assert states == [SubscriptionState.CATCHING_UP, SubscriptionState.LIVE]
        assert subscription.state is SubscriptionState.STOPPED
        assert not subscription.is_live

    async def test_filter_leaves_out_and_position_goes_on(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)
        await store.append("task-1", [new_event(Counted())], expected_version=ANY)
        head = await store.head()

        async with store.subscribe(where=where(types=[Noted])) as subscription:
            await self.take(subscription, 1)
            assert subscription.position == head

            await store.append("task-1", [new_event(Counted())], expected_version=ANY)
            await store.append("task-1", noted("b"), expected_version=ANY)
            events = await self.take(subscription, 1)

        assert texts_of(events) == ["b"]

    async def test_position_leads_to_the_next_event(self, store: EventStore) -> None:
        await store.append("task-1", noted(*"abcdef"), expected_version=ANY)
        seen: list[RecordedEvent] = []
        position = 0

        for count in (1, 2, 3):
            async with store.subscribe(after_position=position) as subscription:
                seen += await self.take(subscription, count)
                position = subscription.position

        assert texts_of(seen) == list("abcdef")

    async def test_past_longer_than_a_page_has_no_gap(self, store: EventStore) -> None:
        for _ in range(2):
            await store.append("task-1", noted(*["a"] * 1_000), expected_version=ANY)
        await store.append("task-1", noted("z"), expected_version=ANY)

        async with store.subscribe() as subscription:
            events = await self.take(subscription, 2_001)

        assert [event.version for event in events] == list(range(1, 2_002))

    async def test_time_limit_on_the_next_event_loses_nothing(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)

        async with store.subscribe() as subscription, anyio.create_task_group() as group:
            first = await self.take(subscription, 1)
            for _ in range(3):
                with anyio.CancelScope() as limit:
                    group.start_soon(self._cancel_when_live, limit, subscription)
                    await anext(subscription)
            await store.append("task-1", noted("b"), expected_version=ANY)
            second = await self.take(subscription, 1)

            assert texts_of([*first, *second]) == ["a", "b"]

    async def test_stop_ends_the_iteration(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)
        seen: list[RecordedEvent] = []

        async with store.subscribe() as subscription, anyio.create_task_group() as group:

            async def stop() -> None:
                await subscription.wait_caught_up()
                subscription.stop()

            group.start_soon(stop)
            with self.deadline():
                seen = await drain(aiter(subscription))

        assert texts_of(seen) == ["a"]

    async def test_leaving_ends_the_iteration_elsewhere(self, store: EventStore) -> None:
        async with anyio.create_task_group() as group, store.subscribe() as subscription:
            group.start_soon(drain, aiter(subscription))
            with self.deadline():
                await subscription.wait_caught_up()

        assert subscription.state is SubscriptionState.STOPPED

    async def test_stopped_subscription_gives_no_page(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)

        async with store.subscribe() as subscription:
            subscription.stop()

            assert await subscription.read() is None

    async def test_pages_hold_what_the_iteration_would(self, store: EventStore) -> None:
        await store.append("task-1", noted("a", "b"), expected_version=ANY)

        async with store.subscribe() as subscription:
            page = await subscription.read()

            assert page is not None
            assert texts_of(page.events) == ["a", "b"]
            assert subscription.position == page.reached == await store.head()

    async def test_every_subscriber_gets_every_event(self, store: EventStore) -> None:
        seen: dict[int, list[RecordedEvent]] = {}

        async def follow(number: int) -> None:
            async with store.subscribe() as subscription:
                seen[number] = await self.take(subscription, 20)

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(follow, number)
            for number in range(20):
                await store.append(f"task-{number}", noted("a"), expected_version=ANY)

        every = await drain(store.read_log())
        assert all(events == every for events in seen.values())
        assert len(seen) == 10

    @pytest.mark.parametrize("after_position", [-1, True, "0", 2**63])
    async def test_what_is_no_position_is_refused(
        self, store: EventStore, after_position: Any
    ) -> None:
        with pytest.raises(InvalidInputError, match="after_position"):
            async with store.subscribe(after_position=after_position):
                pass

    async def test_waiting_subscriber_is_woken_by_every_append(self, store: EventStore) -> None:
        seen: list[RecordedEvent] = []

        async with store.subscribe() as subscription, anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(self._append_when_live, subscription, store, str(number))
                seen += await self.take(subscription, 1)

        assert texts_of(seen) == list(map(str, range(50)))

    async def test_one_append_wakes_all_who_wait(self, store: EventStore) -> None:
        woken: list[int] = []

        async def wait(number: int) -> None:
            await store.wait_beyond(0)
            woken.append(number)

        with self.deadline():
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(wait, number)
                await self._let_others_wait()
                await store.append("task-1", noted("a"), expected_version=ANY)

        assert sorted(woken) == [0, 1, 2, 3, 4]

    async def test_wait_for_what_is_there_already_ends_at_once(self, store: EventStore) -> None:
        receipt = await store.append("task-1", noted("a", "b"), expected_version=ANY)

        with self.deadline():
            await store.wait_beyond(0)
            await store.wait_beyond(receipt.first_position)

    async def test_append_between_the_last_page_and_the_wait_is_not_missed(
        self, store: EventStore
    ) -> None:
        async def read_then_wait() -> object:
            async with store.subscribe() as subscription:
                return await anext(subscription)

        async def append() -> object:
            return await store.append("task-1", noted("a"), expected_version=ANY)

        for pause_count in range(8):

            async def append_later(pauses: int = pause_count) -> object:
                for _ in range(pauses):
                    await anyio.lowlevel.checkpoint()
                return await append()

            read, appended = await self.gather(read_then_wait, append_later)
            assert isinstance(read, RecordedEvent), read
            assert isinstance(appended, Receipt), appended

    async def test_waiter_that_gave_up_takes_no_wake_up_with_it(self, store: EventStore) -> None:
        gives_up, woken = anyio.CancelScope(), anyio.Event()

        async def give_up() -> None:
            with gives_up:
                await store.wait_beyond(0)

        async def wait() -> None:
            await store.wait_beyond(0)
            woken.set()

        with self.deadline():
            async with anyio.create_task_group() as group:
                group.start_soon(give_up)
                group.start_soon(wait)
                await self._let_others_wait()
                gives_up.cancel()
                await store.append("task-1", noted("a"), expected_version=ANY)
                await woken.wait()

    async def test_slow_subscriber_holds_nobody_up(self, store: EventStore) -> None:
        async with store.subscribe() as slow, store.subscribe() as quick:
            await store.append("task-1", noted("a", "b"), expected_version=ANY)
            first = await self.take(slow, 1)
            for text in "cdef":
                await store.append("task-1", noted(text), expected_version=ANY)
            every = await self.take(quick, 6)

            assert texts_of(every) == list("abcdef")
            assert texts_of([*first, *await self.take(slow, 5)]) == list("abcdef")

    async def test_filter_of_alternatives_is_followed_live(self, store: EventStore) -> None:
        condition = where(types=[Counted]) | where(streams=["task-2"])

        async with store.subscribe(where=condition) as subscription:
            await store.append("task-1", noted("a"), expected_version=ANY)
            await store.append("task-2", noted("b"), expected_version=ANY)
            first = await self.take(subscription, 1)
            await store.append("task-1", [new_event(Counted())], expected_version=ANY)
            second = await self.take(subscription, 1)

        assert [*texts_of(first), *[event.data for event in second]] == ["b", Counted()]

    async def _caught_up_then_append(self, subscription: Subscription, store: EventStore) -> None:
        with self.deadline():
            await subscription.wait_caught_up()
        await store.append("task-2", noted("b"), expected_version=ANY)

    async def _append_when_live(
        self, subscription: Subscription, store: EventStore, text: str
    ) -> None:
        await self._wait_live(subscription)
        await store.append("task-1", noted(text), expected_version=ANY)

    async def _cancel_when_live(self, limit: anyio.CancelScope, subscription: Subscription) -> None:
        await self._wait_live(subscription)
        limit.cancel()

    async def _let_others_wait(self) -> None:
        # Not until all are blocked, which a store with threads at work may never be. Who waits too
        # late finds the log grown, and must be woken just the same.
        for _ in range(20):
            await anyio.lowlevel.checkpoint()

    async def _wait_live(self, subscription: Subscription) -> None:
        with self.deadline():
            while not subscription.is_live:
                await anyio.lowlevel.checkpoint()
