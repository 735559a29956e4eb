"""A simulation: the same seed the same run, faults as drawn, failures that say enough."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest
from tests.conftest import Counted, Counter, drain

from backstory import (
    ANY,
    Backstory,
    ConfigurationError,
    InvalidInputError,
    NewEvent,
    Projection,
    StoreUnavailableError,
    derive_event_id,
    on,
)
from backstory.testing import (
    NO_FAULTS,
    FaultKind,
    Faults,
    Scenario,
    Simulation,
    SimulationFailedError,
    simulate,
)

ROOT = Path(__file__).parents[3]


class Total(Projection):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


class Counting(Scenario):
    """Three tasks count twice each, with a key, as a program should."""

    projections: ClassVar[Sequence[type[Projection]]] = (Total,)

    async def run(self, story: Backstory) -> None:
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(self.count, story, name, name=f"counter {name}")

    async def count(self, story: Backstory, name: str) -> None:
        for number in (1, 2):
            request = story.using(idempotency_key=f"{name} {number}", actor=name)
            await request.execute(Counter.count, "c")

    async def check(self, story: Backstory) -> None:
        assert (await story.load(Counter, "c")).total == 6


class Program(Scenario):
    """A program in one function."""

    def __init__(self) -> None:
        self.lives: int = 0
        self.seen: list[Any] = []

    async def check(self, story: Backstory) -> None:
        pass


def test_same_seed_gives_the_same_run() -> None:
    one, other = Simulation(Counting, seed=7), Simulation(Counting, seed=7)

    one.run()
    other.run()

    assert one.trace == other.trace
    assert one.struck == other.struck
    assert one.digest == other.digest != ""


def returning(scenario: Scenario) -> Callable[[], Scenario]:
    """Return what makes a scenario that a test wants to look at afterwards."""
    return lambda: scenario


class Writing(Program):
    """Two tasks write a letter each, twice, and ask nobody."""

    async def run(self, story: Backstory) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.write, "a")
            tasks.start_soon(self.write, "b")

    async def write(self, letter: str) -> None:
        for _ in range(2):
            self.seen.append(letter)
            await anyio.lowlevel.checkpoint()


def test_seeds_give_every_order_of_work() -> None:
    scenarios = [Writing() for _ in range(50)]

    for seed, scenario in enumerate(scenarios):
        Simulation(returning(scenario), seed=seed, faults=NO_FAULTS).run()

    assert len({"".join(scenario.seen) for scenario in scenarios}) == 6


PRINT_DIGESTS = """
from tests.unit.testing.test_simulation import Cancelling, Counting
from backstory.testing import Simulation
for scenario in (Counting, Cancelling):
    for seed in range(5):
        simulation = Simulation(scenario, seed=seed)
        simulation.run()
        print(simulation.digest)
"""


@pytest.mark.slow
def test_same_seed_gives_the_same_run_in_every_process() -> None:
    roots = (str(ROOT / root) for root in ("framework", "aggregates", "projections", "."))
    path = os.pathsep.join(roots)

    printed = {
        subprocess.run(
            [sys.executable, "-c", PRINT_DIGESTS],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("0", "1", "2")
    }

    assert len(printed) == 1
    assert len(printed.pop().split()) == 10


class Cancelling(Program):
    """Cancels many tasks at once, which are in scopes of their own, and lets them go on."""

    async def run(self, story: Backstory) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(self.try_for_a_second, story, number)
            await anyio.sleep(1)
            tasks.cancel_scope.cancel()

    async def try_for_a_second(self, story: Backstory, number: int) -> None:
        self.seen.append([object() for _ in range(self.lives * number % 41)])
        with anyio.CancelScope():
            try:
                await anyio.sleep(number)
            finally:
                with anyio.CancelScope(shield=True):
                    await story.store.head()


def test_where_objects_lie_in_memory_changes_nothing() -> None:
    scenarios = [Cancelling() for _ in range(8)]
    digests: set[str] = set()

    for number, scenario in enumerate(scenarios):
        scenario.lives = 7 * number  # so many more objects lie between those that count
        simulation = Simulation(returning(scenario), seed=1)
        simulation.run()
        digests.add(simulation.digest)

    assert len(digests) == 1


def test_sound_program_passes_whatever_strikes() -> None:
    simulate(Counting, seeds=range(10))


def test_every_kind_of_fault_strikes_sooner_or_later() -> None:
    faults = Faults(fail=0.1, lose_answer=0.1, crash=0.1, delay=0.1, double=0.2, wake_early=0.3)
    struck: set[FaultKind] = set()

    for seed in range(12):
        simulation = Simulation(Counting, seed=seed, faults=faults)
        simulation.run()
        struck |= set(simulation.struck.values())

    assert len(struck) == 8


def test_no_more_faults_than_allowed_end_a_call() -> None:
    simulation = Simulation(Counting, seed=1, faults=Faults(fail=1, crash=1, count_max=3))

    simulation.run()

    ending = {"fail", "lose_answer", "crash", "crash_done"}
    assert sum(kind in ending for kind in simulation.struck.values()) <= 3


class TwoWriters(Program):
    """Reads and writes with nothing between, and so loses one of two updates."""

    async def run(self, story: Backstory) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.count, story, "a")
            tasks.start_soon(self.count, story, "b")

    async def count(self, story: Backstory, name: str) -> None:
        if await story.store.read_event(derive_event_id(name)) is not None:
            return
        total = len(await drain(story.read_stream("counter-c")))
        event = NewEvent.of(Counted(by=total + 1), event_id=derive_event_id(name))
        await story.store.append("counter-c", [event], expected_version=ANY)

    async def check(self, story: Backstory) -> None:
        counted = [event.data async for event in story.read_stream("counter-c")]
        assert counted == [Counted(by=1), Counted(by=2)], "an update was lost"


def test_failure_says_its_seed_what_struck_and_how_to_see_it_again() -> None:
    with pytest.raises(SimulationFailedError) as caught:
        simulate(TwoWriters, faults=NO_FAULTS)

    error = caught.value
    said = str(error)
    assert said.startswith(f"TwoWriters failed with seed {error.seed}: AssertionError: an update")
    assert said.endswith(f"again: Simulation(TwoWriters, seed={error.seed}, plan={{}}).run()")
    assert said.count("commit counter-c ← test:counted expecting any version → position") == 2
    assert isinstance(error.__cause__, AssertionError)


def test_faults_that_a_failure_does_not_need_are_left_out() -> None:
    seeds = (seed for seed in range(200) if fails_with_faults(seed))

    with pytest.raises(SimulationFailedError) as caught:
        simulate(TwoWriters, seeds=seeds, faults=Faults(delay=0.5, double=0.5))

    assert len(caught.value.plan) <= 1


def fails_with_faults(seed: int) -> bool:
    simulation = Simulation(TwoWriters, seed=seed, faults=Faults(delay=0.5, double=0.5))
    try:
        simulation.run()
    except SimulationFailedError:
        return len(simulation.struck) > 3
    return False


class Remembering(Program):
    """Keeps something in a local variable, something in the store, something outside."""

    async def run(self, story: Backstory) -> None:
        self.lives += 1
        local: list[int] = []
        for number in (1, 2, 3):
            await story.using(idempotency_key=str(number)).execute(Counter.count, "c")
            local.append(number)
        self.seen.append(local)

    async def check(self, story: Backstory) -> None:
        assert (await story.load(Counter, "c")).total == 3


def commits_of(scenario: Callable[[], Scenario]) -> list[int]:
    """Return the numbers of the appends in a run without faults."""
    simulation = Simulation(scenario, seed=0, plan={})
    simulation.run()
    return [call.number for call in simulation.trace if call.verb == "commit"]


@pytest.mark.parametrize(("kind", "before"), [("crash", 1), ("crash_done", 2)])
def test_crash_forgets_everything_but_store_and_world(kind: FaultKind, before: int) -> None:
    _, second, _ = commits_of(Remembering)
    scenario = Remembering()
    simulation = Simulation(returning(scenario), seed=0, plan={second: kind})

    simulation.run()

    assert scenario.lives == 2
    assert scenario.seen == [[1, 2, 3]]
    commits = [call for call in simulation.trace if call.verb == "commit"]
    assert [call.life for call in commits] == [1] * 2 + [2] * (3 - before)
    assert commits[1].outcome.startswith(f"{kind}: cancelled")


class WritesWhileDying(Remembering):
    """Will not be hurried, and writes down that it ends."""

    async def run(self, story: Backstory) -> None:
        try:
            await super().run(story)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await story.execute(Counter.count, "dying")


def test_crashed_life_reaches_the_store_no_more() -> None:
    first, *_ = commits_of(WritesWhileDying)
    simulation = Simulation(WritesWhileDying, seed=0, plan={first: "crash"})

    simulation.run()

    assert not [call for call in simulation.trace if "dying" in call.subject]


def test_store_that_fails_ends_a_life_when_nobody_catches_it() -> None:
    first, *_ = commits_of(Remembering)
    scenario = Remembering()

    Simulation(returning(scenario), seed=0, plan={first: "fail"}).run()

    assert scenario.lives == 2


class CausedByAFault(Remembering):
    async def run(self, story: Backstory) -> None:
        try:
            await super().run(story)
        except StoreUnavailableError as error:
            raise ValueError("no order today") from error


def test_error_that_a_fault_has_caused_ends_a_life_too() -> None:
    first, *_ = commits_of(CausedByAFault)
    scenario = CausedByAFault()

    Simulation(returning(scenario), seed=0, plan={first: "lose_answer"}).run()

    assert scenario.lives == 2


class Broken(Program):
    async def run(self, story: Backstory) -> None:
        raise ValueError("a mistake")


def test_any_other_error_is_a_failure() -> None:
    with pytest.raises(SimulationFailedError, match="ValueError: a mistake") as caught:
        simulate(Broken)

    assert isinstance(caught.value.__cause__, ValueError)


class LeavesTasks(Program):
    """Starts what it does not wait for."""

    async def run(self, story: Backstory) -> None:
        self.left = asyncio.create_task(self.forever())

    async def forever(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            self.seen.append("ended")

    async def check(self, story: Backstory) -> None:
        assert self.seen == ["ended"]


def test_tasks_that_were_left_end_with_the_program() -> None:
    Simulation(LeavesTasks, seed=0, plan={}).run()


class Sleeping(Program):
    async def run(self, story: Backstory) -> None:
        await story.execute(Counter.count, "c")
        await anyio.sleep(86_400)
        await story.execute(Counter.count, "c")

    async def check(self, story: Backstory) -> None:
        first, second = await drain(story.read_log())
        assert second.recorded_at - first.recorded_at == timedelta(days=1)


def test_sleeping_takes_no_time_and_moves_the_clock() -> None:
    Simulation(Sleeping, seed=0, plan={}).run()


class Waiting(Program):
    async def run(self, story: Backstory) -> None:
        await anyio.Event().wait()


class WaitingInTheCheck(Program):
    async def run(self, story: Backstory) -> None:
        pass

    async def check(self, story: Backstory) -> None:
        await anyio.Event().wait()


@pytest.mark.parametrize("scenario", [Waiting, WaitingInTheCheck])
def test_waiting_for_what_never_comes_is_a_failure(scenario: type[Scenario]) -> None:
    with pytest.raises(SimulationFailedError, match="everything in it waits"):
        simulate(scenario)


class Endless(Program):
    async def run(self, story: Backstory) -> None:
        while not self.seen:  # noqa: ASYNC110 - the mistake that is looked for
            await anyio.sleep(1)


@pytest.mark.slow
def test_going_on_for_ever_is_a_failure() -> None:
    with pytest.raises(SimulationFailedError, match="more than 100,000 steps"):
        Simulation(Endless, seed=0).run()


class TwiceArriving(Program):
    async def run(self, story: Backstory) -> None:
        await story.using(idempotency_key="1").execute(Counter.count, "c")

    async def check(self, story: Backstory) -> None:
        assert await story.store.head() == 1


def test_append_that_arrives_twice_is_written_once() -> None:
    (commit,) = commits_of(TwiceArriving)
    simulation = Simulation(TwiceArriving, seed=0, plan={commit: "double"})

    simulation.run()

    assert simulation.struck == {commit: "double"}


def test_fault_that_a_call_cannot_have_is_left_out() -> None:
    (commit,) = commits_of(TwiceArriving)
    simulation = Simulation(TwiceArriving, seed=0, plan={commit: "wake_early", 999: "crash"})

    simulation.run()

    assert simulation.struck == {}


def test_chance_of_the_process_is_put_back() -> None:
    random.seed(1)
    state = random.getstate()

    Simulation(Counting, seed=3).run()

    assert random.getstate() == state


@pytest.mark.parametrize("faults", [{"crash": 1.5}, {"delay": -1}, {"count_max": -1}])
def test_faults_that_are_no_chances_are_refused(faults: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(faults))):
        Faults(**faults)


@pytest.mark.anyio
async def test_simulation_inside_an_event_loop_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="event loop of its own"):
        simulate(Counting)
