"""The contract finds what it is there to find: each store in `faulty_stores.py` fails a test."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STORES = Path(__file__).with_name("faulty_stores.py")

# The test that names each fault; others may fail with it.
FOUND_BY = {
    "ChecksNoVersion": "test_append_at_wrong_version_writes_nothing",
    "ChecksVersionsTooEarly": "test_one_of_many_wins_an_expected_version",
    "LosesTheLastEvent": "test_thousand_events_fit_into_an_append",
    "CommitsPartByPart": "test_several_streams_are_all_or_none",
    "ReadsTheLowerBoundToo": "test_bounds_leave_the_positions_between",
    "IgnoresTheLimit": "test_bounds_leave_the_positions_between",
    "FiltersBehindTheLimit": "test_limit_counts_behind_the_filter",
    "GivesPositionsTwice": "test_log_has_every_event_in_order",
    "WakesNobody": "test_waiting_subscriber_is_woken_by_every_append",
    "WaitsForTheNextAppendOnly": "test_wait_for_what_is_there_already_ends_at_once",
    "RemembersTheLastThousandIds": "test_repetition_is_known_after_thousands_of_events",
    "ForgetsIdsWhenItIsClosed": "test_repetition_is_known_after_closing",
    "ChecksConditionsTooEarly": "test_one_of_many_wins_a_condition",
    "LooksAtItsOwnStreamsOnly": "test_event_that_matches_refuses_the_append",
    "LoadsTheNextSnapshot": "test_snapshot_is_not_after_the_wanted_version",
    "LoadsTheSnapshotBefore": "test_snapshot_at_the_wanted_version_is_loaded",
    "KeepsEverySnapshot": "test_newest_ten_snapshots_of_a_stream_are_kept",
    "StartsBackwardAtTheWrongEnd": "test_bounds_filter_and_limit_hold_together",
    "CountsTheGaps": "test_statistics_count_what_is_kept_beside_the_log",
    "FoldsTheCaseOfIds": "test_event_that_is_not_there_has_no_relatives",
    "SharesWhatItKeeps": "test_reader_who_changes_data_changes_nothing",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bool]]:
    """Return, for each store, which tests were run on it, and whether all their cases passed."""
    folder = tmp_path_factory.mktemp("faults")
    report = folder / "report.xml"
    roots = (str(ROOT / root) for root in ("framework", "aggregates", "projections"))
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, f"--junitxml={report}", f"--basetemp={folder / 'temp'}", str(STORES)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    passed: dict[str, dict[str, bool]] = defaultdict(dict)
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by our own pytest
        store = case.attrib["classname"].rpartition(".Test")[2]
        test = case.attrib["name"].partition("[")[0]
        is_passed = case.find("failure") is None and case.find("error") is None
        passed[store][test] = passed[store].get(test, True) and is_passed
    return passed


def test_every_faulty_store_is_looked_for(outcomes: dict[str, dict[str, bool]]) -> None:
    assert outcomes.keys() == {"Healthy", *FOUND_BY}


def test_healthy_store_passes_the_whole_contract(outcomes: dict[str, dict[str, bool]]) -> None:
    assert [name for name, is_passed in outcomes["Healthy"].items() if not is_passed] == []
    assert len(outcomes["Healthy"]) > 100


@pytest.mark.parametrize(("store", "test"), FOUND_BY.items())
def test_fault_is_found(outcomes: dict[str, dict[str, bool]], store: str, test: str) -> None:
    assert outcomes[store][test] is False
