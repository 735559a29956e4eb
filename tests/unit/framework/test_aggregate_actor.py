"""Aggregates that stay loaded: in turn, as right as loaded ones, and gone when nobody needs them.

The tests run on a simulated loop: time is a number, and the order of work is drawn.
"""

import asyncio
import gc
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import anyio
import pytest
from tests.conftest import Counted, Counter, TooMuchError, drain, new_event
from tests.faults.account import faults

from backstory import (
    ANY,
    Aggregate,
    Backstory,
    ConfigurationError,
    DomainError,
    DuplicateEventError,
    InvalidInputError,
    NewEvent,
    RawEvent,
    Repository,
    StoreClosedError,
    StoreUnavailableError,
    VersionConflictError,
    derive_event_id,
    on,
)
from backstory.actors import Actor, ActorRef, ActorState, ActorSystem
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import FaultyStore
from backstory.testing._simulated_loop import SimulatedLoop

pytestmark = pytest.mark.anyio


def _fail(reason: str) -> None:
    raise RuntimeError(reason)


@pytest.fixture(params=range(3), ids="order {}".format)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Return a loop on which nobody waits, with one order of work."""
    seed = str(request.param)
    return "asyncio", {"loop_factory": lambda: SimulatedLoop(seed=seed, stuck=_fail)}


@pytest.fixture
async def store(anyio_backend: Any) -> FaultyStore:  # noqa: ARG001 - its loop is that of the store
    store = FaultyStore(InMemoryStore())
    await store.open()
    return store


class Shelf(Aggregate, category="shelf", snapshot_every=0):
    """Answers with what it is made of."""

    steps: list[int] = []

    def put(self, by: int) -> list[int]:
        self.emit(Counted(by=by))
        return self.steps

    def pair(self) -> tuple[str, list[int]]:
        return "steps", self.steps

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.steps.append(event.by)


class Exit(Aggregate, category="exit", snapshot_every=0):
    """Raises whatever it is told to."""

    total: int = 0

    def count(self) -> int:
        self.emit(Counted())
        return self.total

    def fail(self, error: BaseException, cause: Exception | None = None) -> None:
        self.emit(Counted())
        raise error from cause

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


def live(story: Backstory) -> dict[str, int | None]:
    """Return the versions of what is loaded, the longest unused first."""
    return {one.stream_id: one.version for one in story.live_aggregates()}


def running() -> list[asyncio.Task[Any]]:
    """Return the tasks that run now."""
    return sorted(asyncio.all_tasks(), key=id)


def stop_by_name(story: Backstory, stream_id: str) -> None:
    """Stop the actor of an aggregate, as nobody can from outside."""
    actor = story._live._system.find(stream_id)  # pyright: ignore[reportPrivateUsage]  # as said
    assert actor is not None
    actor.stop_nowait()


# In turn


async def test_command_costs_no_reload(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        for total in range(1, 11):
            assert await story.execute(Counter.count, "1") == total

    assert store.count("read_stream_page") == 1
    assert store.count("commit") == 10


async def test_repository_by_itself_loads_each_time(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        for total in range(1, 4):
            assert await story.repository.execute(Counter.count, "1") == total
        assert story.live_aggregates() == []

    assert store.count("read_stream_page") == 3


async def test_commands_run_in_the_order_in_which_they_were_asked_for(store: FaultyStore) -> None:
    asked: list[int] = []
    totals: dict[int, int] = {}

    async def ask(number: int) -> None:
        asked.append(number)
        totals[number] = await story.execute(Counter.count, "1")

    async with Backstory(store) as story, anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(ask, number)

    assert [totals[number] for number in asked] == list(range(1, 51))
    assert store.count("commit") == 50


async def test_aggregates_do_not_wait_for_each_other(store: FaultyStore) -> None:
    delay = store.delay("commit")
    async with Backstory(store) as story, anyio.create_task_group() as group:
        group.start_soon(story.execute, Counter.count, "slow")
        await delay.wait_reached()

        assert await story.execute(Counter.count, "quick") == 1

        delay.release()


async def test_idle_aggregates_have_no_tasks(store: FaultyStore) -> None:
    outside = running()
    async with Backstory(store) as story:
        await story.execute(Counter.count, "0")
        await anyio.wait_all_tasks_blocked()
        before = running()
        for number in range(100):
            await story.execute(Counter.count, str(number))
        await anyio.wait_all_tasks_blocked()

        assert len(story.live_aggregates()) == 100
        assert running() == before

    assert running() == outside


async def test_scope_runs_its_commands_on_what_is_loaded(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        await story.using(actor="ada").execute(Counter.count, "1")
        with story.using(actor="bob", correlation_id="c", tags=["t"]):
            await story.execute(Counter.count, "1")

        first, second = await drain(story.read_stream("counter-1"))

    assert store.count("read_stream_page") == 2  # one to load, one for this test
    assert first.metadata.actor == "ada"
    assert (second.metadata.actor, second.metadata.correlation_id) == ("bob", "c")
    assert second.metadata.tags == ("t",)


_asked_by: ContextVar[str] = ContextVar("asked_by", default="nobody")


class Guest(Aggregate, category="guest", snapshot_every=0):
    def name(self) -> str:
        return _asked_by.get()


async def test_command_sees_the_context_variables_of_its_caller(store: FaultyStore) -> None:
    async def ask(name: str) -> None:
        _asked_by.set(name)
        assert await story.execute(Guest.name, "1") == name

    async with Backstory(store) as story, anyio.create_task_group() as group:
        for name in ("ada", "bob", "eve"):
            group.start_soon(ask, name)


class Clerk(Actor):
    def __init__(self, story: Backstory) -> None:
        self.story = story

    async def count(self) -> int:
        return await self.story.execute(Counter.count, "1")


async def test_actor_can_execute_commands(store: FaultyStore) -> None:
    async with Backstory(store) as story, ActorSystem() as system:
        clerk: ActorRef[Clerk] = system.spawn(lambda: Clerk(story))

        assert [await clerk.ask(Clerk.count) for _ in range(3)] == [1, 2, 3]


# As right as what is loaded


@pytest.mark.fault("T28", store="in_memory", without="the drop of what failed")
@pytest.mark.parametrize("way", ["before", "after", "unknown", "crash"])
async def test_failed_append_leaves_the_next_command_the_truth(
    store: FaultyStore, way: str
) -> None:
    async with Backstory(store) as story:
        await story.execute(Counter.count, "1")
        match way:
            case "before":
                store.fail("commit")
            case "after":
                store.lose_answer("commit")
            case "unknown":
                store.crash_at("commit")
            case _:
                store.crash_at("commit", is_done=True)
        with pytest.raises(StoreUnavailableError) as failed:
            await story.execute(Counter.count, "1", 10)
        faults.count()
        await store.open()

        happened = way in {"after", "crash"}
        assert failed.value.outcome_unknown == (way != "before")
        assert await story.execute(Counter.look, "1") == (11 if happened else 1)
        assert await story.execute(Counter.count, "1") == (12 if happened else 2)


@pytest.mark.parametrize("fault", [FaultyStore.fail, FaultyStore.lose_answer])
async def test_key_makes_a_failed_append_repeatable(store: FaultyStore, fault: Any) -> None:
    async with Backstory(store) as story:
        await story.execute(Counter.count, "1")
        fault(store, "commit")
        with pytest.raises(StoreUnavailableError):
            await story.using(idempotency_key="k").execute(Counter.count, "1", 10)

        for _ in range(2):
            assert await story.using(idempotency_key="k").execute(Counter.count, "1", 10) == 11
            assert await story.execute(Counter.look, "1") == 11
        with pytest.raises(DuplicateEventError, match="another command"):
            await story.using(idempotency_key="k").execute(Counter.count, "1", 7)
        assert await story.execute(Counter.count, "1") == 12


async def test_key_that_comes_again_does_not_cost_the_live_state(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        await story.using(idempotency_key="k").execute(Counter.count, "1")
        await story.execute(Counter.count, "1")
        assert await story.using(idempotency_key="k").execute(Counter.count, "1") == 1

        assert live(story) == {"counter-1": 2}
        reads = store.count("read_stream_page")
        assert await story.execute(Counter.count, "1") == 3
    assert store.count("read_stream_page") == reads


async def test_refused_command_leaves_the_next_one_the_truth(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        await story.execute(Exit.count, "1")
        with pytest.raises(DomainError, match="no"):
            await story.execute(Exit.fail, "1", DomainError("no"))

        assert live(story) == {"exit-1": None}
        assert await story.execute(Exit.count, "1") == 2


async def test_append_behind_its_back_is_noticed_by_a_command_that_emits(
    store: FaultyStore,
) -> None:
    # A single attempt is enough: it was not overtaken, but behind.
    async with Backstory(store, attempt_count_max=1) as story:
        await story.execute(Counter.count, "1")
        await store.append("counter-1", [new_event(Counted(by=10))], expected_version=ANY)

        assert await story.execute(Counter.count, "1") == 12


async def test_append_behind_its_back_is_noticed_by_a_command_that_decides_nothing(
    store: FaultyStore,
) -> None:
    async with Backstory(store) as story:
        assert await story.execute(Counter.look, "1") == 0
        for total in range(10, 40, 10):
            await store.append("counter-1", [new_event(Counted(by=10))], expected_version=ANY)
            assert await story.execute(Counter.look, "1") == total


async def test_append_behind_its_back_is_noticed_by_a_command_that_refuses(
    store: FaultyStore,
) -> None:
    async with Backstory(store) as story:
        await story.execute(Counter.count, "1", 999_999)
        await store.append("counter-1", [new_event(Counted(by=-99))], expected_version=ANY)

        assert await story.execute(Counter.count, "1", 50) == 999_950
        with pytest.raises(TooMuchError, match="999950"):
            await story.execute(Counter.count, "1", 51)


async def test_refusal_that_cannot_be_verified_is_not_passed_on(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        await story.execute(Counter.count, "1", 1_000_000)
        store.fail("read_stream_page")

        with pytest.raises(StoreUnavailableError):
            await story.execute(Counter.count, "1")
        with pytest.raises(TooMuchError):
            await story.execute(Counter.count, "1")


async def test_stream_that_has_become_shorter_is_loaded_again(store: FaultyStore) -> None:
    class Restored(FaultyStore):
        """A store under which an older backup was put back."""

        behind: FaultyStore

        async def read_stream_page(self, read: Any) -> Any:
            return await self.behind.read_stream_page(read)

    restored = Restored(InMemoryStore())
    restored.behind = restored_to = FaultyStore(InMemoryStore())
    await restored_to.open()
    async with restored, Backstory(restored) as story:
        restored.behind = store
        await store.append(
            "counter-1", [new_event(Counted()) for _ in range(3)], expected_version=0
        )
        assert await story.execute(Counter.look, "1") == 3

        restored.behind = restored_to

        assert await story.execute(Counter.look, "1") == 0


async def test_what_was_saved_by_hand_is_seen(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        await story.execute(Counter.count, "1")
        ours = await story.load(Counter, "1")
        ours.count(10)
        assert await story.execute(Counter.look, "1") == 1  # ours is not the live one

        await story.save(ours)

        assert await story.execute(Counter.look, "1") == 11
        late = await story.load(Counter, "1")
        await story.execute(Counter.count, "1")
        late.count()
        with pytest.raises(VersionConflictError):
            await story.save(late)


async def test_two_programs_on_one_store_see_each_other(store: FaultyStore) -> None:
    async with Backstory(store) as one, Backstory(store) as other:
        for total in range(0, 20, 2):
            assert await one.execute(Counter.look, "1") == total
            assert await one.execute(Counter.count, "1") == total + 1
            assert await other.execute(Counter.look, "1") == total + 1
            assert await other.execute(Counter.count, "1") == total + 2


async def test_answer_that_could_be_changed_is_no_part_of_the_state(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        answer = await story.execute(Shelf.put, "1", 1)
        answer.append(99)
        _, steps = await story.execute(Shelf.pair, "1")
        steps.append(99)

        assert await story.execute(Shelf.put, "1", 2) == [1, 2]
        assert answer == [1, 99]
        assert live(story) == {"shelf-1": None}


async def test_class_that_was_defined_again_is_used(store: FaultyStore) -> None:
    def define(factor: int) -> Any:
        class Cell(Aggregate, category="cell", snapshot_every=0):
            total: int = 0

            def count(self) -> int:
                self.emit(Counted())
                return self.total

            @on(Counted)
            def _counted(self, event: Counted) -> None:
                self.total += event.by * factor

        return Cell

    async with Backstory(store) as story:
        assert await story.execute(define(1).count, "1") == 1
        assert await story.execute(define(10).count, "1") == 20


class Tolerant(Aggregate, category="tolerant", snapshot_every=0):
    unknown_count: int = 0

    def look(self) -> int:
        return self.unknown_count

    @on(RawEvent)
    def _met(self, event: RawEvent) -> None:
        self.unknown_count += 1


async def test_state_that_has_met_an_unknown_event_is_not_kept(store: FaultyStore) -> None:
    raw = NewEvent.raw("x.future", b"{}", event_id=derive_event_id("x"))
    await store.append("tolerant-1", [raw], expected_version=0)
    async with Backstory(store) as story:
        assert await story.execute(Tolerant.look, "1") == 1

        assert live(story) == {"tolerant-1": None}


async def test_nothing_older_is_used_once_a_snapshot_was_found_wrong(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        await story.execute(Counter.count, "1")
        reads = store.count("read_stream_page")

        story.repository.snapshots.difference_count += 1

        assert await story.execute(Counter.count, "1") == 2
        assert store.count("read_stream_page") == reads + 1
        assert await story.execute(Counter.count, "1") == 3
    assert store.count("read_stream_page") == reads + 1


# Errors


async def test_error_of_a_command_reaches_its_caller_as_it_is(store: FaultyStore) -> None:
    cause, error = ValueError("the cause"), DomainError("the error")
    async with Backstory(store) as story:
        with pytest.raises(DomainError) as raised:
            await story.execute(Exit.fail, "1", error, cause)
        with pytest.raises(ConfigurationError, match="no command"):
            await story.execute(cast("Any", print), "1")

    assert raised.value is error
    assert error.__cause__ is cause


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_error_that_ends_programs_reaches_its_caller_alone(
    store: FaultyStore, error: BaseException
) -> None:
    async with Backstory(store) as story:
        with pytest.raises(type(error)) as raised:
            await story.execute(Exit.fail, "1", error)

        assert raised.value is error
        assert await story.execute(Exit.count, "1") == 1


# Cancellation


async def test_cancelled_command_that_has_not_begun_does_not_run(store: FaultyStore) -> None:
    delay = store.delay("commit")
    async with Backstory(store) as story, anyio.create_task_group() as group:
        group.start_soon(partial(story.execute, Counter.count, "1", 1))
        await delay.wait_reached()
        async with anyio.create_task_group() as gone:
            gone.start_soon(partial(story.execute, Counter.count, "1", 10))
            await anyio.wait_all_tasks_blocked()
            gone.cancel_scope.cancel()
        delay.release()

        assert await story.execute(Counter.count, "1", 100) == 101


async def test_cancelled_command_that_has_begun_ends(store: FaultyStore) -> None:
    delay = store.delay("commit")
    async with Backstory(store) as story:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(story.execute, Counter.count, "1", 1))
            await delay.wait_reached()
            group.cancel_scope.cancel()
        assert await store.head() == 0
        delay.release()

        assert await story.execute(Counter.count, "1", 10) == 11
    assert store.count("read_stream_page") == 1


async def test_actor_that_somebody_stops_makes_room_for_another(store: FaultyStore) -> None:
    delay = store.delay("commit")
    answers: list[int] = []

    async def ask() -> None:
        answers.append(await story.execute(Counter.count, "1"))

    async with Backstory(store) as story:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask)
            await delay.wait_reached()
            await anyio.wait_all_tasks_blocked()
            stop_by_name(story, "counter-1")
            for _ in range(3):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            delay.release()

        assert sorted(answers) == [1, 2, 3, 4, 5, 6]
        assert live(story) == {"counter-1": 6}


# The end


async def test_block_ends_after_the_commands_that_were_asked_for(store: FaultyStore) -> None:
    outside = running()
    delay = store.delay("commit")
    answers: list[int] = []

    async def ask() -> None:
        answers.append(await story.execute(Counter.count, "1"))

    story = Backstory(store)
    async with anyio.create_task_group() as group:
        async with story:
            scope = story.using(actor="late")
            for _ in range(5):
                group.start_soon(ask)
            await delay.wait_reached()
            await anyio.wait_all_tasks_blocked()
            group.start_soon(_release_later, delay)
        with pytest.raises(StoreClosedError):
            await story.execute(Counter.count, "1")
        with pytest.raises(StoreClosedError):
            await scope.execute(Counter.count, "1")

    assert sorted(answers) == [1, 2, 3, 4, 5]
    assert story.live_aggregates() == []
    assert running() == outside


async def _release_later(delay: Any) -> None:
    await anyio.sleep(1)
    delay.release()


async def test_block_does_not_wait_for_ever_for_a_command(store: FaultyStore) -> None:
    outside = running()
    delay = store.delay("commit", times=None)
    refused: list[type[Exception]] = []

    async def ask() -> None:
        try:
            await story.execute(Counter.count, "1")
        except (StoreUnavailableError, StoreClosedError) as error:
            refused.append(type(error))

    async with anyio.create_task_group() as group, Backstory(store) as story:
        group.start_soon(ask)
        await delay.wait_reached()
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()

    assert set(refused) == {StoreUnavailableError, StoreClosedError}
    assert running() == outside


async def test_backstory_can_be_opened_again(store: FaultyStore) -> None:
    story = Backstory(store)
    for total in range(1, 4):
        async with story:
            assert await story.execute(Counter.count, "1") == total
            assert live(story) == {"counter-1": total}


async def test_error_of_the_block_leaves_it_as_it_is(store: FaultyStore) -> None:
    outside = running()
    with pytest.raises(ZeroDivisionError):
        async with Backstory(store) as story:
            await story.execute(Exit.fail, "1", ZeroDivisionError())

    assert running() == outside


# Leaving


async def test_aggregate_leaves_when_it_was_idle_for_long(store: FaultyStore) -> None:
    async with Backstory(store, idle_seconds=100) as story:
        await story.execute(Counter.count, "1")
        await anyio.sleep(80)
        await story.execute(Counter.count, "2")
        await anyio.sleep(50)
        assert live(story) == {"counter-2": 1}
        await anyio.sleep(80)
        assert live(story) == {}

        assert await story.execute(Counter.count, "1") == 2
        assert live(story) == {"counter-1": 2}


async def test_those_not_used_for_the_longest_time_leave_first(store: FaultyStore) -> None:
    async with Backstory(store, live_aggregates_max=3) as story:
        for id in "abcadbe":
            await story.execute(Counter.count, id)
            await anyio.wait_all_tasks_blocked()

        assert list(live(story)) == ["counter-d", "counter-b", "counter-e"]


async def test_more_than_the_limit_leave_when_they_are_done(store: FaultyStore) -> None:
    async with Backstory(store, live_aggregates_max=10, idle_seconds=1_000) as story:
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(story.execute, Counter.count, str(number))
        await anyio.sleep(250)

        assert len(story.live_aggregates()) == 10
        assert await store.head() == 100


async def test_none_stays_where_none_may(store: FaultyStore) -> None:
    async with Backstory(store, live_aggregates_max=0) as story:
        for total in range(1, 4):
            assert await story.execute(Counter.count, "1") == total
            await anyio.wait_all_tasks_blocked()
    assert store.count("read_stream_page") == 3


async def test_busy_aggregate_does_not_leave(store: FaultyStore) -> None:
    delay = store.delay("commit")
    async with Backstory(store, idle_seconds=1, live_aggregates_max=1) as story:
        async with anyio.create_task_group() as group:
            group.start_soon(story.execute, Counter.count, "1")
            await delay.wait_reached()
            group.start_soon(story.execute, Counter.count, "1")
            await story.execute(Counter.count, "2")
            await anyio.sleep(10)

            (busy,) = story.live_aggregates()
            assert (busy.stream_id, busy.state) == ("counter-1", ActorState.RUNNING)
            assert (busy.version, busy.mailbox_depth, busy.idle_seconds) == (None, 1, 0.0)
            delay.release()

        assert await story.execute(Counter.count, "1") == 3


async def test_no_timer_runs_while_nothing_is_live(store: FaultyStore) -> None:
    async with Backstory(store, idle_seconds=1) as story:
        await story.execute(Counter.count, "1")
        await anyio.sleep(10)
        assert story.live_aggregates() == []
        loop = asyncio.get_running_loop()

        gc.collect()
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]  # what nothing else tells


@pytest.mark.fault("T29", store="in_memory", without="the look whether it is idle")
async def test_no_command_is_lost_to_an_aggregate_that_leaves(store: FaultyStore) -> None:
    answers: list[int] = []

    async def ask(number: int) -> None:
        for step in range(10):
            await anyio.sleep((number * 7 + step * 3) % 5 * 0.0005)
            answers.append(await story.execute(Counter.count, "1"))

    async with Backstory(store, idle_seconds=0.001, live_aggregates_max=1) as story:
        async with anyio.create_task_group() as group:
            for number in range(30):
                group.start_soon(ask, number)
                group.start_soon(story.execute, Counter.count, f"other-{number}")

        faults.count(30)
        assert sorted(answers) == list(range(1, 301))
        assert await story.execute(Counter.look, "1") == 300


async def test_idle_aggregate_tells_for_how_long(store: FaultyStore) -> None:
    async with Backstory(store) as story:
        await story.execute(Counter.count, "1")
        await anyio.wait_all_tasks_blocked()
        before = story.live_aggregates()[0].idle_seconds
        await anyio.sleep(7)

        (one,) = story.live_aggregates()
        assert (one.stream_id, one.version, one.state) == ("counter-1", 1, ActorState.IDLE)
        assert one.idle_seconds == before + 7


@pytest.mark.parametrize(
    "setting",
    [
        *({"live_aggregates_max": number} for number in (-1, 1.5, True, None)),
        *({"idle_seconds": seconds} for seconds in (0, -1, float("inf"), float("nan"), None)),
    ],
)
def test_impossible_setting_is_refused(setting: Any) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(setting))):
        Backstory("memory://", **setting)


async def test_repository_keeps_nothing(store: FaultyStore) -> None:
    repository = Repository(store)
    for total in range(1, 4):
        assert await repository.execute(Counter.count, "1") == total

    assert store.count("read_stream_page") == 3
