"""An event loop whose clock and whose order of work are its own.

Why a run can be repeated. An asyncio program in one thread is a function of three things: what its
callbacks return, in which order those that are ready run, and what the clock says. Here the clock
is a number, which moves when nothing is ready, straight to the next timer; so no test waits. And of
the tasks that are ready, one is drawn for each step, by its number and not by its place in a queue.
The number is what makes it the same in another process: libraries keep tasks and cancel scopes in
sets, whose order is that of memory addresses, and so wake them in an order that nobody chose. The
draw then also finds what only another order of work shows.

Callbacks that are no steps of a task keep the order in which they came.

What is not the loop's own cannot be waited for: a thread, a process, a socket. When nothing is
ready and no timer is set, nothing will ever happen, and the loop says so.
"""

import asyncio
import random
import selectors
from asyncio import Handle
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Final, TypeVarTuple

A = TypeVarTuple("A")

STEP_COUNT_MAX: Final = 100_000
"""A run with more steps of its tasks than this is taken for one that never ends."""


class SimulatedTask(asyncio.Task[Any]):
    """A task with a number, which is the same in every run."""

    def __init__(self, coro: Any, *, number: int, **options: Any) -> None:
        self.number = number  # first, since the hash is asked for while the task is made
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Selector(selectors.SelectSelector):
    """Looks at no socket; lets the time that was to be waited pass at once."""

    wait: Callable[[float | None], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.wait(timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop in which the next step and the time are drawn, and nothing waits."""

    def __init__(self, *, seed: str, stuck: Callable[[str], None]) -> None:
        """Make a loop.

        Args:
            seed: What the order of work is drawn from.
            stuck: Called with the reason when the run cannot come to an end by itself; it is to
                end it.
        """
        selector = _Selector()
        selector.wait = self._wait
        self._chance = random.Random(seed)  # noqa: S311 - reproducible, and not for secrets
        self._stuck = stuck
        self._seconds = 0.0
        self._steps: dict[int, deque[Handle]] = {}
        self._step_count = 0
        self._task_count = 0
        self._is_told = False
        super().__init__(selector)
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Return the seconds that have passed in the simulation."""
        return self._seconds

    def call_soon(
        self,
        callback: Callable[[*A], object],
        *args: *A,
        context: Context | None = None,
    ) -> Handle:
        """Have a callback run; where it is the step of a task, when the draw falls on it."""
        task = getattr(callback, "__self__", None)
        if not isinstance(task, SimulatedTask):
            return super().call_soon(callback, *args, context=context)
        handle = Handle(callback, args, self, context)
        if not self._steps:
            super().call_soon(self._step)
        self._steps.setdefault(task.number, deque()).append(handle)
        return handle

    def _make_task(
        self,
        _loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> SimulatedTask:
        self._task_count += 1
        options["name"] = options.get("name") or "task"  # asyncio counts over all loops
        return SimulatedTask(coro, number=self._task_count, loop=self, **options)

    def _step(self) -> None:
        number = self._chance.choice(sorted(self._steps))
        waiting = self._steps[number]
        handle = waiting.popleft()
        if not waiting:
            del self._steps[number]
        if self._steps:
            super().call_soon(self._step)
        self._count_step()
        if not handle.cancelled():
            handle._run()  # noqa: SLF001 - what the loop itself does with a handle whose turn it is

    def _count_step(self) -> None:
        self._step_count += 1
        if self._step_count > STEP_COUNT_MAX:
            self._step_count = 0
            self._tell(f"it went on for more than {STEP_COUNT_MAX:,} steps")

    def _wait(self, timeout: float | None) -> None:
        if timeout is None:
            self._tell(
                "everything in it waits, and nothing is left that could wake it; threads, "
                "processes and sockets cannot be waited for in a simulation"
            )
        elif timeout > 0:
            self._seconds += timeout

    def _tell(self, reason: str) -> None:
        if self._is_told:
            raise RuntimeError(f"the simulated program cannot be ended: {reason}")
        self._is_told = True
        self._stuck(reason)
