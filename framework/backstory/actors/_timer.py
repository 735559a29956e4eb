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


class Alarm:
    """A message to an actor that is due at a time, once or again and again."""

    __slots__ = (
        *("_cancelled", "_fire", "due_at", "interval_seconds"),
        *("is_active", "left_out_count", "message"),
    )

    def __init__(
        self,
        message: Envelope,
        fire: Callable[["Alarm"], None],
        cancelled: Callable[["Alarm"], None],
        *,
        due_at: float,
        interval_seconds: float | None,
    ) -> None:
        """Set an alarm.

        Args:
            message: What is to be sent; later, what was sent last.
            fire: Sends it.
            cancelled: Is told that it need not be sent any more.
            due_at: When, on the event loop's clock.
            interval_seconds: How often; None for once.
        """
        self.message = message
        self._fire = fire
        self._cancelled = cancelled
        self.due_at = due_at
        self.interval_seconds = interval_seconds
        self.is_active = True
        self.left_out_count = 0

    def cancel(self) -> None:
        """Be due no more."""
        if self.is_active:
            self.is_active = False
            self._cancelled(self)

    def go_off(self, now: float) -> None:
        """Send the message, and be due again or done."""
        if self.interval_seconds is None:
            self.is_active = False
        else:
            # From when it was due, so that it does not drift; from now, where whole ticks are late.
            self.due_at = max(self.due_at + self.interval_seconds, now)
        self._fire(self)


class Timer:
    """A message that comes later, once or again and again, until it is cancelled.

    It ends with the instance that set it: when the actor is restarted or told to stop.
    """

    __slots__ = ("_alarm",)

    def __init__(self, alarm: Alarm) -> None:
        self._alarm = alarm

    @property
    def is_active(self) -> bool:
        """Whether it will come (again)."""
        return self._alarm.is_active

    @property
    def left_out_count(self) -> int:
        """Ticks that were not sent, as the mailbox was full or the last one still waited in it."""
        return self._alarm.left_out_count

    def cancel(self) -> None:
        """Let it not come any more; a message that it has sent already is handled all the same.

        May be called again, and after it has come.
        """
        self._alarm.cancel()


class Alarms:
    """The alarms of a system."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._added_count = 0
        self._idle_count = 0
        self._earlier = anyio.Event()

    def add(self, alarm: Alarm) -> None:
        """Let an alarm go off when it is due."""
        self._added_count += 1
        # The number keeps those that are due at one time in order, and alarms from being compared.
        heappush(self._heap, (alarm.due_at, self._added_count, alarm))
        if self._heap[0][2] is alarm:
            self._earlier.set()

    def forget(self) -> None:
        """Note that one of them was cancelled."""
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
        due: list[Alarm] = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heappop(self._heap)[2])
        for alarm in due:
            if alarm.is_active:
                alarm.go_off(now)
                if alarm.is_active:
                    self.add(alarm)
            else:
                self._idle_count -= 1
