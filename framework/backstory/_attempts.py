"""Tries once more, as long as another writer was first."""

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import anyio

from backstory._errors import ConflictError
from backstory._logging import ATTEMPT, log

R = TypeVar("R")

ATTEMPT_COUNT_MAX: Final = 25
_BACKOFF_SECONDS: Final = 0.001
_BACKOFF_SECONDS_MAX: Final = 0.1


async def until_first(
    attempt: Callable[[], Awaitable[R]], subject: Mapping[str, str], *, attempt_count_max: int
) -> R:
    """Repeat an attempt as long as another writer was first, with growing random pauses.

    Args:
        attempt: What is repeated.
        subject: What the log says of it.
        attempt_count_max: How often it is made before the conflict is raised.

    Raises:
        ConflictError: Another writer was first, each time.
        Exception: Whatever else the attempt raises.
    """
    for number in range(1, attempt_count_max):
        try:
            return await attempt()
        except ConflictError:
            log.debug("append.conflicted", **subject, **{ATTEMPT: number})
            await _back_off(number)
    return await attempt()


async def _back_off(attempt: int) -> None:
    # Full jitter: writers that met once do not meet again in step.
    longest = min(_BACKOFF_SECONDS * 2**attempt, _BACKOFF_SECONDS_MAX)
    await anyio.sleep(random.uniform(0, longest))  # noqa: S311 - not for secrets
