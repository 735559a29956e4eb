"""Programs of this folder as real processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS
from tests.integration.process import environment

FOLDER: Final = Path(__file__).parent

needs_limits: Final = pytest.mark.skipif(
    sys.platform != "linux", reason="needs the limits that Linux sets to processes"
)


def command(program: str, *arguments: object) -> list[str]:
    """Return how a program of this folder is started."""
    return [sys.executable, "-W", "error", str(FOLDER / program), *map(str, arguments)]


def start(program: str, *arguments: object) -> "subprocess.Popen[bytes]":
    """Start a program of this folder."""
    return subprocess.Popen(
        command(program, *arguments),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def finish(
    program: str, *arguments: object, deadline_seconds: float = 2 * DEADLINE_SECONDS
) -> list[Any]:
    """Run a program to its end; return the lines that it wrote, as JSON.

    Raises:
        AssertionError: It failed; the message holds what it said.
        TimeoutError: It did not end.
    """
    with anyio.fail_after(deadline_seconds):
        done = await anyio.run_process(command(program, *arguments), env=environment(), check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]
