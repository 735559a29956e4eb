"""A swarm of agents audits a folder of Python source code; README.md says what you will see.

    python examples/swarm/main.py [FOLDER] [--store URL] [--agents N] [--fresh] [--pace SECONDS]
        [--control]

Everything that happens is an event in the store, with its cause. Interrupted or killed, the swarm
goes on where it was when the same command is given again.
"""

import os
import re
import signal
import sys
import uuid
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import click
from rich.text import Text

from audit import AUDITED
from backstory import Backstory, BackstoryError
from backstory_aggregates import SwarmError
from backstory_projections import AgentState, MemoryIndex, SwarmState, TaskHistory
from board import RUN_TAG, Board
from coordinator import begin, coordinate, interrupt, resume
from past import print_past
from progress import Progress, make_console
from report import print_report
from work import Workplace
from worker import employ

OUR_SOURCE = Path(__file__).resolve().parents[2]
PROJECTIONS = (AgentState, Board, MemoryIndex, SwarmState, TaskHistory)
_FAILED, _INTERRUPTED = 1, 130


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument(
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=OUR_SOURCE,
)
@click.option(
    "--store",
    metavar="URL",
    default="sqlite:///swarm.db",
    show_default=True,
    help="Where the story is kept.",
)
@click.option(
    "--agents",
    type=click.IntRange(2, 64),
    default=8,
    show_default=True,
    help="At most so many agents; for a new swarm.",
)
@click.option("--fresh", is_flag=True, help="Begin a new swarm, whatever became of the last one.")
@click.option(
    "--pace",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Let each task take so much longer, to have time to watch, or to kill.",
)
@click.option("--control", is_flag=True, help="Let `backstory actors` ask how its actors are.")
def main(*, folder: Path, store: str, agents: int, fresh: bool, pace: float, control: bool) -> None:
    """Let a swarm of agents audit the Python files under FOLDER (by default, Backstory's own).

    What they do is recorded event by event. Interrupt it with Ctrl-C, or kill it, and give the same
    command again: it goes on where it was.
    """
    warnings.filterwarnings("ignore", module=re.escape(AUDITED))
    demo = Demo(
        folder.resolve(), store, max_agents=agents, pace_seconds=pace, is_controlled=control
    )
    code = _FAILED
    try:
        code = anyio.run(partial(demo.run, is_fresh=fresh))
    except* BackstoryError as errors:
        click.echo(f"demo: {_first(errors)}", err=True)
    sys.exit(code)


def _first(errors: BaseException) -> BaseException:
    """Return the first error inside a group, or a group of groups."""
    if not isinstance(errors, BaseExceptionGroup):
        return errors
    return _first(cast("BaseExceptionGroup[BaseException]", errors).exceptions[0])


class Demo:
    """One call of the program."""

    def __init__(
        self,
        folder: Path,
        store: str,
        *,
        max_agents: int,
        pace_seconds: float,
        is_controlled: bool,
    ) -> None:
        self._folder = folder
        self._store = store
        self._max_agents = max_agents
        self._pace_seconds = pace_seconds
        self._is_controlled = is_controlled
        self._run = f"{RUN_TAG}{uuid.uuid4().hex[:8]}"
        self._console = make_console()

    async def run(self, *, is_fresh: bool) -> int:
        """Begin a swarm or go on with one, and return the exit code."""
        # Many agents write to one ledger: whoever is late decides again, and again.
        story = Backstory(
            self._store,
            projections=PROJECTIONS,
            attempt_count_max=100,
            control=self._is_controlled,
        )
        async with story:
            with story.using(tags=[self._run]):
                swarm = await self._prepare(story, is_fresh=is_fresh)
                if not (await story.read_model(Board)).swarms[swarm].is_terminated:
                    await self._work(story, swarm)
            return await self._finish(story, swarm)

    async def _prepare(self, story: Backstory, *, is_fresh: bool) -> str:
        """Return the swarm that audits the folder; this process is its coordinator."""
        board = await story.read_model(Board)
        swarm = None if is_fresh else board.newest(str(self._folder))
        if swarm is None:
            swarm = await begin(story, folder=str(self._folder), max_agents=self._max_agents)
            self._say(
                f"Swarm {swarm} begins to audit {self._folder}; its story is in {self._store}."
            )
        elif board.swarms[swarm].is_terminated:
            self._say(f"Swarm {swarm} has audited {self._folder} already; --fresh begins another.")
        else:
            self._say(f"Swarm {swarm} goes on with {self._folder}.")
            await resume(story, swarm)
        return swarm

    async def _work(self, story: Backstory, swarm: str) -> None:
        self._say(f"Process {os.getpid()} may be killed at any time; the same command goes on.")
        workplace = Workplace(story, swarm, self._folder, self._pace_seconds)
        with Progress(self._console) as progress:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch_signals, workplace, group.cancel_scope)
                group.start_soon(partial(employ, workplace, run=self._run))
                await coordinate(story, swarm, run=self._run, show=progress.show)
                group.cancel_scope.cancel()

    async def _watch_signals(self, workplace: Workplace, scope: anyio.CancelScope) -> None:
        """Let the first signal interrupt the swarm, and the second one leave it as it is."""
        with (
            suppress(NotImplementedError),  # on Windows, where a signal ends the program at once
            anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        ):
            async for _ in signals:
                if workplace.hurry.is_set():
                    scope.cancel()
                    return
                self._say("Interrupted: the agents finish what they have in hand, and stop.")
                workplace.hurry.set()
                with suppress(SwarmError):  # it has ended at this very moment
                    await interrupt(workplace.story, workplace.swarm)

    async def _finish(self, story: Backstory, swarm: str) -> int:
        board = (await story.read_model(Board)).swarms[swarm]
        if board.is_terminated:
            await print_report(story, swarm, self._console)
            await print_past(story, swarm, self._console, store=self._store)
            return 0
        if board.run != self._run:
            self._say(f"Another process coordinates swarm {swarm} now.")
            return _FAILED
        self._say(f"Swarm {swarm} is not done; the same command goes on with it.")
        return _INTERRUPTED

    def _say(self, text: str) -> None:
        self._console.print(Text(text))


if __name__ == "__main__":
    main()
