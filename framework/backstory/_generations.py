"""Which tables a projection has in a store: serving, being built, or to be removed."""

import hashlib
from typing import Final

import msgspec
from msgspec import Struct

from backstory._fingerprint import fingerprint_of
from backstory._progress import Note
from backstory._store import EventStore
from backstory._table_projection import TableProjection


class Generation(Struct, frozen=True):
    """The tables of one build of a read model."""

    number: int
    """What they have in their names."""
    fingerprint: str
    """What the class was like that built them."""
    tables: tuple[str, ...]
    """Their names in the class."""


class Generations(Struct, frozen=True):
    """Which tables a projection has in a store."""

    serving: Generation | None = None
    """What the views show."""
    building: Generation | None = None
    """What is being built beside it."""
    stale: tuple[Generation, ...] = ()
    """What has served, and is to be removed."""


_GENERATIONS: Final = "projection-tables"
_decoder: Final = msgspec.json.Decoder(Generations)


async def load_generations(store: EventStore, projection: str) -> Generations:
    """Return which tables a projection has.

    Raises:
        StoreError: The store did not answer.
    """
    for note in await store.load_notes(_GENERATIONS):
        if note.key == projection:
            return _decoder.decode(note.value_json or b"")
    return Generations()


def generations_note(projection: str, generations: Generations) -> Note:
    """Return the note of which tables a projection has."""
    return Note(_GENERATIONS, projection, msgspec.json.encode(generations))


def tables_fingerprint(projection: type[TableProjection]) -> str:
    """Return what tables must agree with to be those of a class."""
    whole = "\0".join((fingerprint_of(projection), *projection.schema))
    return hashlib.sha256(whole.encode()).hexdigest()[:32]
