"""The program's own code raises: in a command, a handler, a query, a value, a clock, a reader."""

import gc
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from msgspec import Struct
from tests.conftest import Counted, Counter, Measured, drain, new_event, noted, texts_of
from tests.faults.account import faults
from tests.integration.test_cancellation import Watched

from backstory import (
    Aggregate,
    Backstory,
    ConfigurationError,
    Decision,
    EncodeError,
    Event,
    EventFilter,
    EventStore,
    OnFailure,
    Projection,
    ProjectionFailedError,
    Repository,
    StoreUnavailableError,
    VersionConflictError,
    on,
    where,
)
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio


class Struck(Event, type="fault:struck"):
    where: str


class Labelled(Event, type="fault:labelled"):
    label: str

    def event_tags(self) -> Sequence[str]:
        if self.label == "bad":
            faults.count()
            raise ZeroDivisionError(self.label)
        return [self.label]


class Brittle(Aggregate, category="brittle", snapshot_every=1):
    """Breaks where it is told to."""

    total: int = 0

    def count(self, breaks: str = "") -> int:
        self.emit(Counted())
        if breaks == "command":
            faults.count()
            raise ZeroDivisionError(breaks)
        if breaks:
            self.emit(Struck(where=breaks))
        return self.total

    def label(self, label: str) -> None:
        self.emit(Counted())
        self.emit(Labelled(label=label))

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by

    @on(Struck)
    def _struck(self, event: Struck) -> None:
        faults.count()
        raise ZeroDivisionError(event.where)


class Fragile(Projection, on_failure=OnFailure.STOP, attempt_count_max=1):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by
        if self.total == 3:
            faults.count()
            raise ZeroDivisionError("three")


class Sturdy(Projection):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


@pytest.mark.fault(30, "T28", without="a fresh load for each command")
@pytest.mark.parametrize("breaks", ["command", "handler"])
async def test_command_that_breaks_writes_nothing_and_the_next_sees_the_truth(
    store: EventStore, breaks: str
) -> None:
    async with Backstory(store, projections=[Sturdy]) as story:
        assert await story.execute(Brittle.count, "1") == 1
        for _ in range(3):
            with pytest.raises(ZeroDivisionError, match=breaks):
                await story.execute(Brittle.count, "1", breaks)

        assert await story.execute(Brittle.count, "1") == 2
        assert (await story.read_model(Sturdy)).total == 2
    assert await store.head() == 2


@pytest.mark.fault(30, without="the append that comes only behind a command that has ended")
async def test_tags_that_cannot_be_made_write_nothing(store: EventStore) -> None:
    repository = Repository(store)

    with pytest.raises((ZeroDivisionError, EncodeError)):
        await repository.execute(Brittle.label, "1", "bad")

    assert await store.head() == 0
    await repository.execute(Brittle.label, "1", "good")
    assert [event.type for event in await drain(store.read_log(where=where(tags=["good"])))] == [
        "fault:labelled"
    ]


@pytest.mark.fault(30, without="the catch of what a handler raises")
async def test_handler_that_raises_stops_no_other_projection(store: EventStore) -> None:
    async with Backstory(store, projections=[Fragile, Sturdy]) as story:
        for number in range(1, 6):
            assert await story.execute(Brittle.count, "1") == number

        with pytest.raises(ProjectionFailedError) as failed:
            await story.read_model(Fragile)
        assert (await story.read_model(Sturdy)).total == 5

    assert failed.value.position == 3
    assert isinstance(failed.value.__cause__, ZeroDivisionError)


class Asking(Decision):
    """Breaks while it says what it looks at, or while it decides."""

    breaks: str

    def query(self) -> EventFilter:
        if self.breaks == "query":
            faults.count()
            raise ZeroDivisionError(self.breaks)
        return where(types=[Counted])

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        if self.breaks == "handler":
            faults.count()
            raise ZeroDivisionError(self.breaks)

    def decide(self) -> None:
        self.emit(Counted(), stream_id="decision-1")
        if self.breaks == "decide":
            faults.count()
            raise ZeroDivisionError(self.breaks)


@pytest.mark.fault(30, without="the append that comes only behind a decision that has ended")
@pytest.mark.parametrize("breaks", ["query", "handler", "decide"])
async def test_decision_that_breaks_writes_nothing(store: EventStore, breaks: str) -> None:
    await store.append("counter-1", [new_event(Counted())], expected_version=0)
    async with Backstory(store) as story:
        with pytest.raises(ZeroDivisionError, match=breaks):
            await story.decide(Asking(breaks=breaks))

        assert await store.head() == 1
        await story.decide(Asking(breaks=""))
    assert await store.head() == 2


class Incomparable(Struct):
    """Raises when somebody compares it."""

    def __eq__(self, other: object) -> bool:
        faults.count()
        raise ZeroDivisionError("incomparable")

    __hash__ = None  # type: ignore[assignment]  # as Python does for what has an __eq__


@pytest.mark.fault(30, without="the catch of whatever a comparison raises")
async def test_value_that_cannot_be_compared_is_refused(store: EventStore) -> None:
    with pytest.raises(EncodeError):
        new_event(Measured(value=Incomparable()))

    assert await store.head() == 0


@pytest.mark.fault(30, without="reads that hold nothing between their pages")
async def test_reader_that_is_left_in_the_middle_holds_nothing(store: EventStore) -> None:
    await store.append("task-1", noted(*"abcdefgh"), expected_version=0)
    watched = Watched()

    for number in range(20):
        faults.count()
        if number % 2:
            async with aclosing(store.read_log()) as events:
                await anext(events)
        else:
            async for _ in store.read_log():
                break
        assert len(await drain(store.read_log())) == 8
    gc.collect()

    await watched.check()
    await store.append("task-1", noted("i"), expected_version=8)


@pytest.mark.fault(30, without="the store that outlives an error of a subscriber")
async def test_subscriber_that_raises_takes_nobody_along(store: EventStore) -> None:
    async def follow() -> None:
        async with store.subscribe() as subscription:
            async for _ in subscription:
                faults.count()
                raise ZeroDivisionError

    await store.append("task-1", noted("a"), expected_version=0)
    with pytest.raises(ZeroDivisionError):
        await follow()

    async with store.subscribe() as subscription:
        assert texts_of([await anext(subscription)]) == ["a"]
    await store.append("task-1", noted("b"), expected_version=1)


@pytest.mark.fault(30, without="the wait for the projections apart from the error of the block")
async def test_error_in_the_block_comes_out_as_it_is(store: EventStore) -> None:
    watched = Watched()

    async def use(error: BaseException) -> None:
        async with Backstory(store, projections=[Sturdy]) as story:
            await story.execute(Brittle.count, "1")
            raise error

    for error in (ZeroDivisionError("block"), KeyboardInterrupt(), SystemExit(3)):
        faults.count()
        with pytest.raises(type(error)) as caught:
            await use(error)
        assert caught.value is error

    await watched.check()
    assert (await Repository(store).load(Brittle, "1")).total == 3


async def lose(faulty: FaultyStore, how: str) -> None:
    faults.count()
    if how == "lost answer":
        faulty.lose_answer("commit")
    else:
        faulty.fail("commit")


@pytest.mark.fault("T28", "T12", without="a fresh load for each command")
@pytest.mark.parametrize("how", ["failure", "lost answer"])
async def test_command_whose_append_failed_is_judged_anew(store: EventStore, how: str) -> None:
    faulty = FaultyStore(store)
    faulty_repository = Repository(faulty)
    assert await faulty_repository.using(idempotency_key="1").execute(Counter.count, "1") == 1

    await lose(faulty, how)
    with pytest.raises(StoreUnavailableError) as failed:
        await faulty_repository.using(idempotency_key="2").execute(Counter.count, "1")

    assert failed.value.outcome_unknown == (how == "lost answer")
    for _ in range(2):
        assert await faulty_repository.using(idempotency_key="2").execute(Counter.count, "1") == 2
    assert (await faulty_repository.load(Counter, "1")).steps == [1, 1]


@pytest.mark.fault("T28", "T15", without="the snapshot behind the append")
@pytest.mark.parametrize("how", ["failure", "conflict"])
async def test_append_that_failed_leaves_no_snapshot(store: EventStore, how: str) -> None:
    faulty = FaultyStore(store)
    repository = Repository(faulty)
    outdated = await repository.load(Brittle, "1")
    outdated.count()
    if how == "conflict":
        faults.count()
        await store.append("brittle-1", noted("first"), expected_version=0)
    else:
        await lose(faulty, how)

    with pytest.raises((StoreUnavailableError, VersionConflictError)):
        await repository.save(outdated)

    assert (await store.statistics()).snapshot_count == 0


def make_waiting_command() -> Any:
    class Waiting(Aggregate, category="waiting"):
        async def wait(self) -> None:
            await anyio.lowlevel.checkpoint()

    return Waiting


def make_waiting_handler() -> Any:
    class Waiting(Aggregate, category="waiting"):
        @on(Counted)  # type: ignore[arg-type]  # the mistake under test  # pyright: ignore[reportCallIssue, reportArgumentType, reportUntypedFunctionDecorator]
        async def _counted(self, event: Counted) -> None:
            await anyio.lowlevel.checkpoint()

    return Waiting


def make_waiting_decision() -> Any:
    class Waiting(Decision):
        def query(self) -> EventFilter:
            return where(types=[Counted])

        async def decide(self) -> None:
            await anyio.lowlevel.checkpoint()

    return Waiting


@pytest.mark.fault("T27", store="in_memory", without="the check for coroutines")
@pytest.mark.parametrize(
    "make", [make_waiting_command, make_waiting_handler, make_waiting_decision]
)
def test_what_would_wait_between_check_and_emit_cannot_be_defined(make: Any) -> None:
    faults.count()

    with pytest.raises(ConfigurationError, match="Waiting"):
        make()
