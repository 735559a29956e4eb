"""The documented limits, and the checks that refuse what lies outside them.

They are the same on every store, and are checked before anything is written, so that a program
that runs on one store runs on all: the numbers leave room in a PostgreSQL index row (2,704 bytes)
and in a NATS message (1 MB).
"""

import re
from typing import Final

from backstory._errors import InvalidInputError

STREAM_ID_BYTES_MAX: Final = 1024
"""A stream id, in bytes of UTF-8."""
CATEGORY_BYTES_MAX: Final = 64
"""A category: an ASCII letter, then letters, digits, `_` and `.`; no dash."""
EVENT_TYPE_BYTES_MAX: Final = 128
"""An event type: ASCII letters, digits and `: . _ - /`, with a letter or digit first."""
METADATA_ID_BYTES_MAX: Final = 1024
"""A correlation id, a causation id or an actor, in bytes of UTF-8."""
PROJECTION_NAME_BYTES_MAX: Final = 256
"""A projection's name, in bytes of UTF-8."""
FILTER_VALUE_COUNT_MAX: Final = 1_000
"""Types, categories, or streams, of one item of a filter."""
FILTER_ITEM_COUNT_MAX: Final = 50
"""Items of one filter, joined by `|`."""
TAG_BYTES_MAX: Final = 256
"""One tag, in bytes of UTF-8."""
TAG_COUNT_MAX: Final = 64
"""Tags of one event."""
EVENT_BYTES_MAX: Final = 1_000_000
"""One event: its data and its metadata together, as JSON in bytes."""
NESTING_MAX: Final = 100
"""Levels of lists and objects inside one event's data or metadata."""
APPEND_EVENT_COUNT_MAX: Final = 1_000
"""Events of one append, over all its streams."""
APPEND_BYTES_MAX: Final = 16_000_000
"""One append: data and metadata of all its events, as JSON in bytes."""
PAGE_EVENT_COUNT_MAX: Final = 10_000
"""Events of one page."""
INTEGER_MAX: Final = 2**63 - 1
"""The largest version or position: what every store's integers hold."""

_CATEGORY = re.compile(r"[A-Za-z][A-Za-z0-9_.]*", re.ASCII)
_EVENT_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/-]*", re.ASCII)


def shorten(value: object) -> str:
    """Return `repr(value)`, cut so that it fits into a message; of whatever value."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a value's own __repr__, or a number with too many digits
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"  # noqa: PLR2004 - one line of a terminal


def check_text(argument: str, value: object, bytes_max: int) -> None:
    """Refuse what is no text of 1 to `bytes_max` bytes of UTF-8 without NUL.

    NUL and lone surrogates are refused because not every store can hold them.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(value, str):
        raise InvalidInputError(argument=argument, found=shorten(value), reason="must be a str")
    if not value:
        raise InvalidInputError(argument=argument, found="''", reason="must not be empty")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(
            argument=argument, found=shorten(value), reason="holds a lone surrogate"
        ) from None
    if size > bytes_max:
        reason = f"has {size:,} bytes, at most {bytes_max:,} are allowed"
        raise InvalidInputError(argument=argument, found=shorten(value), reason=reason)
    if "\0" in value:
        reason = "holds a NUL character"
        raise InvalidInputError(argument=argument, found=shorten(value), reason=reason)


def check_category(category: object) -> None:
    """Refuse what is no category.

    Raises:
        InvalidInputError: It is not.
    """
    check_text("category", category, CATEGORY_BYTES_MAX)
    if not _CATEGORY.fullmatch(str(category)):
        reason = "must be a letter, then letters, digits, '_' or '.' (a category holds no dash)"
        raise InvalidInputError(argument="category", found=shorten(category), reason=reason)


def check_event_type(event_type: object) -> None:
    """Refuse what is no event type.

    Raises:
        InvalidInputError: It is not.
    """
    check_text("event type", event_type, EVENT_TYPE_BYTES_MAX)
    if not _EVENT_TYPE.fullmatch(str(event_type)):
        reason = "must be letters, digits and ':', '.', '_', '-' or '/', such as 'task:created'"
        raise InvalidInputError(argument="event type", found=shorten(event_type), reason=reason)


def check_integer(argument: str, value: object, *, least: int, most: int = INTEGER_MAX) -> None:
    """Refuse what is no whole number from `least` to `most`, both included.

    Raises:
        InvalidInputError: It is not.
    """
    # A bool is an int to Python, and never meant as a version or a position.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        reason = f"must be a whole number from {least:,} to {most:,}"
        raise InvalidInputError(argument=argument, found=shorten(value), reason=reason)


def nesting(json: bytes) -> int:
    """Return the levels of lists and objects in a JSON text; an upper bound where that suffices."""
    brackets = json.count(b"[") + json.count(b"{")
    if brackets <= NESTING_MAX:
        return brackets
    return _exact_nesting(json)


_BRACKET_OR_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def _exact_nesting(json: bytes) -> int:
    depth = deepest = 0
    for match in _BRACKET_OR_STRING.finditer(json):
        token = match[0]
        if token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in b"]}":
            depth -= 1
    return deepest
