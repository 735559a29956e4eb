"""Which projections a store has seen, and how they are doing: for programs without their classes.

Who owns a projection notes how it is doing when that changes, and every few seconds in any case. So
one that was killed is found out: by a note that is too old. Nothing else would tell. A lock shows
by itself only to who tries to take it, and where the projector is gone the read model stands still,
which looks like a log to which nothing is appended.

How old a note is, two clocks say: that of the owner's machine, and that of the one that looks. A
clock that is behind makes a note look older by as much, and one that is ahead younger. So clocks
that differ by more than `STALE_SECONDS` make an owner look dead that is not, or let as much time
pass before one is missed.
"""

from datetime import datetime
from enum import Enum
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from backstory._progress import Note
from backstory._projection import Projection
from backstory._store import EventStore
from backstory._table_projection import TableProjection

_SPACE: Final = "projections"

TELL_SECONDS: Final = 5.0
"""Between two notes of how a projection is doing, also where nothing changes."""
STALE_SECONDS: Final = 3 * TELL_SECONDS
"""A note that is older is of a projector that was killed, or cannot reach the store."""


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


ENDS: Final = frozenset({ProjectorState.STOPPED, ProjectorState.FAILED})
"""The states that nothing follows."""


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
    owner: str | None = None
    """Who runs it, as the program says; None where this process is not its owner."""
    noted_at: datetime | None = None
    """When this was noted in the store, by the clock of the owner; None for what is not read from
    there."""

    @property
    def is_healthy(self) -> bool:
        """Whether it serves everything: nothing has failed, nothing waits, nothing is parked."""
        return self.error is None and self.parked_count == 0


_decoder: Final = msgspec.json.Decoder(ProjectionRecord)
_status_decoder: Final = msgspec.json.Decoder(ProjectionStatus)
_STATUS: Final = "projection-status"


def is_stale(status: ProjectionStatus, *, now: datetime) -> bool:
    """Tell whether a projector that has noted this should have been heard of since."""
    if status.state in ENDS:
        return False  # it has said its last
    return status.noted_at is None or (now - status.noted_at).total_seconds() > STALE_SECONDS


async def tell(store: EventStore, status: ProjectionStatus, *, now: datetime) -> None:
    """Note how a projection is doing at this moment.

    Raises:
        StoreError: The store did not do it.
    """
    value_json = msgspec.json.encode(replace(status, noted_at=now))
    await store.save_notes(Note(_STATUS, status.name, value_json, status.name))


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
