"""Timers: one task for all of them, which sleeps until the next is due.

Timers lie in a heap by the time at which they are due. One that is cancelled stays there without
effect, so that cancelling costs nothing; when more than half are of that kind, the heap is made
anew. A timer that is cancelled early and often, as time limits are, does not pile up so.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

import anyio

from backstory.actors._envelope import Envelope

_IDLE_COUNT_MIN: Final = 64


class Timer:
    """A message that comes later, once or again and again, until it is cancelled.

    It ends with the instance that set it: when the actor is restarted or told to stop.
    """

    __slots__ = (
        *("_cancelled", "_fire", "due_at", "interval_seconds"),
        *("is_active", "left_out_count", "message"),
    )

    def __init__(
        self,
        message: Envelope,
        fire: Callable[["Timer"], None],
        cancelled: Callable[["Timer"], None],
        *,
        due_at: float,
        interval_seconds: float | None,
    ) -> None:
        self.message = message
        """What it sends; once it has, what it has sent last."""
        self._fire = fire
        self._cancelled = cancelled
        self.due_at = due_at
        """When it is due next, on the event loop's clock."""
        self.interval_seconds = interval_seconds
        """How often it comes; None for once."""
        self.is_active = True
        """Whether it will come (again)."""
        self.left_out_count = 0
        """Ticks that were not sent, since the mailbox was full or the last one had not begun."""

    def cancel(self) -> None:
        """Let it not come any more; a message that it has sent already is handled all the same.

        May be called again, and after it has come.
        """
        if self.is_active:
            self.is_active = False
            self._cancelled(self)

    def tick(self, now: float) -> None:
        """Send the message, and be due again or done."""
        if self.interval_seconds is None:
            self.is_active = False
        else:
            # From when it was due, so that it does not drift; from now, where whole ticks are late.
            self.due_at = max(self.due_at + self.interval_seconds, now)
        self._fire(self)


class Timers:
    """The timers of a system."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._added_count = 0
        self._idle_count = 0
        self._earlier = anyio.Event()

    def add(self, timer: Timer) -> None:
        """Let a timer come when it is due."""
        self._added_count += 1
        # The number keeps those that are due at one time in order, and timers from being compared.
        heappush(self._heap, (timer.due_at, self._added_count, timer))
        if self._heap[0][2] is timer:
            self._earlier.set()

    def forget(self) -> None:
        """Note that one of the timers was cancelled."""
        self._idle_count += 1
        if self._idle_count > max(len(self._heap) // 2, _IDLE_COUNT_MIN):
            self._heap = [entry for entry in self._heap if entry[2].is_active]
            heapify(self._heap)
            self._idle_count = 0

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            self._earlier = anyio.Event()
            due_at = self._heap[0][0] if self._heap else float("inf")
            with anyio.CancelScope(deadline=due_at):
                await self._earlier.wait()
            self._send_due(anyio.current_time())

    def _send_due(self, now: float) -> None:
        due: list[Timer] = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heappop(self._heap)[2])
        for timer in due:
            if timer.is_active:
                timer.tick(now)
                if timer.is_active:
                    self.add(timer)
            else:
                self._idle_count -= 1
