"""What is noted of events that a projection cannot handle.

A parked event holds up its own stream and nothing else: it and the later events of its stream wait,
and all others go on. One note for each stream says where that begins. What waits behind needs no
note, because the log has it: everything of the stream from there up to the checkpoint.

A trial is noted before events are folded that have failed before, or that were being folded when
the process ended. So a handler that ends the process is known for it at the next start.
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from backstory._progress import Note
from backstory._store import EventStore


class ParkedEvent(Struct, frozen=True, kw_only=True):
    """The first event of a stream that waits, and why."""

    stream_id: str
    """The stream, of which the later events wait too."""
    version: int
    """Its version in the stream."""
    position: int
    """Its position in the log."""
    event_type: str
    """Its type."""
    event_id: str
    """Its id."""
    reason: str
    """What the handler raised, the last time."""
    attempt_count: int
    """How often it was tried."""
    parked_at: datetime
    """When it was parked, in UTC."""


class Trial(Struct, frozen=True, kw_only=True):
    """What is about to be folded, by a projector that has reason to be careful."""

    first_position: int = 0
    """The first event; 0 while nothing particular is being tried."""
    last_position: int = 0
    """The last event."""
    until_position: int = 0
    """Up to where it goes on being careful."""
    attempt_count: int = 0
    """How often the one event was tried, this time included; 0 for several events."""


_parked_decoder: Final = msgspec.json.Decoder(ParkedEvent)
_trial_decoder: Final = msgspec.json.Decoder(Trial)
_TRIALS: Final = "projection-trials"


def parked_space(projection: str) -> str:
    """Return the space of the notes of a projection's parked events."""
    return f"parked:{projection}"


async def load_parked(store: EventStore, projection: str) -> dict[str, ParkedEvent]:
    """Return the parked events of a projection by stream, in the order of the log.

    Raises:
        StoreError: The store did not answer.
    """
    notes = await store.load_notes(parked_space(projection))
    parked = [_parked_decoder.decode(note.value_json or b"") for note in notes]
    return {one.stream_id: one for one in sorted(parked, key=lambda one: one.position)}


def parked_note(projection: str, parked: ParkedEvent) -> Note:
    """Return the note that an event is parked."""
    return Note(parked_space(projection), parked.stream_id, msgspec.json.encode(parked))


def unparked_note(projection: str, stream_id: str) -> Note:
    """Return the note that nothing of a stream is parked any more."""
    return Note(parked_space(projection), stream_id, None)


async def load_trial(store: EventStore, projection: str) -> Trial | None:
    """Return what a projector was about to fold when it was last heard of.

    Raises:
        StoreError: The store did not answer.
    """
    for note in await store.load_notes(_TRIALS):
        if note.key == projection:
            return _trial_decoder.decode(note.value_json or b"")
    return None


def trial_note(projection: str, trial: Trial | None) -> Note:
    """Return the note of a trial; None forgets it."""
    return Note(_TRIALS, projection, None if trial is None else msgspec.json.encode(trial))
