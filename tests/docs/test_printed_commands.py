"""Every command that the docs print runs, in the order of its page."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from backstory import Backstory
from backstory_aggregates import Agent, Task

ROOT = Path(__file__).parents[2]
PAGES = [
    "docs/tutorial/06-for-real.md",
    "docs/how-to/use-the-command-line.md",
    "docs/how-to/trace-an-event.md",
    "docs/how-to/check-before-you-deploy.md",
    "docs/how-to/move-events-between-stores.md",
    "docs/how-to/verify-a-store.md",
    "docs/how-to/salvage-a-damaged-store.md",
]
PROGRAM = 'set -e\nbackstory() { "$PYTHON" -m backstory "$@"; }\n'


async def fill(url: str) -> None:
    """Store what the printed commands ask for."""
    async with Backstory(url) as story:
        with story.using(actor="ada", correlation_id="request-7"):
            await story.execute(Agent.spawn, "ada", role="writer")
            await story.execute(Task.create, "write-docs", title="Write the docs")
            await story.execute(Task.start, "write-docs", agent_id="ada")
            await story.execute(Task.fail, "write-docs", error="out of ink")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sh") is None, reason="the docs print commands for a POSIX shell")
@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_prints_run(page: str, tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    anyio.run(fill, f"sqlite:///{tmp_path}/story.db")
    roots = (str(ROOT / root) for root in ("framework", "aggregates", "projections"))

    run = subprocess.run(
        ["sh", "-c", PROGRAM + "".join(blocks)],  # noqa: S607 - the shell that the docs speak of
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots), "PYTHON": sys.executable},
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )

    assert blocks
    assert run.returncode == 0, run.stderr
