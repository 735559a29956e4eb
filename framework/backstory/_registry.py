"""Which projections a store has seen: for programs that have none of their classes."""

from typing import Final

import msgspec
from msgspec import Struct

from backstory._progress import Note
from backstory._projection import Projection
from backstory._store import EventStore
from backstory._table_projection import TableProjection

_SPACE: Final = "projections"


class ProjectionRecord(Struct, frozen=True, kw_only=True):
    """What a store knows of a projection that has run on it."""

    name: str
    """Its name."""
    is_in_tables: bool
    """Whether its read model is in tables of the store."""
    revision: int
    """The revision of the class that ran last."""


_decoder: Final = msgspec.json.Decoder(ProjectionRecord)


async def register(store: EventStore, projection: type[Projection]) -> None:
    """Note that a projection runs on a store.

    Raises:
        StoreError: The store did not do it.
    """
    name = projection.projection_name
    record = ProjectionRecord(
        name=name,
        is_in_tables=issubclass(projection, TableProjection),
        revision=projection.revision,
    )
    if record not in await registered(store):
        await store.save_notes(Note(_SPACE, name, msgspec.json.encode(record)))


async def registered(store: EventStore) -> list[ProjectionRecord]:
    """Return the projections that have run on a store, by their names.

    Raises:
        StoreError: The store did not answer.
    """
    return [_decoder.decode(note.value_json or b"") for note in await store.load_notes(_SPACE)]
