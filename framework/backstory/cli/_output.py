"""What commands print: lines, tables and JSON.

Text from a store is anybody's text. It is escaped before it reaches a terminal, so that an event
cannot move the cursor, and before it reaches rich, so that it is not taken for markup.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text


class _Console(Console):
    """A console that leaves a broken pipe to `main`."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def printable(value: object) -> str:
    """Return a value as text that a terminal shows and does not obey; None as an empty text."""
    text = "" if value is None else str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_line(text: str) -> None:
    """Print a line at once; the text has been made printable."""
    click.echo(text)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON, in UTF-8 whatever the terminal says."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.flush()


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str
) -> None:
    """Print a table; numbers stand right.

    Args:
        title: What it shows.
        columns: The heads of its columns.
        rows: Its rows, in order.
        empty: The sentence that is printed where there are no rows.
    """
    filled = list(rows)
    if not filled:
        print_line(empty)
        return
    table = Table(title=printable(title), title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        is_number = all(isinstance(row[number], int | float | None) for row in filled)
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in filled:
        table.add_row(*(Text(printable(value)) for value in row))
    # Without a terminal the table is as wide as it needs to be: what reads it has no edge.
    width = None if sys.stdout.isatty() else 1_000
    _Console(width=width).print(table)


def print_fields(title: str, fields: Mapping[str, object]) -> None:
    """Print names and values, one under the other; nested values as JSON."""
    rows = [
        (name, value if isinstance(value, str) else msgspec.json.encode(value).decode())
        for name, value in fields.items()
    ]
    print_table(title, ("field", "value"), rows, empty=title)
