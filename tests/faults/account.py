"""How many faults each test injects, and what becomes of the table of them.

A fault test carries the marker `fault` with the rows of the fault table that it belongs to, such as
`@pytest.mark.fault(7, "T31", without="…")`: numbers are faults, `T…` are traps. `without` says what
was taken out of the framework when the test was seen to fail. A test that says `store="in_memory"`
is about that; else one that takes the `store` fixture is about all, and any other about SQLite.

Whatever injects a fault counts it where it happens: `faults.count()`. A fault test that passes
without having counted any has shown nothing, and fails.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from tests.faults.table import Outcome, rewrite


class Account:
    """Counts the faults that are injected while a test runs."""

    def __init__(self) -> None:
        self.injected = 0
        """How many there were since the test began."""
        self.outcomes: list[Outcome] = []
        """What became of the fault tests that have ended."""

    def count(self, number: int = 1) -> None:
        """Take note of faults that were injected."""
        self.injected += number


faults: Final = Account()
"""The one account of a run; a test runs at a time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults-page", type=Path, help="the page whose table of faults is written anew"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let a fault test fail that has injected nothing."""
    faults.injected = 0
    result = yield
    if item.get_closest_marker("fault") is not None and not faults.injected:
        pytest.fail("no fault was injected, so nothing was shown", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take note of what becomes of a fault test."""
    report = yield
    marker = item.get_closest_marker("fault")
    is_over = call.when == "call" or (call.when == "setup" and not report.passed)
    if marker is not None and is_over:
        name = f"{item.path.relative_to(item.config.rootpath).as_posix()}::{name_of(item)}"
        injected = faults.injected if call.when == "call" else 0
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        is_known = hasattr(report, "wasxfail")
        verdict = "known" if is_known else report.outcome
        faults.outcomes.append(Outcome(name, store_of(item), injected, verdict, reason))
    return report


def name_of(item: pytest.Item) -> str:
    return item.originalname if isinstance(item, pytest.Function) else item.name


def store_of(item: pytest.Item) -> str:
    """Return the store that a fault test is about."""
    if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        params = item.callspec.params
        store = next(filter(None, map(params.get, ("store", "store_name", "url_of"))), None)
        if isinstance(store, str):
            return store
    marker = item.get_closest_marker("fault")
    return "sqlite" if marker is None else marker.kwargs.get("store", "sqlite")


def pytest_sessionfinish(session: pytest.Session) -> None:
    page: Path | None = session.config.getoption("faults_page", None)
    if page is not None and faults.outcomes:
        rewrite(page, faults.outcomes)
