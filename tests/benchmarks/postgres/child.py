"""Another process of a benchmark: it is told lines, and says lines."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

_LINE_BYTES_MAX: Final = 200


class Child:
    """A process that runs."""

    def __init__(self, process: anyio.abc.Process) -> None:
        """Take one with both pipes."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._said = BufferedByteReceiveStream(process.stdout)

    async def tell(self, line: str) -> None:
        """Say a line to it."""
        await self._stdin.send(f"{line}\n".encode())

    async def hear(self) -> str:
        """Return its next line."""
        return (await self._said.receive_until(b"\n", _LINE_BYTES_MAX)).decode()

    async def end(self) -> None:
        """Tell it that nothing more comes, upon which it ends."""
        await self._stdin.aclose()


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncGenerator[Child]:
    """Run a module of this folder in a process of its own, from `ready` to the end of the block."""
    program = [sys.executable, "-m", f"tests.benchmarks.postgres.{module}", *arguments]
    async with await anyio.open_process(
        program, stdin=subprocess.PIPE, stderr=None, cwd=Path(__file__).parents[3]
    ) as process:
        one = Child(process)
        try:
            assert await one.hear() == "ready"
            yield one
            await one.end()
            await process.wait()
        except BaseException:
            process.kill()
            raise
