"""Durations that were recorded, and which of them can be true."""

from typing import Final

SECONDS_MAX: Final = 1e10
"""Three hundred years: a recorded duration beyond is a mistake, and would spoil every average."""


def possible_seconds(seconds: float | None) -> float | None:
    """Return a recorded duration, or None where it was not said or cannot be true."""
    if seconds is None or not 0 <= seconds <= SECONDS_MAX:
        return None
    return float(seconds)
