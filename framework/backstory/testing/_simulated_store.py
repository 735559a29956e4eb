"""The store that a simulated program sees: one of its lives talks to what survives, and faults.

Every call has a number, which counts through all lives of a run. What strikes a call is drawn when
the call is made and kept under its number, so that the same faults, or some of them, can be given
to another run as a plan. How long a delay is depends on seed and number alone: leaving out one
fault does not change the others.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, Never, TypeVar, cast, get_args

import anyio
import anyio.lowlevel
from msgspec import Struct

from backstory._commit import Batch, Receipt, StreamAppend
from backstory._errors import InvalidInputError
from backstory._limits import check_integer, shorten
from backstory._pages import LogRead, Page, StreamRead
from backstory._progress import Progress
from backstory._recorded import RecordedEvent
from backstory._snapshot import Snapshot
from backstory._store import EventStore
from backstory.testing._faulty_store import WRITING, FaultyStore, StoreCall, unavailable
from backstory.testing._forwarding_store import Verb
from backstory.testing._simulated_loop import SimulatedTask

T = TypeVar("T")

FaultKind = Literal[
    "fail",
    "lose_answer",
    "crash",
    "crash_done",
    "delay",
    "delay_answer",
    "double",
    "wake_early",
]
"""What can happen to a call: it fails with nothing done; it is done and its answer is lost; the
program crashes, with the call not done or done; it is made late; it is answered late; it is made
twice; it returns before there is anything to wake for."""

FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)

_NAME: Final = "the simulated store"
_COUNTED: Final = frozenset({"fail", "lose_answer", "crash", "crash_done"})
_DELAY_EXPONENTS: Final = (-3.0, 0.5)  # from a millisecond to about three seconds
_FACTORS: Final = (0, 1, 3)
_WRITING_FACTOR: Final = 3
_SHOWN_COUNT: Final = 3


class Faults(Struct, frozen=True, kw_only=True):
    """How likely each fault strikes a call of the store, from 0 for never to 1 for always.

    Each seed leaves some kinds of faults out, and has three times as much of others: where
    everything happens at once, one fault hides another. Calls that write are struck three times as
    often as others.

    Raises:
        InvalidInputError: A chance is no number from 0 to 1, or the count is none.
    """

    fail: float = 0.01
    """A call fails, and nothing is done."""
    lose_answer: float = 0.05
    """A call that writes is done, and its answer is lost."""
    crash: float = 0.01
    """The program crashes during a call, which is done or not."""
    delay: float = 0.05
    """A call is made, or answered, up to three seconds late."""
    double: float = 0.05
    """An append arrives twice, as by a driver that repeats it."""
    wake_early: float = 0.1
    """A wait for events ends when there are none."""
    count_max: int = 8
    """At most so many failures, lost answers and crashes in one run, so that a program that tries
    again gets to its end."""

    def __post_init__(self) -> None:
        check_integer("count_max", self.count_max, least=0)
        for kind in _RATES:
            chance: float = getattr(self, kind)
            if not 0 <= chance <= 1:
                reason = "must be from 0 to 1"
                raise InvalidInputError(argument=kind, found=shorten(chance), reason=reason)


_RATES: Final = ("fail", "lose_answer", "crash", "delay", "double", "wake_early")

DEFAULT_FAULTS: Final = Faults()
NO_FAULTS: Final = Faults(fail=0, lose_answer=0, crash=0, delay=0, double=0, wake_early=0)
"""No fault at all: nothing but the order of work is drawn from the seed."""


class FaultSource:
    """Says what strikes each call: drawn from a seed, or as planned."""

    def __init__(self, faults: Faults, *, seed: int, plan: Mapping[int, FaultKind] | None) -> None:
        self._seed = seed
        self._chance = chance = random.Random(f"faults {seed}")  # noqa: S311 - reproducible
        self._rates = {kind: getattr(faults, kind) * chance.choice(_FACTORS) for kind in _RATES}
        self._count_left = faults.count_max
        self._plan = plan
        self.struck: dict[int, FaultKind] = {}
        """What struck so far, by the number of the call."""

    def strike(self, number: int, verb: Verb) -> FaultKind | None:
        """Return what strikes a call, or None."""
        kind = self._draw(verb) if self._plan is None else self._planned(number, verb)
        if kind is not None:
            self.struck[number] = kind
        return kind

    def delay_seconds(self, number: int) -> float:
        """Return how late the call is."""
        chance = random.Random(f"delay {self._seed} {number}")  # noqa: S311 - reproducible
        return float(10 ** chance.uniform(*_DELAY_EXPONENTS))

    def _planned(self, number: int, verb: Verb) -> FaultKind | None:
        kind = (self._plan or {}).get(number)
        return kind if kind in _possible(verb) else None

    def _draw(self, verb: Verb) -> FaultKind | None:
        # Each draw is made whatever the ones before gave, and whatever the verb is.
        factor = _WRITING_FACTOR if verb in WRITING else 1
        rates = self._rates.items()
        drawn = [kind for kind, rate in rates if self._chance.random() < rate * factor]
        is_second = self._chance.random() < 1 / 2
        second = {"crash": "crash_done", "delay": "delay_answer"}
        for one in drawn:
            kind = second.get(one, one) if is_second else one
            for possible in _possible(verb):
                if possible == kind and self._may_strike(possible):
                    return possible
        return None

    def _may_strike(self, kind: FaultKind) -> bool:
        if kind not in _COUNTED:
            return True
        self._count_left -= 1
        return self._count_left >= 0


def _possible(verb: Verb) -> tuple[FaultKind, ...]:
    """Return what can strike calls of a verb."""
    if verb == "wait_beyond":
        return ("crash", "delay", "delay_answer", "wake_early")
    if verb not in WRITING:
        return ("fail", "crash", "delay", "delay_answer")
    unfit = {"wake_early"} if verb == "commit" else {"wake_early", "double"}
    return tuple(kind for kind in FAULT_KINDS if kind not in unfit)


class TracedCall(Struct, frozen=True, kw_only=True):
    """A call of the store as it came out, in a `Simulation.trace`."""

    number: int
    """Its number, in the order in which calls were made; from 1."""
    seconds: float
    """When it was answered, in seconds since the simulation began."""
    life: int
    """Which life of the program made it; from 1."""
    task: str
    """The task that made it: its name and its number."""
    verb: Verb
    """What was asked for."""
    subject: str
    """With what, in short."""
    outcome: str
    """What was answered, in short."""

    def __str__(self) -> str:
        return (
            f"{self.number:>5} {self.seconds:>8.3f} s  life {self.life}  {self.task:<14} "
            f"{self.verb} {self.subject} → {self.outcome}"
        )


class SimulatedStore(FaultyStore):
    """What one life of a program has for a store.

    What is asked for goes to the store behind, with a place before and one behind each call at
    which everybody else may have a turn.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        life: int,
        faults: FaultSource,
        trace: list[TracedCall],
        calls: list[StoreCall],
        crash: Callable[[], None],
    ) -> None:
        """Put a store behind this one.

        Args:
            store: What survives; it is open.
            life: The number of the life.
            faults: What strikes.
            trace: Where calls are written when they are answered.
            calls: Where calls are written when they are made, of all lives.
            crash: Ends the life.
        """
        super().__init__(store)
        self.calls = calls
        self._life = life
        self._source = faults
        self._trace = trace
        self._crash_life = crash
        self._is_dead = False

    def kill(self) -> None:
        """Let no call of this life have an effect any more."""
        self._is_dead = True

    async def _call(self, verb: Verb, method: Callable[..., Awaitable[T]], *arguments: object) -> T:
        if self._is_dead:
            await _wait_for_the_end(verb)
        self.calls.append(StoreCall(verb, arguments))
        number = len(self.calls)
        call = _Call(number, verb, arguments, self._source.strike(number, verb))
        try:
            answer = await self._carry_out(call, method)
            call.outcome = "answered"
        except Exception as error:
            call.outcome = type(error).__name__
            raise
        finally:
            self._trace.append(call.traced(life=self._life))
        return answer

    async def _carry_out(self, call: "_Call", method: Callable[..., Awaitable[T]]) -> T:
        await anyio.lowlevel.checkpoint()
        if call.fault == "delay":
            await anyio.sleep(self._source.delay_seconds(call.number))
        if call.fault == "fail":
            raise unavailable(_NAME, call.verb, "a fault of the simulation")
        if call.fault == "crash":
            await self._crash(call.verb)
        answer = await self._act(call, method)
        is_none = answer is None and call.verb.startswith(("find", "get"))
        call.done = "none" if is_none else _in_short(answer)
        if call.fault == "crash_done":
            await self._crash(call.verb)
        if call.fault == "lose_answer":
            raise unavailable(_NAME, call.verb, "the answer was lost", is_begun=True)
        if call.fault == "delay_answer":
            await anyio.sleep(self._source.delay_seconds(call.number))
        await anyio.lowlevel.checkpoint()
        return answer

    async def _act(self, call: "_Call", method: Callable[..., Awaitable[T]]) -> T:
        if call.fault == "wake_early":
            return cast("T", None)  # what a wait returns
        answer = await method(*call.arguments)
        if call.fault == "double":
            await anyio.lowlevel.checkpoint()
            answer = await method(*call.arguments)
        return answer

    async def _crash(self, verb: Verb) -> None:
        self._crash_life()
        await _wait_for_the_end(verb)


async def _wait_for_the_end(verb: Verb) -> Never:
    """Be cancelled with the life; where that is shielded off, fail."""
    await anyio.sleep(1)
    raise unavailable(_NAME, verb, "the program has crashed", is_begun=True)


class _Call:
    """A call on its way."""

    def __init__(
        self, number: int, verb: Verb, arguments: tuple[object, ...], fault: FaultKind | None
    ) -> None:
        self.number = number
        self.verb: Verb = verb
        self.arguments = arguments
        self.fault = fault
        self.outcome = "cancelled"
        self.done = "not done"

    def traced(self, *, life: int) -> TracedCall:
        """Return the call as it came out."""
        is_plain = self.fault is None and self.outcome == "answered"
        struck = "" if self.fault is None else f"{self.fault}: "
        return TracedCall(
            number=self.number,
            seconds=anyio.current_time(),
            life=life,
            task=_task_in_short(),
            verb=self.verb,
            subject=self._subject(),
            outcome=self.done if is_plain else f"{struck}{self.outcome} ({self.done})",
        )

    def _subject(self) -> str:
        # The fingerprint of a snapshot says nothing to a reader, and is another on another Python.
        said = self.arguments[:1] if self.verb == "get_snapshot" else self.arguments
        return ", ".join("all" if value is None else _in_short(value) for value in said)


def _task_in_short() -> str:
    """Return a name and the number of the task that runs."""
    task = cast("SimulatedTask", asyncio.current_task())  # nothing else runs in a simulated loop
    # anyio calls a task by the full name of its function.
    return f"{task.get_name().rpartition('.')[2]} {task.number}"


def _append_in_short(part: StreamAppend) -> str:
    types = ", ".join(event.type for event in part.events[:_SHOWN_COUNT])
    more = ", …" * (len(part.events) > _SHOWN_COUNT)
    return f"{part.stream_id} ← {types}{more} expecting {part.expected_version}"


def _log_read_in_short(read: LogRead) -> str:
    return f"{'backward ' * read.backward}after {read.after_position}"


def _stream_read_in_short(read: StreamRead) -> str:
    return f"{read.stream_id} {'backward ' * read.backward}after {read.after_version}"


def _receipt_in_short(receipt: Receipt) -> str:
    first, last = receipt.first_position, receipt.last_position
    return f"position {first}" if first == last else f"positions {first} to {last}"


_IN_SHORT: Final[Mapping[type, Callable[[Any], str]]] = {
    type(None): lambda _: "done",
    str: lambda text: shorten(text).strip("'"),
    tuple: lambda values: " and ".join(map(_in_short, values)),
    Batch: lambda batch: " and ".join(map(_append_in_short, batch.appends)),
    LogRead: _log_read_in_short,
    StreamRead: _stream_read_in_short,
    Page: lambda page: f"{len(page.events)} to {page.reached}",
    Receipt: _receipt_in_short,
    RecordedEvent: lambda recorded: f"{recorded.stream_id} version {recorded.version}",
    Snapshot: lambda snapshot: f"{snapshot.stream_id} version {snapshot.version}",
    Progress: lambda it: f"{it.checkpoint.projection} at {it.checkpoint.position}",
}


def _in_short(value: Any) -> str:
    """Return what a call was given, or has answered, in a few words."""
    return _IN_SHORT.get(value.__class__, shorten)(value)
