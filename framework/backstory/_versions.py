"""What a writer may expect of a stream, and the one judge of it.

Every store asks `judge_version`; no other place compares versions. Versions count from 1, and a
stream that does not exist has version 0, so that `NO_STREAM` and 0 say the same.
"""

from enum import Enum
from typing import Final

from backstory._errors import VersionConflictError
from backstory._limits import check_integer


class ExpectedVersion(Enum):
    """What a writer expects of a stream, where it is not a number."""

    ANY = "any version"
    """Append whatever the stream's version is."""
    NO_STREAM = "no stream"
    """The stream must not exist; the same as 0."""
    STREAM_EXISTS = "an existing stream"
    """The stream must have at least one event."""

    def __str__(self) -> str:
        return self.value


ANY: Final = ExpectedVersion.ANY
"""Append whatever the stream's version is."""
NO_STREAM: Final = ExpectedVersion.NO_STREAM
"""The stream must not exist; the same as 0."""
STREAM_EXISTS: Final = ExpectedVersion.STREAM_EXISTS
"""The stream must have at least one event."""


def check_expected_version(expected: object) -> None:
    """Refuse what is neither a mode nor a version.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(expected, ExpectedVersion):
        check_integer("expected version", expected, least=0)


def judge_version(stream_id: str, expected: int | ExpectedVersion, actual: int) -> None:
    """Let an append pass, or refuse it.

    Args:
        stream_id: The stream, for the message.
        expected: What the writer expects.
        actual: The stream's version; 0 when it does not exist.

    Raises:
        VersionConflictError: The stream is not as expected.
    """
    match expected:
        case ExpectedVersion.ANY:
            return
        case ExpectedVersion.NO_STREAM:
            as_expected = actual == 0
        case ExpectedVersion.STREAM_EXISTS:
            as_expected = actual > 0
        case _:
            as_expected = actual == expected
    if not as_expected:
        raise VersionConflictError(
            stream_id=stream_id, expected_version=expected, actual_version=actual
        )
