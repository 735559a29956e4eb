"""The control socket of a program: where another process asks how it is doing.

It is a Unix socket beside the store's file. Whoever connects is sent one line of JSON; nothing is
read from him, so the socket gives no orders.

A socket has its name only while somebody listens: it is made under another name, and renamed. So
one that refuses a connection was left by a program that was killed, and whoever finds it may remove
it. A process id could not tell that: it is given again, and in each container anew, which is why it
is not the whole name either.
"""

import json
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import anyio
import msgspec
from anyio.abc import SocketListener, SocketStream
from msgspec import Struct

from backstory._errors import ConfigurationError
from backstory._live_aggregates import LiveAggregate
from backstory._logging import REASON, log
from backstory._registry import ProjectionStatus
from backstory._store import EventStore
from backstory.actors import ActorStatus

_MODE: Final = 0o600
_MARK: Final = "control"
_MARK_BEFORE: Final = "opening"
"""As long as the mark, so that a path that is too long is found at once."""
_SEND_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 1.0


class ProcessReport(Struct, frozen=True, kw_only=True):
    """How a running program is doing at one moment."""

    process_id: int
    """Its process."""
    actors: list[ActorStatus] = []
    """Its actors: those of live aggregates, and those of projectors."""
    live_aggregates: list[LiveAggregate] = []
    """The aggregates that are loaded, the longest unused first."""
    projections: list[ProjectionStatus] = []
    """The projections that it runs, in the order in which it names them."""
    error: str | None = None
    """Why nothing is known of it; None when it has answered."""


@runtime_checkable
class _InFile(Protocol):
    """A store that is kept in a file."""

    @property
    def path(self) -> Path: ...


def control_file(store: EventStore) -> Path:
    """Return the file beside which the control sockets of a store lie.

    Raises:
        ConfigurationError: The store is not kept in a file, or the platform has no Unix sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigurationError("a control socket is a Unix socket, which this platform has not")
    if not isinstance(store, _InFile):
        raise ConfigurationError(
            "a control socket lies beside the store's file, and this store is not kept in one; "
            "take one that is, such as 'sqlite:///story.db'"
        )
    return store.path.resolve()


@asynccontextmanager
async def serving(file: Path, report: Callable[[], ProcessReport]) -> AsyncGenerator[Path]:
    """Answer at a control socket beside a file while the block lasts.

    Args:
        file: The store's file.
        report: Called for each connection.

    Raises:
        ConfigurationError: The socket cannot be made there.
    """
    name = f"{os.getpid()}-{secrets.token_hex(4)}"
    path = _beside(file, _MARK, name)
    listener = await _listen(_beside(file, _MARK_BEFORE, name), path)
    try:
        async with listener, anyio.create_task_group() as group:
            group.start_soon(_serve, listener, report)
            yield path
            group.cancel_scope.cancel()
    finally:
        _remove(path)


async def ask_all(file: Path, *, timeout_seconds: float) -> list[ProcessReport]:
    """Return how each program is doing that has a control socket beside a file, by process id.

    Sockets of programs that were killed are removed. A program that does not answer is named, with
    the reason.

    Args:
        file: The store's file.
        timeout_seconds: How long to wait for each.
    """
    reports = [await _ask(path, timeout_seconds) for path in _sockets(file)]
    known = [report for report in reports if report is not None]
    return sorted(known, key=lambda report: report.process_id)


async def _listen(before: Path, path: Path) -> SocketListener:
    """Return a listener that has its name, its mode and its queue at once."""
    try:
        listener = await _bind(before)
        _rename(before, path)
    except OSError as error:
        _remove(before)
        raise ConfigurationError(
            f"no control socket can be made at {path}: {error}; leave out control=True, or keep "
            "the store in another folder"
        ) from error
    return listener


async def _bind(path: Path) -> SocketListener:
    # Shielded: a name that is bound by a thread nobody waits for would stay. There is no deadline,
    # but of this block, unlike a bare scope, type checkers know that it swallows nothing.
    with anyio.fail_after(None, shield=True):
        return await anyio.create_unix_listener(_short(path), mode=_MODE)


async def _serve(listener: SocketListener, report: Callable[[], ProcessReport]) -> None:
    async with anyio.create_task_group() as group:
        while True:
            try:
                stream = await listener.accept()
            except (OSError, anyio.BrokenResourceError) as error:
                # Such as too many open files: that is when somebody will want to ask.
                log.warning("control.failed", **{REASON: str(error.__cause__ or error)})
                await anyio.sleep(_PAUSE_SECONDS)
            else:
                group.start_soon(_answer, stream, report)


async def _answer(stream: SocketStream, report: Callable[[], ProcessReport]) -> None:
    with suppress(OSError, anyio.BrokenResourceError), anyio.move_on_after(_SEND_SECONDS):
        async with stream:
            await stream.send(_line(report()))


def _line(report: ProcessReport) -> bytes:
    try:
        return msgspec.json.encode(report) + b"\n"
    except UnicodeEncodeError:
        # What an error said may hold lone surrogates, as the names of files do.
        text = json.dumps(msgspec.to_builtins(report), ensure_ascii=False)
        return text.encode(errors="replace") + b"\n"


async def _ask(path: Path, timeout_seconds: float) -> ProcessReport | None:
    """Return how one program is doing; None where it is gone."""
    silent = partial(ProcessReport, process_id=_process_id(path))
    try:
        with anyio.fail_after(timeout_seconds):
            return msgspec.json.decode(await _receive(path), type=ProcessReport)
    except ConnectionRefusedError:
        _remove(path)
    except FileNotFoundError:
        pass  # it ended between the look and the question
    except TimeoutError:
        return silent(error=f"it does not answer within {timeout_seconds:g} s")
    except (OSError, anyio.BrokenResourceError) as error:
        return silent(error=f"it cannot be asked: {error or type(error).__name__}")
    except msgspec.MsgspecError as error:
        return silent(error=f"its answer cannot be read: {error}")
    return None


async def _receive(path: Path) -> bytes:
    async with await anyio.connect_unix(_short(path)) as stream:
        return b"".join([chunk async for chunk in stream])


def _rename(before: Path, path: Path) -> None:
    before.rename(path)


def _beside(file: Path, mark: str, name: str) -> Path:
    return file.with_name(f"{file.name}-{mark}-{name}")


def _sockets(file: Path) -> list[Path]:
    start = f"{file.name}-{_MARK}-"
    beside = [path for path in file.parent.iterdir() if path.name.startswith(start)]
    # A file that is none refuses as well, and is somebody's.
    return sorted(path for path in beside if path.is_socket())


def _process_id(path: Path) -> int:
    _, _, name = path.name.rpartition(f"-{_MARK}-")
    number = name.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _short(path: Path) -> str:
    """Return the shorter of a path's two forms: that of a socket may have about 100 bytes."""
    return min(str(path), os.path.relpath(path), key=len)


def _remove(path: Path) -> None:
    with suppress(OSError):  # a folder that may not be written; and it is in nobody's way
        path.unlink()
