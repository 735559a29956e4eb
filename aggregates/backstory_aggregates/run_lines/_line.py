"""One run line: bytes to a struct, and back to bytes that are equal as JSON."""

import json
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from backstory_aggregates.run_lines._report import BadRunLineError

LINE_BYTES_MAX: Final = 2_000_000
"""A line that is longer is bad; it is never held in memory as a whole."""
N_MAX: Final = 2**63 - 1
"""The largest number of a line."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


class RunLine(Struct, frozen=True, kw_only=True):
    """One thing that happened in a recorded run.

    What the line does not have is UNSET, which is another thing than null.
    """

    swarm: str
    """The name of the run; every other id is unique only inside it."""
    n: int
    """1, 2, 3 … in its swarm."""
    type: str
    """What happened, such as `task.created`."""
    ts: str | UnsetType | None = UNSET
    """When, as an ISO 8601 text."""
    agent: str | UnsetType | None = UNSET
    """An agent's id inside the swarm."""
    task: str | UnsetType | None = UNSET
    """A task's id inside the swarm."""
    key: str | UnsetType | None = UNSET
    """A memory's key inside the swarm."""
    data: Any = UNSET
    """Free JSON."""
    further: dict[str, Any] = {}
    """Keys of the line that the format does not know."""


def parse_run_line(text: bytes) -> RunLine:
    """Return the line that a JSON text says.

    Raises:
        BadRunLineError: It is too long, no JSON, or none of the format. Swarm and n are named where
            they can be read.
    """
    values = _object(text)
    swarm, n, type = values.pop("swarm", None), values.pop("n", None), values.pop("type", None)
    if not isinstance(swarm, str) or not swarm:
        raise BadRunLineError(reason=f"swarm {_shown(swarm)} must be a text that is not empty")
    # A bool is an int to Python, and never meant as a number.
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= N_MAX:
        raise BadRunLineError(reason=f"n {_shown(n)} must be a whole number from 1", swarm=swarm)
    if not isinstance(type, str):
        raise BadRunLineError(reason=f"type {_shown(type)} must be a text", swarm=swarm, n=n)
    for name in ("ts", "agent", "task", "key"):
        if not isinstance(value := values.get(name), str | None):
            reason = f"{name} {_shown(value)} must be a text or null"
            raise BadRunLineError(reason=reason, swarm=swarm, n=n)
    return RunLine(
        swarm=swarm,
        n=n,
        type=type,
        ts=values.pop("ts", UNSET),
        agent=values.pop("agent", UNSET),
        task=values.pop("task", UNSET),
        key=values.pop("key", UNSET),
        data=values.pop("data", UNSET),
        further=values,
    )


def format_run_line(line: RunLine) -> bytes:
    """Return a line as JSON, without a line break."""
    values = {
        "swarm": line.swarm,
        "n": line.n,
        "ts": line.ts,
        "type": line.type,
        "agent": line.agent,
        "task": line.task,
        "key": line.key,
        "data": line.data,
        **line.further,
    }
    return _encoder.encode({key: value for key, value in values.items() if value is not UNSET})


def _object(text: bytes) -> dict[str, Any]:
    if len(text) > LINE_BYTES_MAX:
        raise BadRunLineError(reason=f"has more than {LINE_BYTES_MAX:,} bytes")
    try:
        values = _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise BadRunLineError(reason=_why_no_json(text, error)) from None
    if not isinstance(values, dict):
        raise BadRunLineError(reason=f"{_shown(values)} must be a JSON object")
    return cast("dict[str, Any]", values)


def _why_no_json(text: bytes, error: Exception) -> str:
    # msgspec's message misleads where the text is JSON that a store cannot keep.
    try:
        json.loads(text)
    except ValueError:
        return f"is no JSON: {error}"
    except RecursionError:
        return "is nested too deep"
    return "holds a number outside the range of floats, or half of a surrogate pair"


def _shown(value: object) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:50]}…"  # noqa: PLR2004 - fits into a message
