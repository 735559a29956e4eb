"""A thread with an event loop, in which one `Backstory` is open for callers without one.

Why no call waits for ever. A call is handed over under a lock, and the loop is ended under the same
lock: so it has begun the call, and ends only after it, or the call is refused. Two callers would
wait for what cannot come, and are refused as well: the loop's own thread, and a forked process,
which has the objects and not the thread.
"""

import asyncio
import atexit
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import Context as Variables
from threading import RLock, Thread, current_thread
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal
from anyio.lowlevel import checkpoint

from backstory._app import Backstory
from backstory._errors import ConfigurationError, StoreClosedError

R = TypeVar("R")


class Host:
    """A thread with an event loop, in which one `Backstory` is open."""

    story: Backstory
    """What is open."""
    _portal: BlockingPortal
    _loop: asyncio.AbstractEventLoop

    def __init__(self, make: Callable[[], Backstory], *, name: str) -> None:
        """Make a host; `open` starts it.

        Args:
            make: Makes the `Backstory`, on the loop.
            name: The name of the thread.
        """
        self._make = make
        self._process_id = os.getpid()
        self._lock = RLock()  # a signal's handler may call while its thread is calling
        self._takes_calls = True
        self._is_closed = False
        self._under_way: set[Future[Any]] = set()
        self._opened: Future[None] = Future()
        self._ended: Future[None] = Future()
        # In a context of its own: neither a `using` block around `open` nor an event loop of the
        # caller's is this loop's business. A daemon, so that Python's exit does not wait for it
        # before `_close_all` has its turn.
        self._thread = Thread(target=Variables().run, args=(self._work,), name=name, daemon=True)

    def open(self) -> None:
        """Start the thread, and return when the `Backstory` is open.

        Raises:
            Exception: Whatever opening raises.
        """
        self._thread.start()
        try:
            self._opened.result()
        except BaseException:
            self._opened.cancel()  # interrupted: it is closed as soon as it is open
            raise

    @property
    def is_open(self) -> bool:
        """Whether calls are taken."""
        return self._takes_calls and not self._is_elsewhere

    @property
    def _is_elsewhere(self) -> bool:
        return os.getpid() != self._process_id

    def check(self) -> None:
        """Refuse who would wait for ever, and what comes after the end.

        Raises:
            ConfigurationError: This is another process, or the loop's own thread.
            StoreClosedError: It is closed.
        """
        if self._is_elsewhere:
            raise ConfigurationError(
                "this Backstory was opened before the process forked, and its event loop runs in "
                "the parent; open one in each process"
            )
        if current_thread() is self._thread:
            raise ConfigurationError(
                "a command, a handler or a function for run() uses the Backstory that runs it, and "
                "would wait for itself; use it before or after"
            )
        if not self.is_open:
            raise StoreClosedError(store="this Backstory")

    def wait_for(self, function: Callable[[], Awaitable[R]]) -> R:
        """Run a function on the loop, and return what it returns.

        Raises:
            ConfigurationError: As `check`.
            StoreClosedError: It is closed, or its loop came to an end.
            BaseException: Whatever the function raises.
        """
        self.check()
        call = Call(function)
        try:
            return self._begin(call).result()
        except ExitError as error:
            raise error.wanted from None
        except CancelledError:
            raise StoreClosedError(store="this Backstory") from None
        except BaseException:
            # Interrupted while waiting; where the function has raised, it changes nothing.
            call.is_interrupted = True
            with suppress(RuntimeError):  # the loop is gone, and the call with it
                self._loop.call_soon_threadsafe(call.interrupt)
            raise

    def _begin(self, call: "Call[R]") -> Future[R]:
        with self._lock:
            self.check()
            future = self._portal.start_task_soon(call.run)
            self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def close(self) -> None:
        """Let the calls under way end, close the `Backstory`, and end the thread.

        Raises:
            ConfigurationError: This is the loop's own thread.
            BaseException: Whatever ended the loop before.
        """
        if self._is_elsewhere:
            return
        if self.is_open:
            self.check()
        with self._lock:
            is_first, self._is_closed = not self._is_closed, True
            self._takes_calls = False
        if is_first:
            with suppress(RuntimeError):  # the loop has come to its end by itself
                self._portal.start_task_soon(self._portal.stop)
        self._thread.join()
        if is_first:
            self._ended.result()

    def _work(self) -> None:
        try:
            anyio.run(self._live)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            (self._ended if self._opened.done() else self._opened).set_exception(error)
        else:
            self._ended.set_result(None)
        finally:
            _HOSTS.discard(self)
            # Where the loop was ended by an error, some may not even have begun.
            for future in list(self._under_way):
                future.cancel()

    async def _live(self) -> None:
        # The portal within: it is left when the calls under way have ended, and the story after it.
        async with self._make() as story, BlockingPortal() as portal:
            self.story, self._portal = story, portal
            self._loop = asyncio.get_running_loop()
            if self._opened.set_running_or_notify_cancel():
                _HOSTS.add(self)
                self._opened.set_result(None)
                try:
                    await portal.sleep_until_stopped()
                finally:
                    await self._refuse_calls()

    async def _refuse_calls(self) -> None:
        # A handler can end the loop too, with a SystemExit. Then nobody has taken the lock for it;
        # it is waited for without blocking, so that who is handing a call over can finish.
        self._takes_calls = False
        with anyio.CancelScope(shield=True):
            while not self._lock.acquire(blocking=False):
                await checkpoint()
        self._lock.release()


_HOSTS: Final[set[Host]] = set()


@atexit.register
def _close_all() -> None:
    """Close what a program has left open, while its event loops can still run."""
    for host in list(_HOSTS):
        host.close()


class Call(Generic[R]):
    """One call that is handed over to the loop."""

    def __init__(self, function: Callable[[], Awaitable[R]]) -> None:
        self._function = function
        self._scope: anyio.CancelScope | None = None
        self.is_interrupted = False
        """Whether nobody waits for the answer any more; it may be so before the call begins."""

    async def run(self) -> R:
        """Return what the function returns; an error that would end the loop is wrapped."""
        with anyio.CancelScope() as self._scope:
            if self.is_interrupted:
                self._scope.cancel()
            try:
                return await self._function()
            except (SystemExit, KeyboardInterrupt) as error:
                raise ExitError(error) from None
        raise AssertionError("interrupted, and so nobody looks")

    def interrupt(self) -> None:
        """Cancel the call; on the loop's thread."""
        if self._scope is not None:
            self._scope.cancel()


class ExitError(Exception):
    """A function wants the program to end, which is the caller's to do, and not the loop's."""

    def __init__(self, wanted: BaseException) -> None:
        super().__init__()
        self.wanted = wanted
