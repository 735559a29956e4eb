"""An actor system: a block that actors live in, and that none of them outlives."""

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from backstory._errors import ActorStoppedError, ConfigurationError
from backstory._limits import check_integer
from backstory.actors._actor import DEFAULT_POLICY, MAILBOX_SIZE, Actor, Overflow, spawn
from backstory.actors._dead_letters import DeadLetters
from backstory.actors._host import Host
from backstory.actors._ref import ActorRef
from backstory.actors._seconds import check_seconds
from backstory.actors._status import ActorStatus
from backstory.actors._supervisor import SupervisionPolicy

A = TypeVar("A", bound=Actor)


class ActorSystem:
    """Actors, inside a block that none of them outlives.

        async with ActorSystem() as system:
            counter = system.spawn(Counter, name="counter")
            await counter.tell(Counter.add, 1)
            total = await counter.ask(Counter.add, 2)

    Leaving the block stops the actors in order, as `stop` does, whether its body ended or raised.
    When the block is cancelled, so are the actors, at once; their hooks `stopped` are still called,
    each within `hook_timeout_seconds`, and all of them within `grace_seconds`. An actor without a
    parent whose supervision escalates ends the block: the body is cancelled, and the block raises
    an `ActorSystemFailedError` from the actor's error. An error of an actor that is no `Exception`
    ends it too, and is raised as it is.

    The system belongs to the event loop that it was opened on, and to that loop's thread.
    """

    def __init__(
        self,
        *,
        grace_seconds: float = 10.0,
        hook_timeout_seconds: float = 5.0,
        dead_letter_count_max: int = 1_000,
        chance: Callable[[], float] | None = None,
    ) -> None:
        """Make a system; `async with` opens it.

        Args:
            grace_seconds: How long all actors together may take to stop; what is left then is
                cancelled.
            hook_timeout_seconds: How long one hook `stopped` may take before it is cancelled.
            dead_letter_count_max: How many dead letters are kept, the newest.
            chance: What makes pauses differ: returns numbers from 0 to 1; a generator of its own by
                default.

        Raises:
            InvalidInputError: One of the numbers is out of its range.
        """
        check_seconds("grace_seconds", grace_seconds)
        check_seconds("hook_timeout_seconds", hook_timeout_seconds)
        check_integer("dead_letter_count_max", dead_letter_count_max, least=0)
        self._grace_seconds = grace_seconds
        self._hook_timeout_seconds = hook_timeout_seconds
        self._chance = chance or random.Random().random  # noqa: S311 - pauses are no secrets
        self._host: Host | None = None
        self._block: AbstractAsyncContextManager[None] | None = None
        self.dead_letters = DeadLetters(kept_count_max=dead_letter_count_max)
        """Messages that actors took, and did not handle to their end; there after the block too."""

    async def __aenter__(self) -> Self:
        if self._block is not None:
            raise ConfigurationError("this ActorSystem was opened before; make one for each block")
        host = Host(
            grace_seconds=self._grace_seconds,
            hook_timeout_seconds=self._hook_timeout_seconds,
            dead_letters=self.dead_letters,
            chance=self._chance,
        )
        self._block = host.block()
        await self._block.__aenter__()
        self._host = host
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._block is None:
            return None
        return await self._block.__aexit__(exc_type, exc, traceback)

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
        """Spawn an actor without a parent.

        The first instance is made before this returns, and its hook `started` runs right after, in
        the actor's own time.

        Args:
            factory: Makes an instance: the class itself, or a function without arguments; called
                again for each restart.
            name: A name that no living actor of the system has; by default one is made of the
                factory's name and a number.
            supervision: What becomes of the actor when it fails; by default it is restarted, at
                most 5 times within 60 s.
            mailbox_size: How many messages may wait, from 1; the one that is being handled does not
                count.
            overflow: What becomes of a message when the mailbox is full.
            ask_timeout_seconds: How long an `ask` may take, the waiting for room included; None for
                ever.

        Raises:
            ActorStoppedError: The system is not open, or is stopping.
            InvalidInputError: The name is taken, or is no text of 1 to 1,024 bytes of UTF-8; or one
                of the numbers is out of its range.
            Exception: Whatever the factory raises; nothing was spawned.
        """
        host = self._host
        if host is None or host.is_closing:
            reason = "the actor system is not open" if host is None else "the actor system stops"
            raise ActorStoppedError(actor=str(name or "(new)"), reason=reason)
        return spawn(
            host,
            factory,
            parent=None,
            name=name,
            supervision=supervision,
            mailbox_size=mailbox_size,
            overflow=overflow,
            ask_timeout_seconds=ask_timeout_seconds,
        )

    async def stop(self) -> None:
        """Stop all actors in order, and return when nothing is left of them.

        From the beginning, messages from outside are refused; the actors' own are not. Those
        without a parent stop in the reverse order of their spawning, each handling what it has,
        and its children before it. After `grace_seconds` in all, what is left is cancelled, and its
        messages become dead letters.

        May be called again, and by several. Cancelled, it has begun, and leaving the block goes on
        with it.

        Raises:
            ConfigurationError: An actor of this system calls it, and would wait for itself.
        """
        if self._host is None:
            return
        if self._host.is_at_work_here:
            raise ConfigurationError(
                "an actor would wait for its own system to stop; let it tell somebody outside"
            )
        await self._host.stop()

    def actors(self) -> list[ActorStatus]:
        """Return how the living actors are, in the order in which they were spawned."""
        return [] if self._host is None else [cell.status() for cell in self._host.cells()]

    def find(self, name: str) -> ActorRef[Any] | None:
        """Return the living actor of a name; None when there is none."""
        cell = None if self._host is None else self._host.find(name)
        return None if cell is None else ActorRef(cell)
