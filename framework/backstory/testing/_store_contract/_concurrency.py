"""What holds when many act at a time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from backstory._commit import AppendCondition, Receipt, StreamAppend
from backstory._errors import (
    ConditionConflictError,
    DuplicateEventError,
    VersionConflictError,
)
from backstory._filter import where
from backstory._store import EventStore
from backstory._versions import ANY, NO_STREAM
from backstory.testing._clock import ManualClock
from backstory.testing._events import new_event
from backstory.testing._store_contract._contract import Contract, skip_unless_multi_process
from backstory.testing._store_contract._sample import (
    Noted,
    drain,
    noted,
    texts_of,
)


class Concurrency(Contract):
    """What holds when many act at a time."""

    async def test_appends_at_once_leave_no_gap(self, store: EventStore) -> None:
        async def append() -> object:
            return await store.append("task-1", noted("a"), expected_version=ANY)

        receipts = await self.gather(*[append] * 50)

        versions = [r.first_version for r in receipts if isinstance(r, Receipt)]
        assert sorted(versions) == list(range(1, 51))
        assert len(await drain(store.read_stream("task-1"))) == 50

    async def test_one_of_many_wins_an_expected_version(self, store: EventStore) -> None:
        async def append() -> object:
            return await store.append("task-1", noted("a"), expected_version=NO_STREAM)

        answers = await self.gather(*[append] * 50)

        assert sum(isinstance(answer, Receipt) for answer in answers) == 1
        assert sum(isinstance(answer, VersionConflictError) for answer in answers) == 49
        assert len(await drain(store.read_log())) == 1

    async def test_refused_append_fails_nobody_else(self, store: EventStore) -> None:
        taken = noted("taken")
        await store.append("task-0", taken, expected_version=NO_STREAM)

        def append(number: int) -> Callable[[], Awaitable[object]]:
            async def call() -> object:
                match number % 3:
                    case 0:
                        return await store.append("task-0", noted("x"), expected_version=NO_STREAM)
                    case 1:
                        return await store.append("task-9", taken, expected_version=ANY)
                    case _:
                        return await store.append(f"task-{number}", noted("b"), expected_version=0)

            return call

        answers = await self.gather(*[append(number) for number in range(30)])

        assert all(isinstance(answer, VersionConflictError) for answer in answers[0::3])
        assert all(isinstance(answer, DuplicateEventError) for answer in answers[1::3])
        assert all(isinstance(answer, Receipt) for answer in answers[2::3])
        assert len(await drain(store.read_log())) == 11

    async def test_reader_sees_whole_commits_only(self, store: EventStore) -> None:
        written = False

        async def write() -> None:
            nonlocal written
            for number in range(20):
                await store.append_many(
                    [
                        StreamAppend("task-1", noted("a", "a"), ANY),
                        StreamAppend(f"task-x{number}", noted("a"), ANY),
                    ]
                )
            written = True

        async def read() -> None:
            while not written:
                positions = [event.position for event in await drain(store.read_log())]
                assert len(positions) % 3 == 0
                assert positions == sorted(positions)

        answers = await self.gather(write, read, read)

        assert answers == [None, None, None]


class Sharing(Contract):
    """What holds when two stores are open on one log, as in two processes."""

    @pytest.fixture
    async def stores(
        self, tmp_path: Path, clock: ManualClock
    ) -> AsyncIterator[tuple[EventStore, EventStore]]:
        async with self.make_store(tmp_path, clock) as one:
            skip_unless_multi_process(one)
            async with self.make_store(tmp_path, clock) as other:
                yield one, other

    async def test_what_one_store_appends_the_other_reads(
        self, stores: tuple[EventStore, EventStore]
    ) -> None:
        one, other = stores
        await one.append("task-1", noted("a"), expected_version=NO_STREAM)
        await other.append("task-1", noted("b"), expected_version=1)
        await one.append("task-1", noted("c"), expected_version=2)

        assert texts_of(await drain(one.read_log())) == ["a", "b", "c"]
        assert await drain(other.read_log()) == await drain(one.read_log())
        assert await one.head() == await other.head()

    async def test_stores_judge_an_expected_version_together(
        self, stores: tuple[EventStore, EventStore]
    ) -> None:
        def append(store: EventStore) -> Callable[[], Awaitable[object]]:
            async def call() -> object:
                return await store.append("task-1", noted("a"), expected_version=NO_STREAM)

            return call

        answers = await self.gather(*[append(stores[number % 2]) for number in range(20)])

        assert sum(isinstance(answer, Receipt) for answer in answers) == 1
        assert sum(isinstance(answer, VersionConflictError) for answer in answers) == 19

    async def test_stores_judge_a_condition_together(
        self, stores: tuple[EventStore, EventStore]
    ) -> None:
        condition = AppendCondition(where(tags=["seat:12A"]), 0)

        def append(number: int) -> Callable[[], Awaitable[object]]:
            async def call() -> object:
                event = new_event(Noted(), tags=["seat:12A"])
                return await stores[number % 2].append(
                    f"task-{number}", [event], expected_version=ANY, condition=condition
                )

            return call

        answers = await self.gather(*map(append, range(20)))

        assert sum(isinstance(answer, Receipt) for answer in answers) == 1
        assert sum(isinstance(answer, ConditionConflictError) for answer in answers) == 19

    async def test_repetition_through_the_other_store_gets_the_first_receipt(
        self, stores: tuple[EventStore, EventStore]
    ) -> None:
        one, other = stores
        events = noted("a", "b")
        first = await one.append("task-1", events, expected_version=NO_STREAM)

        assert await other.append("task-1", events, expected_version=NO_STREAM) == first
        assert texts_of(await drain(one.read_log())) == ["a", "b"]

    async def test_subscriber_of_one_store_gets_what_the_other_appends(
        self, stores: tuple[EventStore, EventStore]
    ) -> None:
        one, other = stores

        async with one.subscribe() as subscription, anyio.create_task_group() as group:

            async def append() -> None:
                with self.deadline():
                    await subscription.wait_caught_up()
                await other.append("task-1", noted("a"), expected_version=ANY)

            group.start_soon(append)
            assert texts_of(await self.take(subscription, 1)) == ["a"]
