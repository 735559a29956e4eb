"""The program's own code raises in commands, messages, hooks, timers and handlers, whatever it is.

An error without a text, an interrupt, an exit, a value that cannot be compared: the store is as it
was, whoever asked is told, and nobody else is harmed. What is no `Exception` ends the block in
which an actor raised it, and leaves nothing behind; raised by a command it is its caller's affair.
"""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, drain, new_event
from tests.faults.account import faults
from tests.integration.test_cancellation import Watched

from backstory import ANY, Aggregate, Backstory, EventStore, Projection, Repository, on
from backstory.actors import Actor, ActorRef, ActorSystem, Directive, Termination
from backstory.actors import SupervisionPolicy as Policy

pytestmark = pytest.mark.anyio


class WordlessError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        faults.count()
        raise ZeroDivisionError("no text")

    __repr__ = __str__


class Incomparable:
    """Raises whatever is asked of it."""

    def __eq__(self, other: object) -> bool:
        faults.count()
        raise ZeroDivisionError("incomparable")

    __hash__ = None  # type: ignore[assignment]  # as Python does for what has an __eq__

    def __bool__(self) -> bool:
        faults.count()
        raise ZeroDivisionError("neither true nor false")


ERRORS: dict[str, Callable[[], BaseException]] = {
    "an error without a text": WordlessError,
    "an interrupt": KeyboardInterrupt,
    "an exit": lambda: SystemExit(3),
    "a group": lambda: BaseExceptionGroup("both", [WordlessError(), KeyboardInterrupt()]),
}
each_error = pytest.mark.parametrize("error", ERRORS)
each_ending = pytest.mark.parametrize("error", ["an interrupt", "an exit", "a group"])


class Frail(Aggregate, category="frail", snapshot_every=1):
    """Raises what it is told to, in the middle."""

    total: int = 0

    def count(self, error: BaseException | None = None) -> int:
        self.emit(Counted())
        if error is not None:
            faults.count()
            raise error
        return self.total

    def give_back(self, value: Any) -> Any:
        self.emit(Counted())
        return value

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


@each_error
@pytest.mark.fault(30, "T28", without="the care for an error without a text")
async def test_command_that_raises_anything_tells_its_caller_and_harms_nobody(
    store: EventStore, error: str
) -> None:
    watched = Watched()
    async with Backstory(store) as story:
        assert await story.execute(Frail.count, "1") == 1
        for _ in range(3):
            raised = ERRORS[error]()
            with pytest.raises(BaseException) as caught:  # noqa: PT011 - its identity says it all
                await story.execute(Frail.count, "1", raised)
            assert caught.value is raised
            del caught

        assert await story.execute(Frail.count, "1") == 2
        assert await story.execute(Frail.count, "2") == 1
        (first, _) = story.actors()[1:]
        assert first.last_error is None or "Error" in first.last_error
    assert await store.head() == 3
    await watched.check()


@pytest.mark.fault(30, without="the look at the type of an answer alone")
async def test_values_that_cannot_be_compared_go_in_and_out(store: EventStore) -> None:
    value = Incomparable()
    faults.count()
    async with Backstory(store) as story:
        for total in range(1, 4):
            assert await story.execute(Frail.give_back, "1", value) is value
            assert len(await drain(store.read_stream("frail-1"))) == total


class Player(Actor):
    """Raises what it is told to, where it is told to."""

    def __init__(self, place: str, error: Callable[[], BaseException], log: list[str]) -> None:
        self.place, self.error, self.log = place, error, log

    def fail_at(self, place: str) -> None:
        if place == self.place:
            self.place = ""  # once is enough
            faults.count()
            raise self.error()

    async def started(self) -> None:
        self.fail_at("started")

    async def stopped(self, error: Exception | None) -> None:
        self.log.append("stopped")
        self.fail_at("stopped")

    async def play(self) -> str:
        self.fail_at("message")
        return "played"

    async def begin(self, other: ActorRef["Player"]) -> None:
        context: Any = self.context
        context.after(0.001, Player.on_time)
        context.watch(other, Player.on_end)

    async def on_time(self) -> None:
        self.log.append("on time")
        self.fail_at("timer")

    async def on_end(self, termination: Termination) -> None:
        self.log.append("on end")
        self.fail_at("watch")


PLACES = ("started", "message", "timer", "watch", "stopped")
RESUMES = Policy(rules=((WordlessError, Directive.RESUME),), backoff_seconds=0.001)


async def wait_for(log: list[str], *wanted: str) -> None:
    with anyio.fail_after(DEADLINE_SECONDS):
        while not set(wanted) <= set(log):
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("directive", [Directive.RESUME, Directive.RESTART, Directive.STOP])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.fault(30, store="in_memory", without="the care for an error without a text")
async def test_error_without_a_text_is_judged_like_any_other(
    place: str, directive: Directive
) -> None:
    watched, log, quiet = Watched(), list[str](), list[str]()
    policy = Policy(rules=((WordlessError, directive),), backoff_seconds=0.001)
    with anyio.fail_after(DEADLINE_SECONDS):
        async with ActorSystem() as system:
            other = system.spawn(lambda: Player("", WordlessError, quiet))
            third = system.spawn(lambda: Player("", WordlessError, quiet))
            player = Player(place, WordlessError, log)
            ref = system.spawn(lambda: player, supervision=policy)
            await ref.tell(Player.begin, third)
            await ref.tell(Player.play)
            assert await third.ask(Player.play) == "played"
            await third.stop()
            await wait_settled(system, ref, log)

            assert await other.ask(Player.play) == "played"
    assert player.place == ""
    assert quiet == ["stopped", "stopped"]
    await watched.check()


async def wait_settled(system: ActorSystem, ref: ActorRef[Player], log: list[str]) -> None:
    """Return when the actor has seen everything, or has failed by what it has seen."""
    while not {"on time", "on end"} <= set(log):
        status = next((one for one in system.actors() if one.name == ref.name), None)
        if status is None or status.failure_count:
            return
        await anyio.lowlevel.checkpoint()


@each_ending
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.fault(30, store="in_memory", without="the end of the block by what is no Exception")
async def test_actor_that_raises_an_ending_ends_its_block_and_leaves_nothing(
    place: str, error: str
) -> None:
    watched, log, quiet = Watched(), list[str](), list[str]()

    async def play() -> None:
        async with ActorSystem() as system:
            other = system.spawn(lambda: Player("", WordlessError, quiet))
            third = system.spawn(lambda: Player("", WordlessError, quiet))
            ref = system.spawn(lambda: Player(place, ERRORS[error], log), supervision=RESUMES)
            await ref.tell(Player.begin, third)
            await ref.tell(Player.play)
            assert await third.ask(Player.play) == "played"
            await third.stop()
            await wait_for(log, "on time", "on end")
            assert await other.ask(Player.play) == "played"

    with (
        anyio.fail_after(DEADLINE_SECONDS),
        pytest.raises((KeyboardInterrupt, SystemExit, BaseExceptionGroup)),
    ):
        await play()

    assert quiet == ["stopped", "stopped"]
    await watched.check()


class Sturdy(Projection):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


def projection_that_raises(error: Callable[[], BaseException]) -> Any:
    class Breaking(Projection, name="breaking", attempt_count_max=1):
        total: int = 0

        @on(Counted)
        def _counted(self, event: Counted) -> None:
            self.total += event.by
            if event.by == 13:
                faults.count()
                raise error()

    return Breaking


async def count(store: EventStore, stream_id: str, *steps: int) -> None:
    events = [new_event(Counted(by=by)) for by in steps]
    await store.append(stream_id, events, expected_version=ANY)


@pytest.mark.fault(30, 18, without="the care for an error without a text")
async def test_error_without_a_text_parks_its_event(store: EventStore) -> None:
    breaking = projection_that_raises(WordlessError)
    async with Backstory(store, projections=[breaking, Sturdy]) as story:
        await count(store, "counter-1", 1, 13, 2)
        await count(store, "counter-2", 5)

        assert (await story.read_model(Sturdy)).total == 21
        assert (await story.read_model(breaking)).total == 6
        (parked,) = await story.projections.parked(breaking)
        assert (parked.position, parked.reason.partition(":")[0]) == (2, "WordlessError")


@each_ending
@pytest.mark.fault(30, without="the end of the block by what is no Exception")
async def test_handler_that_raises_an_ending_ends_the_block_and_costs_no_event(
    store: EventStore, error: str
) -> None:
    breaking = projection_that_raises(ERRORS[error])
    async with Backstory(store, projections=[Sturdy]) as story:
        await story.read_model(Sturdy)  # what a store begins when somebody waits, it keeps
    watched = Watched()

    async def run() -> None:
        async with Backstory(store, projections=[breaking, Sturdy]) as story:
            await story.execute(Frail.count, "1")
            await count(store, "counter-1", 1, 13, 2)
            await anyio.sleep_forever()

    with (
        anyio.fail_after(DEADLINE_SECONDS),
        pytest.raises((KeyboardInterrupt, SystemExit, BaseExceptionGroup)),
    ):
        await run()

    await watched.check()
    assert (await Repository(store).load(Frail, "1")).total == 1
    async with Backstory(store, projections=[Sturdy]) as story:
        assert (await story.read_model(Sturdy)).total == 17
        assert await story.execute(Frail.count, "1") == 2
