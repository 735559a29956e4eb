"""What a user may have meant who named a stream that does not exist."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

import click

from backstory._errors import StreamNotFoundError
from backstory._ids import split_stream_id
from backstory._store import EventStore
from backstory.cli._output import printable

_SHOWN_COUNT: Final = 3
_COMPARED_COUNT: Final = 2_000
"""Streams of the category that are compared: a hint is not worth a long wait."""
_COMPARED_WIDTH: Final = 100


async def stream_not_found(store: EventStore, stream_id: str) -> click.ClickException:
    """Return the error for a stream that does not exist, with a hint where there is one.

    Raises:
        InvalidInputError: There can be no stream of this name, nor one like it.
    """
    category, id = split_stream_id(stream_id)
    known = await _streams_of(store, category)
    if not known:
        return click.ClickException(
            f"{_not_found(stream_id)}; `backstory stats` names the categories"
        )
    similar = _similar(id, known) if id else []
    names = ", ".join(printable(one) for one in (similar or known)[:_SHOWN_COUNT])
    meant = f"similar ones are {names}" if similar else f"its category has {names}"
    return click.ClickException(
        f"{_not_found(stream_id)}; {meant}; `backstory streams --category "
        f"{printable(category)}` lists all"
    )


def _similar(id: str, known: Sequence[str]) -> list[str]:
    # Ids may be long, and comparing takes the square of that.
    texts = {one: split_stream_id(one)[1].lower()[:_COMPARED_WIDTH] for one in known}
    wanted = id.lower()[:_COMPARED_WIDTH]
    close = get_close_matches(wanted, list(texts.values()), _SHOWN_COUNT)
    return [one for text in dict.fromkeys(close) for one in known if texts[one] == text] or [
        one for one in known if wanted in texts[one]
    ]


def _not_found(stream_id: str) -> str:
    return str(StreamNotFoundError(stream_id=stream_id)).partition(";")[0]


async def _streams_of(store: EventStore, category: str) -> list[str]:
    ids: list[str] = []
    async for stream in store.read_streams(category):
        ids.append(stream.stream_id)
        if len(ids) == _COMPARED_COUNT:
            break
    return ids
