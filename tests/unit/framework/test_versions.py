"""The one judge of expected versions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    ExpectedVersion,
    InvalidInputError,
    VersionConflictError,
)
from backstory._versions import check_expected_version, judge_version


def passes(expected: int | ExpectedVersion, actual: int) -> bool:
    try:
        judge_version("task-1", expected, actual)
    except VersionConflictError:
        return False
    return True


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_number_passes_where_it_is_the_version(expected: int, actual: int) -> None:
    assert passes(expected, actual) == (expected == actual)


@pytest.mark.parametrize(
    ("expected", "at_zero", "above"),
    [(ANY, True, True), (NO_STREAM, True, False), (STREAM_EXISTS, False, True)],
)
def test_mode_passes_where_it_says(
    expected: ExpectedVersion, *, at_zero: bool, above: bool
) -> None:
    assert passes(expected, 0) is at_zero
    assert passes(expected, 1) is passes(expected, 99) is above


def test_conflict_names_the_mode_in_words() -> None:
    with pytest.raises(VersionConflictError, match="at version 3, expected no stream; reload"):
        judge_version("task-1", NO_STREAM, 3)


@pytest.mark.parametrize("expected", [0, 7, ANY, NO_STREAM, STREAM_EXISTS])
def test_modes_and_versions_are_accepted(expected: Any) -> None:
    check_expected_version(expected)


@pytest.mark.parametrize("expected", [-1, True, 1.5, "any version", None, 2**63])
def test_what_is_no_version_is_refused(expected: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected version"):
        check_expected_version(expected)
