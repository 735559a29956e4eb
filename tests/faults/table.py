"""The table of faults: its rows, the tests that belong to them, and the page that shows both.

    python -m tests.faults.table    writes the list of tests anew, which takes no run

What each row came to is of the last whole run, `make faults`, which writes both.
"""

import ast
import platform
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import Struct

ROOT: Final = Path(__file__).parents[2]

Row = int | str

ROWS: Final[Mapping[Row, str]] = {
    1: "a kill at each system call of an append",
    2: "a kill at a random moment under load",
    3: "a power cut: what was not synced is lost, torn or reordered",
    4: "the end of a file is cut off",
    5: "a bit flips in the database file, the WAL, the head, a snapshot or a checkpoint",
    6: "the disk is full",
    7: "a write or a sync fails",
    8: "writes are short, and the disk is slow",
    9: "the clock goes back, jumps, or stands still",
    10: "several writers want the same version",
    11: "a writer stalls with an open transaction while others commit",
    12: "a position is taken before the transaction id",
    13: "appends are rolled back, and the server crashes",
    14: "the connection is reset in the middle of a commit",
    15: "the network is cut, slow or silent; connections are ended, and the server restarted",
    16: "all connections are in use",
    18: "a projection meets an event that it cannot handle",
    19: "the process ends between a read model and its checkpoint",
    20: "a read model is built anew while others append; two processes run one projection",
    21: "a subscriber is slow, stuck or gone",
    22: "a million events, and many streams",
    23: "large events and appends, and empty ones",
    24: "hostile ids",
    25: "a stored event is malformed",
    26: "an event of an unknown type, or of an older or newer schema version",
    27: "values at the edge",
    28: "a cancellation at each place that waits",
    29: "the loop, the process or the store is ended while it is in use",
    30: "the program's own code raises",
    31: "permissions, a read-only disk, a missing folder",
    32: "a link lies where a file is made",
    33: "a copy of an open file, an older backup, a checkpoint ahead of the log",
    34: "memory, file descriptors and tasks run short",
    "T1": "a reader passes over a position that is not committed yet",
    "T2": "the feed is bounded by one order and sorted by another",
    "T3": "the order of the feed contradicts that of a stream",
    "T4": "a long transaction elsewhere holds the feed up; a dump is restored elsewhere",
    "T5": "a condition is judged while an append that breaks it is on its way",
    "T6": "check, then insert",
    "T7": "a checkpoint without its effect, or an effect without its checkpoint",
    "T8": "a projection of rare events never gets on",
    "T9": "the hand-over from the past to the present",
    "T10": "a wake-up is lost",
    "T11": "a read model is read while it is built anew",
    "T12": "an append is repeated because its answer was lost",
    "T13": "a request comes again when its aggregate has moved on",
    "T14": "the code changes behind a snapshot",
    "T15": "a snapshot is left out, or taken of what was not written",
    "T16": "the event of the snapshot is applied again",
    "T17": "upcasting in some readers and not in others",
    "T18": "an older program meets a newer event",
    "T19": "an event that fails for ever",
    "T25": "many writers of one stream",
    "T27": "something happens between the check and the emit",
    "T28": "the state moves on although the append failed",
    "T29": "a command comes while its aggregate leaves",
    "T30": "a mailbox overflows",
    "T31": "a cancellation during the commit",
    "T32": "how SQLite locks, numbers and syncs",
    "T36": "a read model is ahead of a log that was restored",
    "T37": "health that lies",
    "T40": "a value comes back as another one",
}
"""Every row that concerns the stores of today: numbers are faults, `T…` are traps."""

STORES: Final = {"in_memory": "in-memory", "sqlite": "SQLite", "postgres": "PostgreSQL"}

_BEGIN: Final = "<!-- written by: make faults -->\n"
_END: Final = "<!-- up to here -->\n"
_LIST: Final = "| test | rows | seen to fail without |\n"


class Outcome(Struct, frozen=True):
    """What became of one run of a fault test."""

    test: str
    store: str
    injected: int
    verdict: str
    """`passed`, `failed`, `skipped`, or `known` where it is expected to fail."""
    reason: str


class FaultTest(Struct, frozen=True):
    """A test that carries the marker."""

    name: str
    """Its file and its function."""
    rows: tuple[Row, ...]
    stores: tuple[str, ...]
    without: str
    """What was taken out when it was seen to fail."""


def fault_tests(root: Path = ROOT) -> list[FaultTest]:
    """Return every test that carries the marker, in the order of files and lines."""
    found: list[FaultTest] = []
    for file in sorted((root / "tests").rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if "mark.fault(" in text:
            found += _marked(file.relative_to(root).as_posix(), ast.parse(text))
    return found


def _marked(file: str, module: ast.Module) -> Iterator[FaultTest]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for marker in filter(_is_marker, node.decorator_list):
                assert isinstance(marker, ast.Call)
                said = {one.arg: ast.literal_eval(one.value) for one in marker.keywords}
                takes_store = any(argument.arg == "store" for argument in node.args.args)
                stores = tuple(STORES) if takes_store else ("sqlite",)
                yield FaultTest(
                    f"{file}::{node.name}",
                    tuple(row for argument in marker.args for row in _rows(argument)),
                    (said["store"],) if "store" in said else stores,
                    said.get("without", ""),
                )


def _rows(argument: ast.expr) -> tuple[Row, ...]:
    if isinstance(argument, ast.Starred):  # where the list is longer than a line
        rows: tuple[Row, ...] = ast.literal_eval(argument.value)
        return rows
    return (ast.literal_eval(argument),)


def _is_marker(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault"


def rewrite(page: Path, outcomes: Sequence[Outcome]) -> None:
    """Write both tables anew between their marks, and leave the rest of the page as it is."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    tables = f"{where_and_when()}\n\n{verdicts(outcomes)}\n{listing(fault_tests())}"
    page.write_text(f"{before}{_BEGIN}\n{tables}\n{_END}{after}", encoding="utf-8")


def relist(page: Path) -> None:
    """Write the list of tests anew, and leave what the last run came to as it is."""
    before, mark, rest = page.read_text(encoding="utf-8").partition(_LIST)
    _, end, after = rest.partition(f"\n{_END}")
    assert mark
    assert end
    page.write_text(f"{before}{listing(fault_tests())}{end}{after}", encoding="utf-8")


def where_and_when() -> str:
    """Return the sentence that says which run the numbers are of."""
    return (
        f"Of the run of {datetime.now(UTC):%Y-%m-%d} on {platform.system()} "
        f"{platform.release().split('-')[0]}, {platform.machine()}, "
        f"with CPython {platform.python_version()} and SQLite {sqlite3.sqlite_version}:"
    )


def verdicts(outcomes: Sequence[Outcome]) -> str:
    """Return the table of rows: store, tests, injections, verdict."""
    lines = ["| row | fault | store | tests | injections | verdict |", "|---|---|---|---|---|---|"]
    rows_of = {test.name: test.rows for test in fault_tests()}
    for row, what in ROWS.items():
        for store, name in STORES.items():
            of_row = [
                one for one in outcomes if one.store == store and row in rows_of.get(one.test, ())
            ]
            if of_row:
                count, injected = len(of_row), sum(one.injected for one in of_row)
                lines.append(
                    f"| {row} | {what} | {name} | {count:,} | {injected:,} | {_verdict(of_row)} |"
                )
    return "\n".join(lines) + "\n"


def _verdict(outcomes: Sequence[Outcome]) -> str:
    said = {one.verdict for one in outcomes}
    if "failed" in said:
        return "FAILS"
    parts = ["holds"] if "passed" in said else []
    parts += ["but for a known fault"] if "known" in said else []
    skipped = {one.reason.removeprefix("Skipped: ") for one in outcomes if one.verdict == "skipped"}
    return "; ".join([*parts, *(f"not run: {reason}" for reason in sorted(skipped))])


def listing(tests: Sequence[FaultTest]) -> str:
    """Return the table of tests: rows, and without what each was seen to fail."""
    lines = [_LIST.rstrip(), "|---|---|---|"]
    lines += [
        f"| `{test.name}` | {', '.join(map(str, test.rows))} | {test.without} |" for test in tests
    ]
    return "\n".join(lines) + "\n"


def listed(page: str) -> list[str]:
    """Return the lines of a page that list tests."""
    return re.findall(r"^\| `tests/.+\|$", page, re.MULTILINE)


if __name__ == "__main__":
    relist(ROOT / "docs" / "reference" / "faults.md")
