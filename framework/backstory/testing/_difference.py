"""What differs, as a reader of a failed test wants to see it."""

import difflib
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from backstory._events import Event

_LINE_LENGTH: Final = 72


def differing_fields(one: Struct, other: Struct) -> list[str]:
    """Return the names of the fields in which two structs of one class differ."""
    return [
        name
        for name in one.__struct_fields__
        if not _is_same(getattr(one, name), getattr(other, name))
    ]


def _is_same(one: object, other: object) -> bool:
    # NaN is not equal to itself, and the same value all the same.
    return bool(one == other) or (type(one) is type(other) and repr(one) == repr(other))


def event_difference(expected: Sequence[Event], found: Sequence[Event]) -> str:
    """Return two lists of events as one, line by line: `-` was expected, `+` was found."""
    before = [line for event in expected for line in _lines(event)]
    after = [line for event in found for line in _lines(event)]
    lines = (line for line in difflib.ndiff(before, after) if not line.startswith("?"))
    return "\n".join(lines)


def listing(events: Sequence[Event]) -> str:
    """Return events one below the other."""
    return "\n".join(f"  {line}" for event in events for line in _lines(event))


def _lines(event: Event) -> list[str]:
    """Return an event on one line, or, where that is long, with a line for each field."""
    whole = repr(event)
    if len(whole) <= _LINE_LENGTH:
        return [whole]
    fields = [f"    {name}={getattr(event, name)!r}," for name in event.__struct_fields__]
    return [f"{type(event).__name__}(", *fields, ")"]
