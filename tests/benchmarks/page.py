"""The page of the benchmarks: its tables are written from reports, the rest by hand."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.report import Report
from tests.benchmarks.row import Row
from tests.benchmarks.table import markdown

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "benchmarks.md"


def write(command: str, report: Report, rows: Sequence[Row], page: Path = PAGE) -> None:
    """Write the table of a command anew.

    Args:
        command: How the table is told from the others.
        report: What was measured.
        rows: What the table has to have.
        page: The page.

    Raises:
        LookupError: A row was not measured: a peer is not installed, or there is no PostgreSQL.
    """
    measured = [result.row for result in report.results]
    if missing := [f"{row.name}, {row.against}" for row in rows if row not in measured]:
        raise LookupError(f"{'; '.join(missing)}: not measured, so the page stays as it is")
    text = page.read_text("utf-8")
    table = f"{_begin(command)}\n\n{markdown(report)}\n{_END}"
    page.write_text(text.replace(_section(command, text), table), "utf-8")


def row_names(command: str, page: Path = PAGE) -> list[tuple[str, str]]:
    """Return what each row of a table measures, and what that is held against."""
    section = _section(command, page.read_text("utf-8"))
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(row[0], row[3].partition(":")[0].strip()) for row in rows[2:]]


_END: Final = "<!-- up to here -->"


def _begin(command: str) -> str:
    return f"<!-- written by: {command} -->"


def _section(command: str, text: str) -> str:
    found = re.search(f"{re.escape(_begin(command))}.*?{_END}", text, re.DOTALL)
    assert found is not None, f"the page has no table of {command}"
    return found[0]
