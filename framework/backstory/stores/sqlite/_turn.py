"""The turn to write: one at a time over all processes that share a file, and each gets one.

SQLite locks its file too, but not fairly: a process that is refused waits a while and looks again,
and one that writes all the time is there first. And until 3.51.3 SQLite could damage a file when
one connection wrote while another checkpointed. So whoever writes, checkpoints or migrates holds a
lock of ours meanwhile, and SQLite's own is always free then.

The lock is two locks. Who wants to write takes the second, the queue, and only then the first, the
turn; and lets go of the queue when it has the turn. So of all who wait, one waits for the turn, and
the process that has just had it queues up behind. Both are taken on files that stay open, since to
open them each time would cost more than a commit takes to prepare.

A lock of this kind goes with its process: a process that is killed leaves nothing behind.
"""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import lock_descriptor, unlock_descriptor

from backstory._errors import StoreUnavailableError

_POLL_SECONDS: Final = 0.0002
_POLL_SECONDS_MAX: Final = 0.002


class WriteTurn:
    """The right to write to a file."""

    def __init__(self, path: Path, *, store: str, timeout_seconds: float) -> None:
        """Open the two lock files, and create those that are missing.

        Args:
            path: The file that is written to; the lock files lie beside it.
            store: The store's name, for messages.
            timeout_seconds: How long to wait for other processes.

        Raises:
            OSError: A lock file could not be opened.
        """
        self._store = store
        self._timeout_seconds = timeout_seconds
        self._turn = open_beside(path, "turn")
        try:
            self._queue = open_beside(path, "queue")
        except OSError:
            os.close(self._turn)
            raise

    def close(self) -> None:
        """Let go of the files; they stay, since another process may have them open."""
        os.close(self._turn)
        os.close(self._queue)

    @contextmanager
    def taken(self, attempted: str) -> Generator[None]:
        """Wait for the turn, and hold it; blocks the thread.

        Raises:
            StoreUnavailableError: Others had it for longer than the time limit.
        """
        self.take(attempted)
        try:
            yield
        finally:
            self.give_back()

    def take(self, attempted: str) -> None:
        """Wait for the turn; `give_back` it, from whatever thread. Blocks the thread.

        Raises:
            StoreUnavailableError: Others had it for longer than the time limit.
        """
        deadline = time.monotonic() + self._timeout_seconds
        self._take(self._queue, deadline, attempted)
        try:
            self._take(self._turn, deadline, attempted)
        finally:
            unlock_descriptor(self._queue)

    def give_back(self) -> None:
        """Let the next one have the turn."""
        unlock_descriptor(self._turn)

    def _take(self, descriptor: int, deadline: float, attempted: str) -> None:
        pause = _POLL_SECONDS
        while not lock_descriptor(descriptor, blocking=False):
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    store=self._store,
                    attempted=attempted,
                    reason=f"other processes wrote for {self._timeout_seconds:g} s",
                )
            time.sleep(pause)
            pause = min(2 * pause, _POLL_SECONDS_MAX)


def open_beside(path: Path, what: str) -> int:
    """Open a file that lies beside another, for reading and writing; create it when it is missing.

    A link is not followed: who may put one there could have anything overwritten.

    Raises:
        OSError: It could not be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.open(f"{path}-{what}", flags, 0o600)
