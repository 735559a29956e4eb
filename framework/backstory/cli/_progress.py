"""How far a long command is, on standard error and only on a terminal."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import Progress

Advance: TypeAlias = Callable[[int], None]
"""Moves a bar to a position."""


@contextmanager
def progress(title: str, total: int, *, is_wanted: bool = True) -> Generator[Advance | None]:
    """Show a bar while the block runs; give what moves it, or None where none is shown.

    Args:
        title: What stands before it.
        total: Where it ends.
        is_wanted: Show it, where there is a terminal.
    """
    if not (is_wanted and sys.stderr.isatty()):
        yield None
        return
    with Progress(console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task(title, total=total)
        yield lambda position: shown.update(bar, completed=position)
