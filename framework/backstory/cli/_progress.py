"""How far a long command is, on standard error and only on a terminal."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def progress(title: str, total: int) -> Generator[Callable[[int], None] | None]:
    """Show a bar while the block runs; give what moves it, or None where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task(title, total=total)
        yield lambda position: shown.update(bar, completed=position)
