"""The page of faults lists every test that carries the marker, and no other."""

import re
from pathlib import Path

from tests.faults.table import ROOT, ROWS, STORES, fault_tests, listed, listing

PAGE = ROOT / "docs" / "reference" / "faults.md"


def test_page_lists_every_fault_test_with_its_rows() -> None:
    expected = listed(listing(fault_tests()))

    mend = "run: python -m tests.faults.table"
    assert listed(PAGE.read_text(encoding="utf-8")) == expected, mend


def test_every_row_has_a_verdict_for_each_of_its_stores() -> None:
    shown = re.findall(
        rf"^\| (\w+) \| [^|]+ \| ({'|'.join(STORES.values())}) \|",
        PAGE.read_text("utf-8"),
        re.MULTILINE,
    )

    expected = {
        (str(row), STORES[store])
        for test in fault_tests()
        for row in test.rows
        for store in test.stores
    }

    assert set(shown) == expected, "run: make faults"
    assert len(shown) == len(set(shown))


def test_every_row_of_the_table_has_a_test() -> None:
    assert {row for test in fault_tests() for row in test.rows} == set(ROWS)


def test_every_fault_test_says_without_what_it_fails() -> None:
    assert not [test.name for test in fault_tests() if not test.without]


def test_marker_stands_where_it_is_found() -> None:
    # On a function, and not on a module or a parameter, where the page would not see it.
    texts = {file: file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")}

    assert not [
        file.name
        for file, text in texts.items()
        for line in text.splitlines()
        if "mark.fault(" in line
        if not line.startswith("@pytest.mark.fault(") and file != Path(__file__)
    ]
