"""What users subclass, and what their actors see of the system."""

from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, Self, TypeVar

from backstory._errors import ActorStoppedError, ConfigurationError, InvalidInputError
from backstory._limits import check_integer, check_text, shorten
from backstory.actors._cell import Cell, Home
from backstory.actors._envelope import Envelope
from backstory.actors._incarnation import empty
from backstory.actors._ref import ActorRef, cell_of
from backstory.actors._seconds import check_seconds
from backstory.actors._supervisor import SupervisionPolicy
from backstory.actors._timer import Timer
from backstory.actors._watch import Termination

A = TypeVar("A", bound="Actor")
I = TypeVar("I")  # noqa: E741 - an instance
P = ParamSpec("P")

NAME_BYTES_MAX: Final = 1_024
MAILBOX_SIZE: Final = 1_000
DEFAULT_POLICY: Final = SupervisionPolicy()


class Overflow(Enum):
    """What becomes of a message when the mailbox is full."""

    WAIT = "wait"
    """Its sender waits for room."""
    REFUSE = "refuse"
    """Its sender has a `MailboxFullError` at once."""


class Actor:
    """Private state behind a mailbox: one message at a time, in the order of arrival.

        class Counter(Actor):
            def __init__(self, start: int = 0) -> None:
                self.total = start

            async def add(self, number: int) -> int:
                self.total += number
                return self.total

    The messages are its `async` methods, sent with `ActorRef.tell` and `ActorRef.ask`. While one of
    them waits for something, no other begins, so that an actor's state changes only between the
    lines of one method. A method runs with the context variables that the system was opened with,
    not with those of the sender.
    """

    _context: "ActorContext[Any] | None" = None

    @property
    def context(self) -> "ActorContext[Self]":
        """What the actor sees of the system; there from the hook `started` on.

        Raises:
            ConfigurationError: The actor was not spawned, or is still being made.
        """
        if self._context is None:
            raise ConfigurationError(
                f"this {type(self).__name__} has no context: it was not spawned by an actor "
                "system, or is still being made; use it in the hook started(), or later"
            )
        return self._context

    @empty
    async def started(self) -> None:
        """Prepare; called before the first message, and after a restart before the next.

        What it raises is judged by the supervision, as if a message had failed; an instance that
        has not started is never resumed, but restarted.
        """

    @empty
    async def stopped(self, error: Exception | None) -> None:
        """Clean up; called after the last message, and before a restart.

        It is shielded from cancellation, and cancelled after `hook_timeout_seconds` of the system.
        What it raises is logged. Not called when `started` did not end well.

        Args:
            error: What the actor has failed with; an `ActorStoppedError` when the system was
                cancelled; None when it was told to stop.
        """


class ActorContext(Generic[I]):
    """What an actor sees of the system: itself, its children, timers, and who has stopped."""

    __slots__ = ("_cell", "_system")

    def __init__(self, cell: Cell, system: "Spawning") -> None:
        self._cell = cell
        self._system = system

    @property
    def ref(self) -> ActorRef[I]:
        """The actor itself, to be handed to others."""
        return ActorRef(self._cell)

    @property
    def name(self) -> str:
        """The actor's name."""
        return self._cell.name

    def spawn(
        self,
        factory: Callable[[], A],
        *,
        name: str | None = None,
        supervision: SupervisionPolicy = DEFAULT_POLICY,
        mailbox_size: int = MAILBOX_SIZE,
        overflow: Overflow = Overflow.WAIT,
        ask_timeout_seconds: float | None = None,
    ) -> ActorRef[A]:
        """Spawn a child, which stops before this instance does, be it for a restart or for good.

        An error that its supervision escalates is this actor's own.

        Args:
            factory: As `ActorSystem.spawn`.
            name: As `ActorSystem.spawn`.
            supervision: As `ActorSystem.spawn`.
            mailbox_size: As `ActorSystem.spawn`.
            overflow: As `ActorSystem.spawn`.
            ask_timeout_seconds: As `ActorSystem.spawn`.

        Raises:
            ActorStoppedError: This actor has stopped, or waits for its children to stop.
            InvalidInputError: As `ActorSystem.spawn`.
            Exception: Whatever the factory raises.
        """
        return spawn(
            self._system,
            factory,
            parent=self._cell,
            name=name,
            supervision=supervision,
            mailbox_size=mailbox_size,
            overflow=overflow,
            ask_timeout_seconds=ask_timeout_seconds,
        )

    def watch(
        self, other: ActorRef[Any], method: Callable[[I, Termination], Awaitable[object]]
    ) -> None:
        """Have a message sent to this actor when another one has stopped for good.

            self.context.watch(worker, Pool.worker_stopped)

        It comes once for each call, and at once when the other one has stopped already. A restart
        of the other is no end; a restart of this actor ends the watch, so that `started` is the
        place to watch from.

        Args:
            other: Whom to watch.
            method: What to call, with the `Termination`.
        """
        self._cell.watch(cell_of(other), method)

    def after(
        self,
        seconds: float,
        method: Callable[Concatenate[I, P], Awaitable[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Timer:
        """Have a message sent to this actor after some time.

        When the mailbox is full then, it waits for room.

        Args:
            seconds: How long from now, from 0.
            method: A method of this actor.
            args: Its arguments.
            kwargs: Likewise.

        Returns:
            The timer, which can be cancelled, and ends with this instance.

        Raises:
            InvalidInputError: `seconds` is no finite number from 0.
        """
        check_seconds("seconds", seconds)
        message = Envelope(self._cell, None, method, args, kwargs)
        return Timer(self._cell.set_alarm(message, seconds=seconds, is_periodic=False))

    def every(
        self,
        seconds: float,
        method: Callable[Concatenate[I, P], Awaitable[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Timer:
        """Have a message sent to this actor again and again, first after `seconds`.

        A tick for which the mailbox is full, or which finds the last one still waiting in it, is
        left out and counted: ticks never queue up.

        Args:
            seconds: How long from one tick to the next, above 0.
            method: A method of this actor.
            args: Its arguments.
            kwargs: Likewise.

        Returns:
            The timer, which can be cancelled, and ends with this instance.

        Raises:
            InvalidInputError: `seconds` is no finite number above 0.
        """
        check_seconds("seconds", seconds, zero_is_allowed=False)
        message = Envelope(self._cell, None, method, args, kwargs)
        return Timer(self._cell.set_alarm(message, seconds=seconds, is_periodic=True))


class Spawning(Home, Protocol):
    """What spawning needs of the system."""

    def name_for(self, factory: Callable[[], object]) -> str:
        """Return a name that no living actor has."""
        ...

    def has(self, name: str) -> bool:
        """Return whether a living actor has a name."""
        ...

    def enroll(self, cell: Cell) -> None:
        """Keep a cell until it stops."""
        ...


def spawn(
    system: Spawning,
    factory: Callable[[], A],
    *,
    parent: Cell | None,
    name: str | None,
    supervision: SupervisionPolicy,
    mailbox_size: int,
    overflow: Overflow,
    ask_timeout_seconds: float | None,
) -> ActorRef[A]:
    """Make an actor and the cell around it; see `ActorSystem.spawn`."""
    check_integer("mailbox_size", mailbox_size, least=1)
    if ask_timeout_seconds is not None:
        check_seconds("ask_timeout_seconds", ask_timeout_seconds)
    name = system.name_for(factory) if name is None else name
    check_text("actor's name", name, NAME_BYTES_MAX)
    if system.has(name):
        reason = "a living actor has that name; stop it first, or choose another"
        raise InvalidInputError(argument="actor's name", found=shorten(name), reason=reason)
    if parent is not None and not parent.takes_children:
        raise ActorStoppedError(actor=parent.name, reason="it is stopping, or being restarted")
    cell = Cell(
        system,
        name=name,
        parent=parent,
        make=partial(_make, factory, system),
        policy=supervision,
        mailbox_size=mailbox_size,
        refuses_when_full=overflow is Overflow.REFUSE,
        ask_timeout_seconds=ask_timeout_seconds,
    )
    system.enroll(cell)
    try:
        cell.begin()
    except BaseException:
        system.dismiss(cell)
        raise
    return ActorRef(cell)


def _make(factory: Callable[[], A], system: Spawning, cell: Cell) -> A:
    actor = factory()
    actor._context = ActorContext(cell, system)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the one place that sets it
    return actor
