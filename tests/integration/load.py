"""Clients of one SQLite file, each a process with a history of its own; see `appender.py`."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
from tests.integration.appender import Marked
from tests.integration.process import lines, start

from backstory import ANY, EventStore, NewEvent
from backstory.testing import History, HistoryWriter, read_history


class Load:
    """Starts clients, keeps their histories, and leaves no process behind."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "story.db"
        self._histories = folder / "histories"
        self._histories.mkdir()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._count = 0

    def start(self, name: str, *role: object) -> "subprocess.Popen[bytes]":
        """Start a client."""
        process = start("appender.py", self.path, self._new_history(name), name, *role)
        self._processes.append(process)
        return process

    def history(self, name: str) -> HistoryWriter:
        """Return a history for a client in this process."""
        return HistoryWriter(self._new_history(name))

    def _new_history(self, name: str) -> Path:
        self._count += 1
        return self._histories / f"{self._count:04}-{name}.jsonl"

    def histories(self) -> Iterator[History]:
        """Yield what every client has written down so far."""
        return map(read_history, sorted(self._histories.glob("*.jsonl")))

    def end(self) -> None:
        """Kill the processes that still run, and let go of all."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            with process:  # closes its pipes, and waits for it
                pass


async def wait_ready(processes: "list[subprocess.Popen[bytes]]") -> None:
    """Return when every process has said that it is ready.

    Raises:
        AssertionError: One ended instead; the message holds what it said.
    """
    for process in processes:
        if await anyio.to_thread.run_sync(next, lines(process), None) is None:
            _, said = await anyio.to_thread.run_sync(process.communicate)
            raise AssertionError(said.decode())


async def mark(store: EventStore, stream_id: str) -> None:
    """Tell every process that waits for a mark."""
    event = NewEvent.of(Marked(), event_id=uuid.uuid4())
    await store.append(stream_id, [event], expected_version=ANY)


async def finish_all(processes: "list[subprocess.Popen[bytes]]") -> list[dict[str, Any]]:
    """Wait for processes, and return the last line of each.

    Raises:
        AssertionError: One failed; the message holds what it said.
    """
    last: list[dict[str, Any]] = []

    async def finish(process: "subprocess.Popen[bytes]") -> None:
        written, said = await anyio.to_thread.run_sync(process.communicate, abandon_on_cancel=True)
        assert process.returncode == 0, said.decode()
        last.append(json.loads(written.splitlines()[-1]))

    async with anyio.create_task_group() as group:
        for process in processes:
            group.start_soon(finish, process)
    return last
