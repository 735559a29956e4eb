"""Runs a program under a seed: another order of work, faults and crashes for each seed.

What survives is the store, in memory, and the `Scenario`, which is the world outside. Everything
else belongs to one life of the program, which ends as a process does: by coming to its end, by an
error that nobody caught, by a crash. After a crash, or where a failure of the store was let out,
the next life begins with what the store holds. In the end the read models are compared with a fold
of the log, and the scenario is asked whether all is well.

Why the same seed gives the same run: the loop draws the order of work and owns the clock (see
`_simulated_loop`), the faults are drawn by the numbers of the calls (see `_simulated_store`), event
ids count, and Python's `random` is seeded for the time of the run. What a program takes from
elsewhere is its own affair: the machine's clock, the order of a set of objects without a hash of
their own, global variables of the run before.

A failure is made smaller before it is shown. The run is repeated with the faults that struck as a
plan, then with one of them left out, and so on, as long as it fails in the same way.
"""

import asyncio
import gc
import hashlib
import random
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import ClassVar, Final, cast

import anyio

from backstory._app import Backstory
from backstory._errors import ConfigurationError, StoreUnavailableError
from backstory._fold import fold_log
from backstory._ids import IdSource
from backstory._live_aggregates import LIVE_AGGREGATES_MAX
from backstory._projection import Projection
from backstory.stores.in_memory import InMemoryStore
from backstory.testing._clock import START
from backstory.testing._difference import differing_fields
from backstory.testing._faulty_store import StoreCall
from backstory.testing._ids import SequentialIds
from backstory.testing._simulated_loop import SimulatedLoop
from backstory.testing._simulated_store import (
    DEFAULT_FAULTS,
    FaultKind,
    Faults,
    FaultSource,
    SimulatedStore,
    TracedCall,
)

SEEDS: Final = range(200)
_SHOWN_CALL_COUNT: Final = 12
_SMALLER_RUN_COUNT_MAX: Final = 40


class Scenario(ABC):
    """A program, the world around it, and what must hold afterwards. Subclass it.

        class TwoBuyers(Scenario):
            projections = (SeatMap,)

            def __init__(self) -> None:
                self.tickets: list[str] = []  # in the buyers' hands

            async def run(self, story: Backstory) -> None:
                async with anyio.create_task_group() as buyers:
                    buyers.start_soon(self.buy, story, "ada")
                    buyers.start_soon(self.buy, story, "bob")

            async def check(self, story: Backstory) -> None:
                assert len(self.tickets) == 1

    One is made for each run. Its attributes are what lies outside the program: who asked for
    something, what they were told, which letters were sent. They survive its crashes. What the
    program itself knows stands in local variables, which do not.
    """

    projections: ClassVar[Sequence[type[Projection]]] = ()
    """The projections that run beside the program."""

    @abstractmethod
    async def run(self, story: Backstory) -> None:
        """Be the program, and return when there is nothing left to do.

        Called again after each crash, also one that comes when this has returned, and when this
        lets out a `StoreUnavailableError` or an error that one has caused; any other error is a
        failure.
        """

    @abstractmethod
    async def check(self, story: Backstory) -> None:
        """Look at the store and at the world when all is done, without faults; raise what is wrong.

        The read models have been compared with a fold of the log before.
        """


class SimulationFailedError(AssertionError):
    """A scenario failed; what it raised is the cause."""

    def __init__(
        self,
        *,
        scenario: str,
        seed: int,
        reason: str,
        plan: Mapping[int, FaultKind],
        trace: Sequence[TracedCall],
    ) -> None:
        self.scenario = scenario
        """The scenario's name."""
        self.seed = seed
        """The seed that it failed with."""
        self.reason = reason
        """What was wrong."""
        self.plan = plan
        """The faults that the failure needs, by the number of the call that they strike."""
        self.trace = trace
        """Every call of the store in the run that failed."""
        super().__init__(self._message())

    def _message(self) -> str:
        last = self.trace[-_SHOWN_CALL_COUNT:]
        struck = [call for call in self.trace if call.number in self.plan and call not in last]
        plan = ", ".join(f"{number}: {kind!r}" for number, kind in sorted(self.plan.items()))
        said = [
            f"{self.scenario} failed with seed {self.seed}: {self.reason}",
            "what struck before the last calls:" if struck else "",
            *(f"  {call}" for call in struck),
            "the last calls of the store:",
            *(f"  {call}" for call in last),
            f"run it again: Simulation({self.scenario}, seed={self.seed}, plan={{{plan}}}).run()",
        ]
        return "\n".join(filter(None, said))


def simulate(
    scenario: Callable[[], Scenario],
    *,
    seeds: Iterable[int] = SEEDS,
    faults: Faults = DEFAULT_FAULTS,
) -> None:
    """Run a scenario with many seeds, and stop at the first that fails.

        def test_seat_is_sold_once() -> None:
            simulate(TwoBuyers)

    Takes some milliseconds for each seed, and waits for nothing: its time is not ours. Not to be
    called where an event loop is running.

    Args:
        scenario: Makes the scenario, afresh for each run; its class, as a rule.
        seeds: What the runs are drawn from; 0 to 199 when not said.
        faults: How likely the faults are.

    Raises:
        SimulationFailedError: A run failed; it says the seed and the fewest faults that were found
            to be enough.
        ConfigurationError: An event loop is running here.
    """
    for seed in seeds:
        simulation = Simulation(scenario, seed=seed, faults=faults)
        try:
            simulation.run()
        except SimulationFailedError as error:
            smallest = _smallest(scenario, error)
            raise smallest from smallest.__cause__


class Simulation:
    """One run of a scenario under one seed.

        simulation = Simulation(TwoBuyers, seed=17)
        simulation.run()
        for call in simulation.trace:
            print(call)

    The same seed gives the same run, in every process.
    """

    def __init__(
        self,
        scenario: Callable[[], Scenario],
        *,
        seed: int,
        faults: Faults = DEFAULT_FAULTS,
        plan: Mapping[int, FaultKind] | None = None,
    ) -> None:
        """Make a run; `run` does it.

        Args:
            scenario: Makes the scenario; its class, as a rule.
            seed: What order of work and faults are drawn from.
            faults: How likely the faults are.
            plan: The faults that strike, by the numbers of the calls, in place of drawn ones. A
                fault that a call cannot have is left out.
        """
        self.trace: list[TracedCall] = []
        """Every call of the store, of all lives, in the order in which they were answered."""
        self.digest = ""
        """A sum over the trace and the log, after the run: the same seed gives the same."""
        self._name = getattr(scenario, "__name__", repr(scenario))
        self._scenario = scenario()
        self._seed = seed
        self._faults = FaultSource(faults, seed=seed, plan=plan)
        self._calls: list[StoreCall] = []
        self._ids = SequentialIds()
        self._life_count = 0
        self._end: Callable[[], None] = _nothing
        self._verdict = ""

    @property
    def struck(self) -> Mapping[int, FaultKind]:
        """The faults that struck, by the numbers of the calls; a `plan` for another run."""
        return MappingProxyType(self._faults.struck)

    def run(self) -> None:
        """Run the scenario to its end, once.

        Raises:
            SimulationFailedError: It failed; what it raised is the cause.
            ConfigurationError: An event loop is running here.
        """
        _check_no_loop()
        loop = SimulatedLoop(seed=f"order {self._seed}", stuck=self._give_up)
        with _held_still(self._seed), asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(self._run(_LoopClock(loop)))
            except Exception as error:
                raise self._failure(error) from error

    def _failure(self, error: Exception) -> SimulationFailedError:
        return SimulationFailedError(
            scenario=self._name,
            seed=self._seed,
            reason=_said(error),
            plan=dict(self.struck),
            trace=self.trace,
        )

    async def _run(self, clock: "_LoopClock") -> None:
        async with InMemoryStore(clock=clock) as store:
            try:
                while not await self._live(store):
                    pass
                await self._check(store)
            finally:
                self.digest = await _digest(self.trace, store)

    async def _live(self, store: InMemoryStore) -> bool:
        """Let the program live once; return whether it came to its end."""
        self._life_count += 1
        life = _Life(
            partial(
                SimulatedStore,
                store,
                life=self._life_count,
                faults=self._faults,
                trace=self.trace,
                calls=self._calls,
            ),
            # With each other seed, commands load: what keeps its state meets no snapshots.
            live_aggregates_max=self._seed % 2 * LIVE_AGGREGATES_MAX,
        )
        self._end = life.crash
        try:
            # A task of its own: what it has in context variables is its own, too.
            is_over = await asyncio.create_task(life.run(self._scenario, self._ids), name="program")
        finally:
            await _end_tasks()
        self._check_verdict()
        return is_over

    async def _check(self, store: InMemoryStore) -> None:
        projections = self._scenario.projections
        with anyio.CancelScope() as scope:
            self._end = scope.cancel
            async with Backstory(store, projections=projections, ids=self._ids) as story:
                for projection in projections:
                    await _check_read_model(story, projection)
                await self._scenario.check(story)
        self._check_verdict()

    def _give_up(self, reason: str) -> None:
        """End what does not end by itself."""
        self._verdict = reason
        self._end()

    def _check_verdict(self) -> None:
        if self._verdict:
            raise AssertionError(f"the program does not come to its end: {self._verdict}")


class _Life:
    """One life of a program: from its beginning to its end, or to a crash."""

    def __init__(
        self, make_store: Callable[..., SimulatedStore], *, live_aggregates_max: int
    ) -> None:
        self._store = make_store(crash=self.crash)
        self._live_aggregates_max = live_aggregates_max
        self._scope = anyio.CancelScope()
        self._has_crashed = False

    def crash(self) -> None:
        """End the life: whatever it waits for is cancelled, and its store is deaf."""
        self._has_crashed = True
        self._store.kill()
        self._scope.cancel()

    async def run(self, scenario: Scenario, ids: IdSource) -> bool:
        """Live; return whether the program came to its end."""
        with self._scope:
            try:
                await self._run(scenario, ids)
            except Exception as error:
                if not (self._has_crashed or _is_of_a_fault(error)):
                    raise
            else:
                return not self._has_crashed
        return False

    async def _run(self, scenario: Scenario, ids: IdSource) -> None:
        async with Backstory(
            self._store,
            projections=scenario.projections,
            ids=ids,
            shadow_check_share=1.0,  # nothing is left to chance, and lying handlers are found
            live_aggregates_max=self._live_aggregates_max,
        ) as story:
            snapshots = story.repository.snapshots
            await scenario.run(story)
        if snapshots.difference_count:
            raise AssertionError(
                "an aggregate that was loaded from a snapshot differs from a fold of its events; "
                "its handlers look at something other than the state and the event"
            )


def _is_of_a_fault(error: BaseException | None) -> bool:
    """Tell whether an error is a fault that was let out, or was caused by one."""
    match error:
        case None:
            return False
        case StoreUnavailableError():
            return True
        case BaseExceptionGroup(exceptions=exceptions):
            return all(map(_is_of_a_fault, cast("tuple[BaseException, ...]", exceptions)))
        case _:
            return _is_of_a_fault(error.__cause__)


async def _end_tasks() -> None:
    """End what a life has left running, as the end of its process would."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _check_read_model(story: Backstory, projection: type[Projection]) -> None:
    folded = await fold_log(story.store, projection)
    model = await story.read_model(projection)
    if changed := differing_fields(model, folded):
        fields = "\n".join(
            f"  {name}: {getattr(model, name)!r}, folded: {getattr(folded, name)!r}"
            for name in changed
        )
        raise AssertionError(
            f"the read model {projection.projection_name!r} differs from a fold of the log; its "
            f"handlers look at something other than the read model and the event:\n{fields}"
        )


async def _digest(trace: Sequence[TracedCall], store: InMemoryStore) -> str:
    digest = hashlib.sha256("\n".join(map(str, trace)).encode())
    async for recorded in store.read_log():
        digest.update(recorded.to_json())
    return digest.hexdigest()


class _LoopClock:
    """A clock that shows the time of a simulated loop."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """Return the time in the simulation."""
        return START + timedelta(seconds=self._loop.time())


@contextmanager
def _held_still(seed: int) -> Generator[None]:
    """Take chance out of what is the whole process's, and put it back afterwards."""
    state, is_collecting = random.getstate(), gc.isenabled()
    random.seed(f"random {seed}")
    # The collector closes iterators that were left, in tasks of the loop, at moments of its own.
    gc.disable()
    try:
        yield
    finally:
        random.setstate(state)
        if is_collecting:
            gc.enable()


def _said(error: BaseException) -> str:
    """Return what an error says; where that is nothing, the line that raised it."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return ", and ".join(map(_said, group.exceptions))
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error if str(error) else last.line}"


def _check_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        "a simulation has an event loop of its own; call it where none is running, such as in a "
        "plain test function"
    )


def _nothing() -> None:
    """Do nothing."""


def _smallest(
    scenario: Callable[[], Scenario], failure: SimulationFailedError
) -> SimulationFailedError:
    """Return the same failure with as few faults as were found to be enough.

    Faults are left out in groups, first all of them, then halves, at last one by one.
    """
    left_count = _SMALLER_RUN_COUNT_MAX
    size = len(failure.plan)
    while size and left_count > 0:
        numbers = sorted(failure.plan)
        for first in range(0, len(numbers), size):
            left_out = numbers[first : first + size]
            fewer: dict[int, FaultKind] = {
                number: kind for number, kind in failure.plan.items() if number not in left_out
            }
            left_count -= 1
            failure = _failure_with(scenario, fewer, failure) or failure
        size //= 2
    return failure


def _failure_with(
    scenario: Callable[[], Scenario], plan: Mapping[int, FaultKind], known: SimulationFailedError
) -> SimulationFailedError | None:
    """Return the failure of a run with other faults, where it fails in the same way."""
    try:
        Simulation(scenario, seed=known.seed, plan=plan).run()
    except SimulationFailedError as failure:
        if type(failure.__cause__) is type(known.__cause__):
            return failure
    return None
