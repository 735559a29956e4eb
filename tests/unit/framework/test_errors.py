"""The error tree: who is at fault, did anything happen, may I retry."""

import pickle

import pytest

from backstory import (
    BackstoryError,
    CorruptLogError,
    DomainError,
    DuplicateEventError,
    InvalidInputError,
    ProjectionBehindError,
    ProjectionFailedError,
    StoreError,
    StoreUnavailableError,
    VersionConflictError,
)


class TooLateError(DomainError):
    def __init__(self, *, deadline: str) -> None:
        super().__init__(f"too late: the deadline was {deadline}")
        self.deadline = deadline


def test_one_except_catches_every_error() -> None:
    with pytest.raises(BackstoryError):
        raise VersionConflictError(stream_id="task-1", expected_version=7, actual_version=9)


def test_conflict_says_what_was_found_and_what_to_do() -> None:
    error = VersionConflictError(stream_id="task-1", expected_version=7, actual_version=9)

    assert str(error) == "stream 'task-1' is at version 9, expected 7; reload and decide again"
    assert (error.stream_id, error.expected_version, error.actual_version) == ("task-1", 7, 9)


def test_damage_names_its_position_where_it_is_known() -> None:
    known = CorruptLogError(where="sqlite:///a.db", position=7, reason="a gap")
    unknown = CorruptLogError(where="sqlite:///a.db", position=0, reason="a torn page")

    assert str(known) == "sqlite:///a.db is damaged at position 7: a gap"
    assert str(unknown) == "sqlite:///a.db is damaged: a torn page"


def test_failed_projection_blames_nobody_but_the_cause() -> None:
    error = ProjectionFailedError(
        projection="Sum", position=7, event_type="the store", reason="StoreUnavailableError: full"
    )

    assert "handler" not in str(error)
    assert str(error).endswith("StoreUnavailableError: full; mend the cause and start again")


def test_bad_input_is_a_value_error_too() -> None:
    error = InvalidInputError(argument="limit", found="-1", reason="must be positive")

    assert isinstance(error, ValueError)
    assert str(error) == "limit -1: must be positive"


def test_late_projection_is_a_timeout_error_too() -> None:
    error = ProjectionBehindError(
        projection="Counts", position=3, wanted_position=7, timeout_seconds=0.5
    )

    assert isinstance(error, TimeoutError)
    assert "within 0.5 s" in str(error)


@pytest.mark.parametrize(
    ("outcome_unknown", "said"), [(False, "nothing happened"), (True, "may or may not")]
)
def test_unavailable_store_says_whether_anything_happened(
    said: str, *, outcome_unknown: bool
) -> None:
    error = StoreUnavailableError(
        store="sqlite:///x.db",
        attempted="append",
        reason="disk full",
        outcome_unknown=outcome_unknown,
    )

    assert said in str(error)
    assert error.outcome_unknown is outcome_unknown


@pytest.mark.parametrize(
    "error",
    [
        TooLateError(deadline="noon"),
        InvalidInputError(argument="limit", found="-1", reason="must be positive"),
        DuplicateEventError(event_id="e", stream_id="task-1", version=1, reason="other data"),
        StoreError("plain"),
    ],
)
def test_error_comes_back_from_pickle_unchanged(error: BackstoryError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
