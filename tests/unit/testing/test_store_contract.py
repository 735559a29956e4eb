"""The contract is run by others: from its door, with their settings, and with telling failures."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

OWN_TESTS = '''
"""The test file of somebody who wrote a store."""

from pathlib import Path

from backstory import Clock, EventStore, LogRead, Page
from backstory.stores.in_memory import InMemoryStore
from backstory.testing.store_contract import Checkpoints, Log, Sharing, Snapshots


class OffByOneStore(InMemoryStore):
    async def head(self) -> int:
        return await super().head() + 1


class TestOffByOneStore(Log):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return OffByOneStore(clock=clock)


class TestGoodStore(Snapshots, Checkpoints, Sharing):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return InMemoryStore(clock=clock)


class TestNoStore(Checkpoints):
    pass
'''


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    roots = (str(ROOT / root) for root in ("framework", "aggregates", "projections"))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
        check=False,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what pytest says about such a file, in a folder with no settings of ours."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "test_own_store.py").write_text(OWN_TESTS, encoding="utf-8")
    settings = ("-W", "error", "--strict-markers", "-rA", "-p", "no:cacheprovider")
    return run("-m", "pytest", *settings, folder=folder).stdout


def test_groups_pass_in_a_project_of_somebody_else(report: str) -> None:
    assert "PASSED test_own_store.py::TestGoodStore::test_newest_snapshot_is_loaded" in report
    assert "FAILED test_own_store.py::TestGoodStore" not in report


def test_failed_assertion_shows_its_values(report: str) -> None:
    assert "FAILED test_own_store.py::TestOffByOneStore::test_empty_log_has_no_events" in report
    assert "assert 1 == 0" in report


def test_skipped_test_names_the_capability(report: str) -> None:
    assert "capability: durability is MEMORY" in report
    assert "capability: is_multi_process is False" in report


def test_class_without_a_factory_says_what_is_missing(report: str) -> None:
    assert "NotImplementedError: TestNoStore needs a make_store(self, folder, clock)" in report


def test_door_says_what_to_install_where_pytest_is_missing(tmp_path: Path) -> None:
    program = """
        import sys
        sys.modules["pytest"] = None
        import backstory.testing
        assert backstory.testing.AggregateSpec and "_pytest" not in sys.modules
        import backstory.testing.store_contract
    """

    ran = run("-c", textwrap.dedent(program), folder=tmp_path)

    assert ran.returncode == 1
    assert "ImportError: the store contract is run by pytest" in ran.stderr
    assert "AssertionError" not in ran.stderr
