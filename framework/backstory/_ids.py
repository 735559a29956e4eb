"""Ids: of streams (`category-id`) and of events (UUIDs, in time order where nobody else chose)."""

import hashlib
import os
import re
import time
import uuid
from typing import Final, Protocol

from backstory._errors import InvalidInputError
from backstory._limits import STREAM_ID_BYTES_MAX, check_category, check_text, shorten


def stream_id_of(category: str, id: str) -> str:
    """Return the stream id of an aggregate: `category-id`.

    Raises:
        InvalidInputError: The category is not valid, or the id is no text, empty or too long.
    """
    check_text("id", id, STREAM_ID_BYTES_MAX)
    stream_id = f"{category}-{id}"
    check_stream_id(stream_id)
    return stream_id


def split_stream_id(stream_id: str) -> tuple[str, str]:
    """Return category and id of a stream id, which are the parts around its first dash."""
    category, _, id = stream_id.partition("-")
    return category, id


def check_stream_id(stream_id: object) -> None:
    """Refuse what is no stream id: `category-id`, at most 1,024 bytes of UTF-8.

    Raises:
        InvalidInputError: It is not.
    """
    check_text("stream id", stream_id, STREAM_ID_BYTES_MAX)
    category, id = split_stream_id(str(stream_id))
    if not id:
        reason = "must be a category, a dash and an id, such as 'task-7'"
        raise InvalidInputError(argument="stream id", found=shorten(stream_id), reason=reason)
    check_category(category)


_WRITTEN_FORM: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def check_event_id(event_id: object) -> None:
    """Refuse what is no event id in its written form.

    Raises:
        InvalidInputError: It is not.
    """
    if not (isinstance(event_id, str) and _WRITTEN_FORM.fullmatch(event_id)):
        reason = "must be a UUID in lower case with dashes"
        raise InvalidInputError(argument="event id", found=shorten(event_id), reason=reason)


def parse_event_id(event_id: object) -> str:
    """Return an event id in its one written form: a UUID in lower case with dashes.

    Raises:
        InvalidInputError: It is no UUID.
    """
    if isinstance(event_id, str) and _WRITTEN_FORM.fullmatch(event_id):
        return event_id
    try:
        return str(event_id if isinstance(event_id, uuid.UUID) else uuid.UUID(str(event_id)))
    except ValueError:
        raise InvalidInputError(
            argument="event id", found=shorten(event_id), reason="must be a UUID"
        ) from None


_NAMESPACE: Final = uuid.UUID("6a3f8e5c-0b51-5f0e-9d43-6261636b7374").bytes


def derive_event_id(*parts: object) -> str:
    """Return the event id that belongs to these parts: the same for the same parts, for ever.

    For events whose id must not change when they are made again, so that appending them again adds
    nothing: one derived from a request's key, or from the line of a file. A version 5 UUID
    (RFC 9562) over the parts as text, each with its length in front, so that ("ab", "c") and
    ("a", "bc") differ.

    Raises:
        InvalidInputError: A part holds a lone surrogate.
    """
    text = "".join(f"{len(str(part))}:{part}" for part in parts)
    try:
        digest = hashlib.sha1(_NAMESPACE + text.encode()).digest()  # noqa: S324 - what version 5 says
    except UnicodeEncodeError:
        reason = "holds a lone surrogate"
        raise InvalidInputError(argument="parts", found=shorten(parts), reason=reason) from None
    return _format(int.from_bytes(digest[:16], "big"), version=5)


def _format(number: int, *, version: int) -> str:
    """Return 128 bits as the text of a UUID, with version and variant in their places."""
    number = number & ~(0xF << 76 | 0b11 << 62) | version << 76 | 0b10 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class IdSource(Protocol):
    """Where event ids come from when the caller does not choose them."""

    def new(self) -> str:
        """Return a fresh event id, in its written form."""
        ...


class TimeOrderedIds:
    """Version 7 UUIDs (RFC 9562): ids in the order of their making, so an index grows at its end.

    Within one process they never repeat or step back, even when the clock does: a millisecond that
    is not later than the last one counts up instead.
    """

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> str:
        """Return a fresh id, greater than every one returned before."""
        millisecond = time.time_ns() // 1_000_000
        fresh = millisecond << 74 | int.from_bytes(os.urandom(9), "big")
        # The count goes up by a random step, so that ids of one millisecond stay hard to guess.
        step = int.from_bytes(os.urandom(4), "big") + 1
        self._last = value = max(fresh, self._last + step)
        high, low = value >> 62, value & (1 << 62) - 1
        return _format((high >> 12) << 80 | (high & 0xFFF) << 64 | low, version=7)
