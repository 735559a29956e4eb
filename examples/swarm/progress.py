"""What one sees while the swarm is at work: what changes on its board, in lines and as a bar."""

import os
import sys
from time import monotonic
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from board import SwarmBoard

_COLUMNS_MAX: Final = 100


class _Console(Console):
    """A console that nobody has to read to the end."""

    def on_broken_pipe(self) -> None:
        """Write into nothing from now on; the swarm goes on all the same."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_console() -> Console:
    """Return a console that is as wide as the terminal, and no wider than a page."""
    console = _Console(highlight=False)
    width = min(console.width, _COLUMNS_MAX) if console.is_terminal else _COLUMNS_MAX
    return _Console(highlight=False, width=width)


class Progress:
    """Says what changes on a board; on a terminal, above a bar of the files that are done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("auditing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._files = self._bar.add_task("", total=None)
        self._since = monotonic()
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        self._console.show_cursor()  # which nobody would give back after a kill
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, board: SwarmBoard) -> None:
        """Show a board; what it says for the second time is not said again."""
        if board.is_terminated:
            self._say("phase", "terminated")
            return
        self._bar.update(
            self._files,
            total=board.audit_count or None,
            completed=board.audited_count,
            description=f"{len(board.under_way)} under way, {len(board.queued)} queued",
        )
        if board.phase is not None:
            self._say("phase", f"phase: {board.phase}")
        if board.agent_count:
            self._say("scale", f"scaled to {board.agent_count} agents")
        if board.milestones:
            self._say("milestone", f"{board.milestones[-1]} of {board.audit_count} files")

    def _say(self, about: str, text: str) -> None:
        if self._said.get(about) != text:
            self._said[about] = text
            self._console.print(Text(f"{monotonic() - self._since:8.2f} s  {text}"))
