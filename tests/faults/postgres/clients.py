"""Clients of one PostgreSQL database, each a process with a history of its own; see `client.py`."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
from tests.faults.postgres.opened import check_dense, store_on
from tests.integration.appender import END, START, Balances
from tests.integration.load import mark
from tests.integration.process import environment, output

from backstory import EventStore
from backstory.testing import (
    HistoryVerdict,
    HistoryWriter,
    WitnessedStore,
    check_history,
    read_history,
)

_FOLDER: Final = Path(__file__).parent
_ROOT: Final = _FOLDER.parents[2]


class Running:
    """A client that was started."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    async def line(self) -> dict[str, Any]:
        """Return the next line that it writes.

        Raises:
            AssertionError: It has ended instead; the message holds what it said.
        """
        line = await anyio.to_thread.run_sync(output(self.process).readline, abandon_on_cancel=True)
        if not line.endswith(b"\n"):
            _, said = await anyio.to_thread.run_sync(self.process.communicate)
            raise AssertionError(said.decode())
        said_now: dict[str, Any] = json.loads(line)
        return said_now

    async def end(self) -> None:
        """Wait until it has ended in good order.

        Raises:
            AssertionError: It has failed; the message holds what it said.
        """
        _, said = await anyio.to_thread.run_sync(self.process.communicate, abandon_on_cancel=True)
        assert self.process.returncode == 0, said.decode()


class Clients:
    """Starts clients, keeps their histories, and leaves no process behind."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.running: list[Running] = []
        self._histories = folder / "histories"
        self._histories.mkdir()
        self._count = 0

    def start(self, role: str, *counts: int, url: str | None = None, **settings: Any) -> Running:
        """Start a client, on the database or on another way to it."""
        name = f"{role}-{self._count}"
        history = self._new_history(name)
        arguments = (url or self.url, history, name, json.dumps(settings), role, *counts)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(_FOLDER / "client.py"), *map(str, arguments)],
            env={**(known := environment()), "PYTHONPATH": f"{known['PYTHONPATH']}:{_ROOT}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        running = Running(process)
        self.running.append(running)
        return running

    async def begin(self, *, before: Callable[[], None] = lambda: None) -> None:
        """Let every client begin, once all are ready, and something has been done before."""
        for one in self.running:
            assert await one.line() == {"ready": True}
        before()
        await self._mark(START)

    async def finish(self) -> None:
        """Say that nothing more comes."""
        await self._mark(END)

    async def _mark(self, stream_id: str) -> None:
        async with self.witnessed(stream_id, listen=False) as store:
            await mark(store, stream_id)

    @asynccontextmanager
    async def witnessed(self, name: str, **settings: Any) -> AsyncGenerator[EventStore]:
        """Open the store here, with a history as that of any client."""
        with HistoryWriter(self._new_history(name)) as history:
            async with WitnessedStore(store_on(self.url, **settings), history) as store:
                yield store

    async def judge(self) -> HistoryVerdict:
        """Judge the log by what every client has written down.

        Raises:
            AssertionError: Something does not hold.
        """
        histories = map(read_history, sorted(self._histories.glob("*.jsonl")))
        async with store_on(self.url, listen=False) as store:
            await check_dense(store)
            verdict = await check_history(store, histories, projections=[Balances])
        print(verdict.report())  # noqa: T201 - pytest shows it when the test fails, and with -s
        verdict.check()
        return verdict

    def _new_history(self, name: str) -> Path:
        self._count += 1
        return self._histories / f"{self._count:04}-{name}.jsonl"

    def end(self) -> None:
        """Kill the processes that still run, and let go of all."""
        for one in self.running:
            if one.process.poll() is None:
                one.process.kill()
            with one.process:  # closes its pipes, and waits for it
                pass
