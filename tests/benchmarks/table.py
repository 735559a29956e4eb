"""The table of a report: the same cells on the terminal and on the page."""

import sys
from collections.abc import Sequence
from statistics import median
from typing import Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from tests.benchmarks.report import Report
from tests.benchmarks.row import Result

HEADS: Final = ("what", "size", "ours", "held against", "ratio", "spread", "target", "")

_WIDTH: Final = 170
"""Columns of a file, which has none."""


def cells(result: Result) -> tuple[str, ...]:
    """Return a row as texts, one for each head."""
    row = result.row
    low, high = result.spread
    is_ratio = bool(row.against)
    shown = ratio if is_ratio else amount
    return (
        row.name,
        result.size,
        f"{amount(median(result.ours))} {row.unit}",
        f"{row.against}: {amount(median(result.other))}" if is_ratio else "",
        ratio(result.figure) if is_ratio else "",
        f"{shown(low)} to {shown(high)}" if len(result.ours) > 1 else "",
        f"{row.target} {'' if is_ratio else row.unit}".strip() if row.target else "",
        result.verdict,
    )


def ratio(value: float) -> str:
    """Return a ratio as a text: two digits behind the point, or one where it is large."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def amount(value: float) -> str:
    """Return a value as a text of three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_report(report: Report) -> None:
    """Print the table and what there is to say beside it."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    table = Table(*HEADS, box=SIMPLE)
    for result in report.results:
        table.add_row(*cells(result))
    console.print(table)
    for note in report.notes:
        console.print(note, highlight=False)
    console.print(", ".join(f"{name}: {fact}" for name, fact in report.machine.items()))


def markdown(report: Report) -> str:
    """Return the table and what there is to say beside it, for the page."""
    lines = [_line(HEADS), _line(["---"] * len(HEADS))]
    lines += [_line(cells(result)) for result in report.results]
    notes = [f"- {note}" for note in report.notes]
    machine = ", ".join(f"{name} {fact}" for name, fact in report.machine.items())
    said = f"Of the run of {report.date}, {report.rounds} rounds; {machine}."
    return "\n".join([said, "", *lines, "", *notes, ""]).replace("\n\n\n", "\n\n")


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
