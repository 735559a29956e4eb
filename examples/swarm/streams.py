"""What last became of an aggregate: the newest event of its stream."""

from typing import TypeVar

from backstory import Backstory, Event, RecordedEvent, StreamNotFoundError, where

E = TypeVar("E", bound=Event)


async def last_recorded(
    story: Backstory, stream_id: str, event: type[Event] | None = None
) -> RecordedEvent:
    """Return the newest event of a stream, or the newest of one class.

    Raises:
        StreamNotFoundError: It has none.
    """
    wanted = where(types=[] if event is None else [event])
    newest = story.read_stream(stream_id, where=wanted, backward=True, limit=1)
    async for recorded in newest:
        return recorded
    raise StreamNotFoundError(stream_id=stream_id)


async def last_of(story: Backstory, stream_id: str, event: type[E]) -> E:
    """Return what the newest event of a class says.

    Raises:
        StreamNotFoundError: The stream has none.
        TypeError: It is of another class now.
    """
    data = (await last_recorded(story, stream_id, event)).data
    if not isinstance(data, event):
        raise TypeError(f"{data!r} is no {event.__name__}")
    return data
