"""What holds before a store is opened and after it is closed."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from backstory._commit import AppendCondition, Receipt, StreamAppend
from backstory._errors import (
    StoreClosedError,
)
from backstory._filter import where
from backstory._recorded import NewEvent, RecordedEvent
from backstory._snapshot import Checkpoint
from backstory._store import EventStore
from backstory._subscription import Subscription
from backstory._versions import ANY
from backstory.testing._clock import ManualClock
from backstory.testing._store_contract._contract import Contract, skip_unless_durable
from backstory.testing._store_contract._sample import (
    drain,
    noted,
    snapshot,
    texts_of,
)


def calls_of(store: EventStore) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return a call of each method, by its name."""

    async def subscribe() -> object:
        async with store.subscribe() as subscription:
            return await anext(subscription)

    async def read_streams() -> object:
        return [stream async for stream in store.read_streams()]

    return {
        "append": lambda: store.append("task-1", noted("a"), expected_version=ANY),
        "append_many": lambda: store.append_many([StreamAppend("task-1", noted("a"), ANY)]),
        "append with a condition": lambda: store.append(
            "task-1", noted("a"), expected_version=ANY, condition=AppendCondition(where(), 0)
        ),
        "read_stream": lambda: drain(store.read_stream("task-1")),
        "read_log": lambda: drain(store.read_log()),
        "read_log_page": store.read_log_page,
        "read_event": lambda: store.read_event(uuid.uuid4()),
        "read_causes": lambda: drain(store.read_causes(uuid.uuid4())),
        "read_effects": lambda: drain(store.read_effects(uuid.uuid4())),
        "read_streams": read_streams,
        "subscribe": subscribe,
        "head": store.head,
        "statistics": store.statistics,
        "wait_beyond": lambda: store.wait_beyond(0),
        "save_snapshot": lambda: store.save_snapshot(snapshot(1)),
        "load_snapshot": lambda: store.load_snapshot("task-1", fingerprint="f"),
        "delete_snapshots": store.delete_snapshots,
        "save_checkpoint": lambda: store.save_checkpoint(Checkpoint("Counts", 1, "f", b"{}")),
        "load_checkpoint": lambda: store.load_checkpoint("Counts"),
        "delete_checkpoint": lambda: store.delete_checkpoint("Counts"),
    }


class Closing(Contract):
    """What holds before a store is opened and after it is closed."""

    async def test_store_that_was_not_opened_says_so(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        for name, call in calls_of(self.make_store(tmp_path, clock)).items():
            with pytest.raises(StoreClosedError):
                raise AssertionError(name, await call())

    async def test_store_that_was_closed_says_so(self, tmp_path: Path, clock: ManualClock) -> None:
        async with self.make_store(tmp_path, clock) as store:
            await store.append("task-1", noted("a"), expected_version=ANY)

        for name, call in calls_of(store).items():
            with pytest.raises(StoreClosedError):
                raise AssertionError(name, await call())

    async def test_closing_twice_is_harmless(self, tmp_path: Path, clock: ManualClock) -> None:
        store = self.make_store(tmp_path, clock)
        await store.aclose()
        await store.open()

        await store.aclose()
        await store.aclose()

        with pytest.raises(StoreClosedError):
            await store.head()

    async def test_closed_store_opens_again_with_its_log(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        store = self.make_store(tmp_path, clock)

        for text in "abc":
            async with store:
                await store.append("task-1", noted(text), expected_version=ANY)

        async with store, store.subscribe() as subscription:
            assert texts_of(await self.take(subscription, 3)) == ["a", "b", "c"]

    async def test_log_is_there_in_another_store(self, tmp_path: Path, clock: ManualClock) -> None:
        async with self.make_store(tmp_path, clock) as store:
            skip_unless_durable(store)
            await store.append("task-1", noted("a", "b"), expected_version=ANY)
            before = await drain(store.read_log())

        async with self.make_store(tmp_path, clock) as store:
            receipt = await store.append("task-1", noted("c"), expected_version=2)
            assert (await drain(store.read_log()))[:2] == before

        assert receipt.first_position > before[-1].position

    async def test_closing_tells_who_waits_for_events(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        store = self.make_store(tmp_path, clock)
        await store.open()

        async def follow() -> None:
            async with store.subscribe() as subscription:
                await anext(subscription)

        async def close() -> None:
            async with store.subscribe() as subscription, anyio.create_task_group() as group:
                group.start_soon(drain, until_closed(subscription))
                await subscription.wait_caught_up()
                await store.aclose()

        followed, closed = await self.gather(follow, close)

        assert isinstance(followed, StoreClosedError)
        assert closed is None

    async def test_appends_under_way_end_when_it_closes(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        store = self.make_store(tmp_path, clock)
        await store.open()
        events = noted(*map(str, range(20)))

        def append(event: NewEvent) -> Callable[[], Awaitable[object]]:
            async def call() -> object:
                return await store.append("task-1", [event], expected_version=ANY)

            return call

        answers = await self.gather(*map(append, events), store.aclose)

        *appended, _ = answers
        assert all(isinstance(answer, Receipt | StoreClosedError) for answer in appended)
        await store.open()
        written = {event.event_id for event in await drain(store.read_log())}
        acknowledged = {
            event.event_id
            for event, answer in zip(events, appended, strict=True)
            if isinstance(answer, Receipt)
        }
        assert written == acknowledged
        await store.aclose()


async def until_closed(subscription: Subscription) -> AsyncIterator[RecordedEvent]:
    """Yield what a subscription yields, and end when its store is closed."""
    try:
        async for recorded in subscription:
            yield recorded
    except StoreClosedError:
        return
