"""Which projections a store has seen: for programs that have none of their classes."""

from enum import Enum
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


class ProjectorState(Enum):
    """What a projector is doing."""

    STARTING = "starting"
    CATCHING_UP = "catching up"
    LIVE = "live"
    PAUSED = "paused"
    STANDING_BY = "standing by"
    WAITING = "waiting"
    STOPPED = "stopped"
    FAILED = "failed"


class ProjectionStatus(Struct, frozen=True, kw_only=True):
    """How a projection is doing in this process."""

    name: str
    """Its name."""
    state: ProjectorState
    """What its projector is doing."""
    position: int
    """Everything up to here has been folded, passed over or parked."""
    kept_position: int
    """Everything up to here is kept in the store."""
    building_position: int | None
    """How far the rebuild has come; None where there is none."""
    is_owner: bool
    """Whether this process keeps the read model; of several processes, one does."""
    parked_count: int
    """Streams that wait behind an event that could not be handled."""
    error: str | None
    """Why it failed, or what it waits for."""

    @property
    def is_healthy(self) -> bool:
        """Whether it serves everything: nothing has failed, nothing waits, nothing is parked."""
        return self.error is None and self.parked_count == 0


_decoder: Final = msgspec.json.Decoder(ProjectionRecord)
_status_decoder: Final = msgspec.json.Decoder(ProjectionStatus)
_STATUS: Final = "projection-status"


async def tell(store: EventStore, status: ProjectionStatus) -> None:
    """Note how a projection is doing.

    Raises:
        StoreError: The store did not do it.
    """
    await store.save_notes(Note(_STATUS, status.name, msgspec.json.encode(status)))


async def told(store: EventStore) -> dict[str, ProjectionStatus]:
    """Return how the projections were doing when their projectors last noted it, by name.

    Raises:
        StoreError: The store did not answer.
    """
    notes = await store.load_notes(_STATUS)
    return {note.key: _status_decoder.decode(note.value_json or b"") for note in notes}


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
