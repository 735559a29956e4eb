"""Findings as lines, one each."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from backstory.cli._output import print_line, printable
from backstory.operations._damage import Damage

F = TypeVar("F", bound=Callable[..., Any])

_LIMIT: Final = 20


def limit_option(command: F) -> F:
    """Give a command `--limit`, for the findings that it prints."""
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        default=_LIMIT,
        help="Print at most so many findings; the others are counted.",
    )(command)


def print_damage(damage: Sequence[Damage], count: int, *, limit: int) -> None:
    """Print findings, one a line, and how many more there are."""
    for one in damage[:limit]:
        print_line(_line(one))
    if count > (shown := min(limit, len(damage))):
        print_line(f"and {count - shown:,} findings more" if shown else f"{count:,} findings")


def _line(damage: Damage) -> str:
    return f"{damage.what.value:<10}  {_place(damage)}{printable(damage.evidence)}"


def _place(damage: Damage) -> str:
    if damage.position is None:
        return ""
    if damage.last_position not in (None, damage.position):
        return f"{damage.position} to {damage.last_position}  "
    stream = f" {printable(damage.stream_id)} {damage.version}" if damage.stream_id else ""
    return f"{damage.position}{stream}  "
