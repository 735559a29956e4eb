"""The page of the benchmarks has the rows that are measured; its figures are not judged."""

from tests.benchmarks.groups import GROUPS
from tests.benchmarks.page import row_names
from tests.benchmarks.peers.comparison import ROWS
from tests.benchmarks.row import Row


def named(rows: tuple[Row, ...]) -> list[tuple[str, str]]:
    return [(row.name, row.against) for row in rows]


def test_page_lists_every_row_that_is_measured() -> None:
    measured = [pair for group in GROUPS for pair in named(group.rows)]

    assert row_names("make bench") == measured, 'run: make bench ARGS="--write"'


def test_page_lists_every_peer_in_every_row() -> None:
    assert row_names("make bench-peers") == named(ROWS), 'run: make bench-peers ARGS="--write"'
