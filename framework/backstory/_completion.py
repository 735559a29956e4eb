"""Waiting for what must come to its end, whoever is cancelled meanwhile."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


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
