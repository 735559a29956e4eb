"""Lengths of time that callers give."""

import math

from backstory._errors import InvalidInputError
from backstory._limits import shorten


def check_seconds(argument: str, value: float, *, zero_is_allowed: bool = True) -> None:
    """Refuse what is no finite number of seconds.

    Raises:
        InvalidInputError: It is negative, or infinite, or no number, or it is 0 and may not be.
    """
    least_is_met = _is_number(value) and (value >= 0 if zero_is_allowed else value > 0)
    if least_is_met and math.isfinite(value):
        return
    reason = f"must be a finite number of seconds, {'from 0' if zero_is_allowed else 'above 0'}"
    raise InvalidInputError(argument=argument, found=shorten(value), reason=reason)


def _is_number(value: object) -> bool:
    # A bool is an int to Python, and never meant as a length of time.
    return isinstance(value, int | float) and not isinstance(value, bool)
