"""The host of a system's actors: it has their tasks, their alarms, and the last word.

Two task groups. The outer one is the block: the body of `async with` runs in it, so that a system
that fails can end the body. In it runs one task, the host's, which holds the inner group: the tasks
of the actors, and one for all alarms. The inner group can be cancelled alone, when actors take
longer to stop than they are given, and then the body goes on.

    block ─┬─ body
           └─ host ─┬─ actors
                    └─ alarms

Whatever ends the inner group, the host then buries who was still in it: each actor that was
cancelled has its hook called, children before their parents. All of that is shielded, and bounded.
So nothing is left behind, whichever way the block is left:

- The body ends, or raises an `Exception`: work from outside is refused, and the actors stop in
  order, each with what it has; what is not done within the grace is cancelled.
- The block is cancelled, or a `BaseException` ends it: everything is cancelled at once.
- An actor at the top escalates: everything is cancelled at once, the body too, and the block raises
  an `ActorSystemFailedError` from the actor's error.

Errors leave the block as they are, and not in a group: the tasks of actors raise nothing but
cancellation, and what the body raises is kept until the groups have ended.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import copy_context
from itertools import count
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus

from backstory._errors import ActorSystemFailedError
from backstory._logging import ACTOR, REASON, log
from backstory._reason import reason_of
from backstory.actors._cell import TURN, Cell
from backstory.actors._dead_letters import DeadLetters
from backstory.actors._timer import Alarm, Alarms


class Host:
    """Everything of a system that its cells and their actors need."""

    def __init__(
        self,
        *,
        grace_seconds: float,
        hook_timeout_seconds: float,
        dead_letters: DeadLetters,
        chance: Callable[[], float],
    ) -> None:
        """Make a host, for one block."""
        self._grace_seconds = grace_seconds
        self._variables = copy_context()
        self._variables.run(TURN.set, None)  # the block may be inside an actor of another system
        self._cells: dict[str, Cell] = {}
        self._numbers = count(1)
        self._alarms = Alarms()
        self._has_alarms = False
        self._block: TaskGroup
        self._tasks: TaskGroup
        self._over = anyio.Event()
        self._buried = anyio.Event()
        self._deadline: float | None = None
        self._failure: BaseException | None = None
        self.hook_timeout_seconds = hook_timeout_seconds
        """How long a hook `stopped` may take."""
        self.dead_letters = dead_letters
        """Where messages go that nobody handles."""
        self.chance = chance
        """What makes pauses differ."""
        self.is_closing = False
        """Whether messages from outside actors are refused."""

    # The block

    @asynccontextmanager
    async def block(self) -> AsyncGenerator[None]:
        """Run actors while the body runs, and stop them behind it."""
        raised: BaseException | None = None
        async with anyio.create_task_group() as self._block:
            await self._block.start(self._run)
            try:
                yield
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001 - the group would wrap it; raised below
                raised = error
            if raised is None or isinstance(raised, Exception):
                await self.stop()
            self._block.cancel_scope.cancel()
        if self._failure is not None:
            self._failure.__context__ = raised  # which is a consequence, more often than not
            raise self._failure
        if raised is not None:
            raise raised

    async def _run(self, *, task_status: TaskStatus[None]) -> None:
        try:
            async with anyio.create_task_group() as self._tasks:
                task_status.started()
                await self._over.wait()
                self._tasks.cancel_scope.cancel()
        finally:
            await self._bury_all()
            self._buried.set()

    async def _bury_all(self) -> None:
        self.is_closing = True
        cells = list(reversed(self._cells.values()))
        for cell in cells:
            cell.abandon()
        with anyio.move_on_after(self._grace_seconds, shield=True):
            for cell in cells:
                await cell.bury()
        for cell in cells:
            cell.forsake()

    async def stop(self) -> None:
        """Stop all actors in order, and return when nothing is left of them."""
        self.is_closing = True
        if self._deadline is None:
            self._deadline = anyio.current_time() + self._grace_seconds
        with anyio.CancelScope(deadline=self._deadline):
            await self._stop_all()
        self._over.set()
        await self._buried.wait()

    async def _stop_all(self) -> None:
        while tops := [cell for cell in self._cells.values() if cell.parent is None]:
            for cell in reversed(tops):
                cell.stop()
                await cell.wait_stopped()

    # What cells need

    def start(self, cell: Cell) -> None:
        """Begin a task that runs a cell, with the variables of the block and not of a sender."""
        self._begin(cell.run, cell.name)

    def _begin(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        # A copy, since a context can be entered only once at a time.
        self._variables.copy().run(self._start_soon, run, name)

    def _start_soon(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._tasks.start_soon(run, name=name)

    def add_alarm(self, alarm: Alarm) -> None:
        """Let an alarm go off when it is due."""
        if not self._has_alarms:
            self._has_alarms = True
            self._begin(self._alarms.run, "alarms")
        self._alarms.add(alarm)

    def forget_alarm(self) -> None:
        """Note that an alarm was cancelled."""
        self._alarms.forget()

    def dismiss(self, cell: Cell) -> None:
        """Forget a cell that has stopped."""
        del self._cells[cell.name]

    def fail(self, cell: Cell, error: Exception) -> None:
        """Cancel everything, for an actor at the top has escalated."""
        reason = reason_of(error)
        log.error("actor.escalated", **{ACTOR: cell.name, REASON: reason})
        failure = ActorSystemFailedError(actor=cell.name, reason=reason)
        failure.__cause__ = error
        self.crash(failure)

    def crash(self, error: BaseException) -> None:
        """Cancel everything, and have the block raise an error; the first one counts."""
        self._failure = self._failure or error
        self._block.cancel_scope.cancel()

    # What spawning needs

    def name_for(self, factory: Callable[[], object]) -> str:
        """Return a name that no living actor has."""
        label = getattr(factory, "__name__", "actor")
        return next(name for number in self._numbers if not self.has(name := f"{label}-{number}"))

    def has(self, name: str) -> bool:
        """Return whether a living actor has a name."""
        return name in self._cells

    def enroll(self, cell: Cell) -> None:
        """Keep a cell until it stops."""
        self._cells[cell.name] = cell

    # What the system tells

    def cells(self) -> list[Cell]:
        """Return the living cells, in the order in which they were spawned."""
        return list(self._cells.values())

    def find(self, name: str) -> Cell | None:
        """Return the living cell of a name."""
        return self._cells.get(name)

    @property
    def is_at_work_here(self) -> bool:
        """Whether the caller is one of the actors, in the middle of a message."""
        turn = TURN.get()
        return (
            turn is not None
            and turn.receiver.turn is turn
            and any(cell is turn.receiver for cell in self._cells.values())
        )
