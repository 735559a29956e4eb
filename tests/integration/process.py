"""Programs of our own as real processes, which can be watched and killed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import backstory

FOLDER = Path(__file__).parent


def environment() -> dict[str, str]:
    """Return this process's environment, in which a program finds the framework."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(backstory.__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
    }


def start(
    program: str, *arguments: object, under: tuple[str, ...] = ()
) -> "subprocess.Popen[bytes]":
    """Start a program of this folder, under another one if wanted."""
    command = [*under, sys.executable, "-W", "error", str(FOLDER / program)]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def output(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    """Return what a process writes."""
    assert process.stdout is not None
    return process.stdout


def lines(process: "subprocess.Popen[bytes]") -> Iterator[Any]:
    """Yield the whole lines that a process writes, as JSON; one cut off by a kill is none."""
    for line in output(process):
        if line.endswith(b"\n"):
            yield json.loads(line)


def finish(process: "subprocess.Popen[bytes]") -> list[Any]:
    """Wait for a process, and return its lines.

    Raises:
        AssertionError: It failed; the message holds what it said.
    """
    written, said = process.communicate(timeout=100)
    assert process.returncode == 0, said.decode()
    return [json.loads(line) for line in written.splitlines()]
