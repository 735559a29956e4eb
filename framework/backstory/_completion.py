"""Waiting for what must come to its end, whoever is cancelled meanwhile; and ending it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import anyio

T = TypeVar("T")

_PATIENCE_SECONDS: Final = 0.1


async def complete(work: "Coroutine[Any, Any, T] | asyncio.Task[T]") -> T:
    """Return what work returns, once it has ended.

    A cancellation of the caller, anyio's or asyncio's own, does not reach the work; it is raised
    when the work has ended.
    """
    task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain of it
        raise cancelled
    return task.result()


async def end(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task, and return when it has ended; harmless where there is none.

    It is cancelled again and again: libraries, and asyncio before Python 3.12, lose a cancellation
    that comes at the moment when what is waited for happens.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_PATIENCE_SECONDS)
