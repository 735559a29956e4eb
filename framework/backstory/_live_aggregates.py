"""The live aggregates of a process: where each one's actor is, and when it leaves.

No command is lost to an aggregate that leaves. To find the actor and to put the command into its
mailbox is one step, without an await in it; and an actor leaves only by `stop_if_idle`, which looks
and stops in one step too. So either the command is in the mailbox, and the actor is not idle, or
the actor is gone, and the command makes another.

They stand in the order of their last use. At the front are those that leave first, when there are
too many, or when they have been idle for long. One that is found busy there is in use, and goes to
the end: each look costs the same, however many are busy, and those that stay too long are found by
the next command or the next sweep.
"""

from collections import OrderedDict
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio
from msgspec import Struct

from backstory._aggregate_actor import AggregateActor, CommandFailedError
from backstory._errors import ActorStoppedError, StoreClosedError, StoreUnavailableError
from backstory._execution import Execution
from backstory._limits import check_integer
from backstory.actors import (
    Actor,
    ActorRef,
    ActorState,
    ActorStatus,
    ActorSystem,
    Directive,
    SupervisionPolicy,
)
from backstory.actors._seconds import check_seconds

R = TypeVar("R")

LIVE_AGGREGATES_MAX: Final = 10_000
IDLE_SECONDS: Final = 300.0

_LOOKS: Final = 2
"""More than one, so that what has grown beyond the limit shrinks again."""
_SWEEPS_PER_IDLE_TIME: Final = 4
_GO_ON: Final = SupervisionPolicy(rules=((Exception, Directive.RESUME),))
"""An actor that has failed has dropped its instance already: a restart could do no more."""


class LiveAggregate(Struct, frozen=True, kw_only=True):
    """How a live aggregate is at one moment."""

    stream_id: str
    """Its stream."""
    version: int | None
    """The version of the instance that is kept; None when none is, or a command has it."""
    state: ActorState
    """What its actor is doing."""
    mailbox_depth: int
    """Commands that wait, the one that is being run not counted."""
    idle_seconds: float
    """How long it has been idle; 0 when it is not."""


class LiveAggregates:
    """Runs commands through one actor for each aggregate, inside a block."""

    def __init__(self, *, kept_count_max: int, idle_seconds: float) -> None:
        """Prepare; `async with` lets it run commands.

        Args:
            kept_count_max: How many stay when they are idle; 0 for none, and each command loads.
            idle_seconds: How long one stays when nothing is asked of it; up to a quarter longer.

        Raises:
            InvalidInputError: One of the numbers is out of its range.
        """
        check_integer("live_aggregates_max", kept_count_max, least=0)
        check_seconds("idle_seconds", idle_seconds, zero_is_allowed=False)
        self._kept_count_max = kept_count_max
        self._idle_seconds = idle_seconds
        self._live: OrderedDict[str, _Live] = OrderedDict()
        self._system = ActorSystem()
        self._sweeper = _Sweeper(self)
        self._is_sweeping = False

    async def __aenter__(self) -> Self:
        self._system = ActorSystem()
        await self._system.__aenter__()
        self._is_sweeping = False
        # No stream has this name: it has no dash.
        self._system.spawn(lambda: self._sweeper, name="sweeper", supervision=_GO_ON)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the commands end that were asked for, within the system's grace, and no others."""
        try:
            await self._system.__aexit__(exc_type, exc, traceback)
        finally:
            self._live.clear()

    async def execute(self, execution: Execution[R], /) -> R:
        """Run a command in its turn, and return what it returned.

        Cancelled, a command that has not begun does not run, and one that has begun ends.

        Raises:
            StoreClosedError: The block is being left; the command has not begun.
            StoreUnavailableError: The command was cancelled when the block was left.
            Exception: Whatever the execution raises.
        """
        while True:
            live = self._find(execution.stream_id)
            try:
                return await live.ref.ask(AggregateActor.execute, execution)
            except CommandFailedError as failure:
                error = failure.error
                break
            except ActorStoppedError as stopped:
                _check_not_begun(execution.stream_id, stopped)
            finally:
                self._shrink()
            await self._bury(execution.stream_id, live)
        try:
            raise error  # outside of `except`, so that its own cause and context stay
        finally:
            del error  # it keeps this frame, which would keep it

    def actors(self) -> list[ActorStatus]:
        """Return how the actors are that run commands."""
        return self._system.actors()

    def statuses(self) -> list[LiveAggregate]:
        """Return how they are, the longest unused first."""
        statuses = {status.name: status for status in self._system.actors()}
        return [
            _status(stream_id, live.actor, statuses[stream_id])
            for stream_id, live in self._live.items()
            if stream_id in statuses
        ]

    def sweep(self) -> None:
        """Let those leave that have been idle for long, and come again while there are others."""
        self._is_sweeping = False
        due_at = anyio.current_time() - self._idle_seconds
        for _ in range(len(self._live)):
            stream_id = next(iter(self._live))
            if self._live[stream_id].used_at > due_at:
                break
            self._let_leave(stream_id)
        self._shrink(looks=len(self._live))
        if self._live:
            self._sweep_later()

    def _find(self, stream_id: str) -> "_Live":
        """Return an aggregate's actor; a new one where there is none."""
        live = self._live.get(stream_id)
        if live is None:
            live = self._live[stream_id] = self._spawn(stream_id)
            self._sweep_later()
        else:
            self._live.move_to_end(stream_id)
        live.used_at = anyio.current_time()
        return live

    def _spawn(self, stream_id: str) -> "_Live":
        actor = AggregateActor(keeps=self._kept_count_max > 0)
        try:
            ref = self._system.spawn(lambda: actor, name=stream_id, supervision=_GO_ON)
        except ActorStoppedError as error:
            raise StoreClosedError(store="this Backstory") from error
        return _Live(actor, ref)

    async def _bury(self, stream_id: str, live: "_Live") -> None:
        """Forget an actor that has stopped without being told to, when its name is free again."""
        await live.ref.wait_stopped()
        if self._live.get(stream_id) is live:
            del self._live[stream_id]

    def _shrink(self, *, looks: int = _LOOKS) -> None:
        """Let some leave where there are too many."""
        for _ in range(looks):
            if len(self._live) <= self._kept_count_max:
                return
            self._let_leave(next(iter(self._live)))

    def _let_leave(self, stream_id: str) -> None:
        live = self._live[stream_id]
        if live.ref.stop_if_idle():
            del self._live[stream_id]
        else:
            live.used_at = anyio.current_time()
            self._live.move_to_end(stream_id)

    def _sweep_later(self) -> None:
        if not self._is_sweeping:
            self._is_sweeping = True
            seconds = self._idle_seconds / _SWEEPS_PER_IDLE_TIME
            self._sweeper.context.after(seconds, _Sweeper.sweep)


class _Live:
    """An aggregate's actor, and when it was last asked for anything."""

    __slots__ = ("actor", "ref", "used_at")

    def __init__(self, actor: AggregateActor, ref: ActorRef[AggregateActor]) -> None:
        self.actor = actor
        self.ref = ref
        self.used_at = 0.0


class _Sweeper(Actor):
    """Has the time told to it: one timer for all, and none while nothing is live."""

    def __init__(self, live: LiveAggregates) -> None:
        self._live = live

    async def sweep(self) -> None:
        """Let those leave that have been idle for long."""
        self._live.sweep()


def _check_not_begun(stream_id: str, stopped: ActorStoppedError) -> None:
    if stopped.outcome_unknown:
        raise StoreUnavailableError(
            store="this Backstory",
            attempted=f"run a command on {stream_id!r}",
            reason="it was cancelled",
            outcome_unknown=True,
        ) from stopped


def _status(stream_id: str, actor: AggregateActor, status: ActorStatus) -> LiveAggregate:
    return LiveAggregate(
        stream_id=stream_id,
        version=actor.version,
        state=status.state,
        mailbox_depth=status.mailbox_depth,
        idle_seconds=status.idle_seconds,
    )
