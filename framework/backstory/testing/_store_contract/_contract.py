"""What every group of the contract needs: the factory, the fixtures, and a limit on waiting."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

import anyio
import pytest

from backstory._clock import Clock
from backstory._commit import Durability
from backstory._recorded import RecordedEvent
from backstory._store import EventStore
from backstory._subscription import Subscription
from backstory.testing._clock import ManualClock


class Contract:
    """What every group needs: the factory, and the fixtures that use it."""

    pytestmark: ClassVar = [pytest.mark.anyio]

    deadline_seconds: ClassVar[float] = 30
    """How long a test waits for what must happen. It is a limit, never a measurement: raise it for
    a store that is far away."""

    # Not abstract: pytest passes over abstract classes, and a suite that is not run says nothing.
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        """Return a store that is not open yet.

        Args:
            folder: An empty folder for each test. For the same folder the same log, where the
                store can: a test that closes a store and looks again makes a second one.
            clock: What events are to be recorded at.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a make_store(self, folder, clock)")

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Return the event loop of every test; stores run on asyncio."""
        return "asyncio"

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock of the store under test."""
        return ManualClock()

    @pytest.fixture
    async def store(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[EventStore]:
        """Yield the store under test, open and empty."""
        async with self.make_store(tmp_path, clock) as store:
            yield store

    def deadline(self) -> AbstractContextManager[object]:
        """Return a block that fails when it takes longer than anything should."""
        return anyio.fail_after(self.deadline_seconds)

    async def gather(self, *calls: Callable[[], Awaitable[object]]) -> list[object]:
        """Make calls at the same time, and return what each returned or raised."""
        answers: list[object] = [None] * len(calls)

        async def make(place: int, call: Callable[[], Awaitable[object]]) -> None:
            try:
                answers[place] = await call()
            except Exception as error:  # noqa: BLE001 - what was raised is the answer
                answers[place] = error

        with self.deadline():
            async with anyio.create_task_group() as group:
                for place, call in enumerate(calls):
                    group.start_soon(make, place, call)
        return answers

    async def take(self, subscription: Subscription, count: int) -> list[RecordedEvent]:
        """Return the next events of a subscription."""
        with self.deadline():
            return [await anext(subscription) for _ in range(count)]


def skip_unless_durable(store: EventStore) -> None:
    """Skip where nothing outlives the process."""
    if store.capabilities.durability is Durability.MEMORY:
        pytest.skip("capability: durability is MEMORY")


def skip_unless_tables(store: EventStore) -> None:
    """Skip where read models have no tables."""
    if not store.capabilities.has_tables:
        pytest.skip("capability: has_tables is False")


def skip_unless_multi_process(store: EventStore) -> None:
    """Skip where a log has one store only."""
    if not store.capabilities.is_multi_process:
        pytest.skip("capability: is_multi_process is False")
