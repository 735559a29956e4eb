"""What every store refuses before it looks at anything: arguments that are none, or too large."""

from collections.abc import Sequence
from typing import Final, cast

from backstory._commit import AppendCondition, StreamAppend
from backstory._errors import InvalidInputError
from backstory._filter import EventFilter
from backstory._ids import check_stream_id
from backstory._limits import (
    APPEND_BYTES_MAX,
    APPEND_EVENT_COUNT_MAX,
    check_integer,
    check_text,
    shorten,
)
from backstory._progress import NOTE_BYTES_MAX, Note
from backstory._recorded import NewEvent
from backstory._versions import ANY, check_expected_version

_NOTE_NAME_BYTES_MAX: Final = 1_024


def check_bounds(
    *,
    until_version: int | None = None,
    until_position: int | None = None,
    limit: int | None = None,
) -> None:
    """Refuse bounds that are no versions, positions or counts.

    Raises:
        InvalidInputError: One is not.
    """
    bounds = (
        ("until_version", until_version),
        ("until_position", until_position),
        ("limit", limit),
    )
    for argument, value in bounds:
        if value is not None:
            check_integer(argument, value, least=0)


def check_filter(where: EventFilter) -> None:
    """Refuse what is no filter.

    Raises:
        InvalidInputError: It is not a filter.
    """
    if not isinstance(cast("object", where), EventFilter):
        reason = "must be a filter; make one with where(…)"
        raise InvalidInputError(argument="where", found=shorten(where), reason=reason)


def check_condition(condition: AppendCondition | None) -> None:
    """Refuse what is no condition of an append.

    Raises:
        InvalidInputError: It is neither a condition nor None.
    """
    if condition is None:
        return
    if not isinstance(cast("object", condition), AppendCondition):
        reason = "must be an AppendCondition(where, after_position)"
        raise InvalidInputError(argument="condition", found=shorten(condition), reason=reason)
    check_filter(condition.where)
    check_integer("after_position", condition.after_position, least=0)


def check_appends(appends: Sequence[StreamAppend]) -> None:
    """Refuse an append that is empty or outside the limits.

    Raises:
        InvalidInputError: It is.
    """
    if not appends:
        raise InvalidInputError(argument="append", found="of no stream", reason="name at least one")
    count = size = 0
    for part in appends:
        check_stream_id(part.stream_id)
        if part.expected_version is not ANY:
            check_expected_version(part.expected_version)
        if not part.events:
            found, reason = f"to {part.stream_id!r}", "holds no event; append at least one"
            raise InvalidInputError(argument="append", found=found, reason=reason)
        for event in part.events:
            if not isinstance(event, NewEvent):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
                reason = "is no NewEvent; make one with NewEvent.of(event, event_id=…)"
                raise InvalidInputError(argument="event", found=shorten(event), reason=reason)
            count += 1
            size += len(event.data_json) + len(event.metadata_json)
    if count > APPEND_EVENT_COUNT_MAX:
        reason = f"at most {APPEND_EVENT_COUNT_MAX:,} are allowed; split it"
        raise InvalidInputError(argument="append", found=f"of {count:,} events", reason=reason)
    if size > APPEND_BYTES_MAX:
        reason = f"at most {APPEND_BYTES_MAX:,} are allowed; split it"
        raise InvalidInputError(argument="append", found=f"of {size:,} bytes", reason=reason)


def check_notes(notes: Sequence[Note]) -> None:
    """Refuse notes outside the limits.

    Raises:
        InvalidInputError: A space, a key or a value is.
    """
    for note in notes:
        check_space(note.space)
        check_text("key", note.key, _NOTE_NAME_BYTES_MAX)
        if (size := len(note.value_json or b"")) > NOTE_BYTES_MAX:
            reason = f"has {size:,} bytes, at most {NOTE_BYTES_MAX:,} are allowed"
            raise InvalidInputError(argument="note", found=shorten(note.key), reason=reason)


def check_space(space: str) -> None:
    """Refuse what is no name of a space of notes.

    Raises:
        InvalidInputError: It is not.
    """
    check_text("space", space, _NOTE_NAME_BYTES_MAX)
