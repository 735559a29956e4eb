"""Programs under strace, which makes chosen system calls fail, wait or kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from tests.integration.process import environment

FOLDER: Final = Path(__file__).parent

STRACE: Final = shutil.which("strace")


def _may_trace() -> bool:
    """Tell whether strace is there, new enough, and allowed to do what it does."""
    if STRACE is None:
        return False
    options = ["-f", "-qq", "-y", "--seccomp-bpf", "-o", os.devnull, "-e", "trace=getcwd"]
    injection = ["-e", "inject=getcwd:delay_exit=1:when=1"]
    command = [STRACE, *options, *injection, sys.executable, "-I", "-S", "-c", ""]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_strace: Final = pytest.mark.skipif(not _may_trace(), reason="needs strace")


@dataclass(frozen=True)
class Traced:
    """How a program went under strace."""

    returncode: int
    stdout: str
    stderr: str
    log: str

    @property
    def is_killed(self) -> bool:
        return self.returncode == -signal.SIGKILL

    @property
    def lines(self) -> list[Any]:
        """What the program wrote, as JSON."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def injected(self) -> int:
        """How often strace has struck."""
        return len(re.findall(r"\((?:INJECTED|DELAYED)\)", self.log)) + self.is_killed


async def run_traced(
    program: str,
    *arguments: object,
    trace: Sequence[str],
    inject: str = "",
    only: Path | None = None,
    with_content: bool = False,
    log: Path,
) -> Traced:
    """Run a program of this folder to its end, or to its kill.

    Args:
        program: The program.
        arguments: Its arguments.
        trace: Which system calls are seen.
        inject: What is done to which of them, as strace takes it: `pwrite64:error=EIO:when=3`.
        only: Only calls on this file are seen.
        with_content: Whether the log holds what was written, as hexadecimal numbers.
        log: Where strace writes.
    """
    options = ["-f", "-qq", "-y", "-o", str(log), "-e", f"trace={','.join(trace)}"]
    options += ["-P", str(only)] if only else []
    options += ["-e", f"inject={inject}"] if inject else []
    # The filter in the kernel makes it fast. With it strace 6.1 forgets to send signals.
    options += [] if "signal=" in inject else ["--seccomp-bpf"]
    options += ["-xx", "-s", "99999"] if with_content else []
    command = [str(STRACE), *options, sys.executable, "-W", "error", str(FOLDER / program)]
    # The files that Python itself would write are none of what is tested.
    done = await anyio.run_process(
        [*command, *map(str, arguments)],
        env={**environment(), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    text = await anyio.Path(log).read_text(errors="replace") if os.path.exists(log) else ""  # noqa: ASYNC240, PTH110 - it is small
    return Traced(done.returncode, done.stdout.decode(), done.stderr.decode(), text)
