"""What one holds of an actor: a handle to send it messages, and to stop it."""

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import anyio

from backstory._errors import AskTimeoutError, ConfigurationError
from backstory.actors._cell import TURN, Cell
from backstory.actors._envelope import Envelope, Place, Question, is_from_below

A_co = TypeVar("A_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")


class ActorRef(Generic[A_co]):
    """A handle to one actor, which stays valid when the actor is restarted or has stopped.

    Two handles to one actor are equal. Messages are methods of its class with their arguments,
    checked by type checkers down to the last of them; the arguments are passed as they are, not
    copied, so that a list belongs to the actor once it is sent. A method that a subclass overrides
    may be named by either class.
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    @property
    def name(self) -> str:
        """The actor's name."""
        return self._cell.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and other._cell is self._cell

    def __hash__(self) -> int:
        return hash(self._cell)

    def __repr__(self) -> str:
        return f"<ActorRef {self.name!r}, {self._cell.state.value}>"

    async def tell(
        self,
        method: Callable[Concatenate[A_co, P], Awaitable[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Send a message that is not answered; return when it is in the mailbox.

            await counter.tell(Counter.add, 1)

        When the mailbox is full, this waits for room, first come, first served (with
        `Overflow.REFUSE` it does not). Messages of one sender are handled in the order in which
        they were sent. What the method raises is logged, and judged by the actor's supervision.
        Cancelled, the message is taken back, unless it has begun in the same moment.

        Args:
            method: A method of the actor's class.
            args: Its arguments.
            kwargs: Likewise.

        Raises:
            ActorStoppedError: The actor has stopped or is stopping, or stopped before there was
                room; the message is not handled.
            MailboxFullError: The mailbox is full, and does not let anybody wait; or the sender is
                the actor itself, or one that it is waiting for, so that there would never be room.
        """
        cell = self._cell
        envelope = Envelope(cell, TURN.get(), method, args, kwargs)
        if not cell.send(envelope):
            envelope.settled = anyio.Event()
            await _wait_settled(cell, envelope, envelope.settled)
            if envelope.error is not None and envelope.place is Place.WITHDRAWN:
                raise envelope.error

    def tell_nowait(
        self,
        method: Callable[Concatenate[A_co, P], Awaitable[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Send a message that is not answered, or none if there is no room at once.

        Args:
            method: As `tell`.
            args: As `tell`.
            kwargs: As `tell`.

        Raises:
            ActorStoppedError: The actor has stopped or is stopping; the message is not handled.
            MailboxFullError: The mailbox is full; the message is not handled.
        """
        cell = self._cell
        cell.send(Envelope(cell, TURN.get(), method, args, kwargs), waits=False)

    async def ask(
        self,
        method: Callable[Concatenate[A_co, P], Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Send a message, and return what the method returns.

            total = await counter.ask(Counter.add, 2)

        When the mailbox is full, this waits for room, as `tell`. What the method raises is raised
        here as it is, and judged by the actor's supervision too.
        Cancelled, or out of time, a message that has not begun is taken back and never handled. One
        that has begun is handled to its end, and its answer goes nowhere; so
        `anyio.fail_after(...)` around it limits the waiting, and not the work.

        Args:
            method: A method of the actor's class.
            args: Its arguments.
            kwargs: Likewise.

        Raises:
            ConfigurationError: The asker is the actor itself, or one that it is waiting for; it
                would wait for ever, and nothing was sent.
            ActorStoppedError: The actor has stopped or is stopping, or stopped before it answered;
                `outcome_unknown` tells whether the message had begun.
            AskTimeoutError: The actor was spawned with a time limit, and has not answered within
                it; `outcome_unknown` tells whether the message had begun.
            MailboxFullError: As `tell`.
            Exception: Whatever the method raises.
        """
        cell = self._cell
        question = Question(cell, TURN.get(), method, args, kwargs)
        cell.ask(question)
        seconds = cell.ask_timeout_seconds
        if seconds is None:
            await _wait_settled(cell, question, question.answered)
        else:
            with anyio.move_on_after(seconds):
                await _wait_settled(cell, question, question.answered)
            if not question.answered.is_set():
                raise AskTimeoutError(
                    actor=cell.name,
                    timeout_seconds=seconds,
                    outcome_unknown=question.place is not Place.WITHDRAWN,
                )
        if question.error is None:
            answer: R = question.value
            return answer
        try:
            raise question.error
        finally:
            del question  # or it, its error and this frame would keep each other alive

    async def stop(self) -> None:
        """Stop the actor, and return when it has stopped.

        It takes no more messages, handles those that it has, and then calls its hook; its children
        stop before it does. May be called again, and by several. Cancelled, the actor stops all the
        same.

        Raises:
            ConfigurationError: The actor itself, or one of its children, would wait for its own
                end; `stop_nowait` does not wait.
        """
        self._check_waits_for_another()
        self._cell.stop()
        await self._cell.wait_stopped()

    def stop_nowait(self) -> None:
        """Let the actor stop, as `stop`, and do not wait for it; an actor may stop itself so."""
        self._cell.stop()

    def stop_if_idle(self) -> bool:
        """Stop the actor if it has nothing to do and no children.

        Whoever sends a message at the same time has either sent it before, and it is not idle, or
        is told `ActorStoppedError`. An actor without the hook `stopped` has stopped when this
        returns, and its name is free.

        Returns:
            Whether it was idle, and stops.
        """
        return self._cell.stop_if_idle()

    async def wait_stopped(self) -> None:
        """Return when the actor has stopped for good, for whatever reason; restarts do not count.

        Raises:
            ConfigurationError: As `stop`.
        """
        self._check_waits_for_another()
        await self._cell.wait_stopped()

    def _check_waits_for_another(self) -> None:
        turn = TURN.get()
        if turn is None or turn.receiver.turn is not turn:
            return
        if turn.receiver is self._cell or is_from_below(self._cell, turn):
            raise ConfigurationError(
                f"actor {self.name!r}, or a child of it, would wait for its own end; "
                "use stop_nowait(), which does not wait"
            )


async def _wait_settled(cell: Cell, envelope: Envelope, settled: anyio.Event) -> None:
    try:
        await settled.wait()
    except BaseException:
        cell.withdraw(envelope)
        raise


def cell_of(ref: ActorRef[Any]) -> Cell:
    """Return the cell behind a handle."""
    return ref._cell  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the handle hides it from users, not from its own package
