"""Keepers: the read model of one projection, and how it is kept, in memory or in tables.

A keeper folds events into its read model, and keeps what it has come to together with the position,
all or none. What it is at is `position`; what is kept is `kept_position`. Whatever goes wrong in
between, `restore` goes back to what is kept, and folding goes on from there.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from msgspec.structs import replace

from backstory._codec import encode_state, state_decoder
from backstory._errors import CorruptLogError, StoreError
from backstory._fingerprint import fingerprint_of
from backstory._generations import Generation, load_generations
from backstory._handlers import fold_event
from backstory._logging import PROJECTION, REASON, log
from backstory._progress import Note, Progress, TableChange
from backstory._projection import Projection
from backstory._recorded import RecordedEvent
from backstory._snapshot import Checkpoint
from backstory._store import EventStore
from backstory._table_projection import (
    TableProjection,
    bind,
    changes_of,
    creation,
    hiding,
    removal,
    showing,
)

P = TypeVar("P", bound=Projection)
TP = TypeVar("TP", bound=TableProjection)


class Keeper(ABC, Generic[P]):
    """The read model of one projection, and how far it has come."""

    model: P
    """The read model."""
    keeps_each_page: bool
    """Whether what was folded is lost, and not only late, until it is kept."""

    def __init__(self, store: EventStore, projection: type[P], name: str) -> None:
        """Make a keeper whose checkpoint has a name; `restore` begins."""
        self.store = store
        self.projection = projection
        self.name = name
        self.position = 0
        """Everything up to here has been folded or passed over."""
        self.kept_position = 0
        """Everything up to here is kept."""
        self.is_owner = True
        """Whether this keeper may keep; of all that have its name, one may."""
        self.is_lost = False
        """Whether the read model is not what the position says, until `restore`."""

    @property
    def has_pending(self) -> bool:
        """Whether something was folded that readers do not see until it is kept."""
        return False

    @abstractmethod
    async def restore(self) -> None:
        """Go back to what is kept, or to the beginning where nothing is."""

    @abstractmethod
    def fold(self, recorded: RecordedEvent) -> None:
        """Fold an event. Where the handler raises, the read model is spoilt until `restore`.

        Raises:
            Exception: Whatever the handler raises.
        """

    @abstractmethod
    async def keep(self, notes: Sequence[Note] = ()) -> None:
        """Keep everything up to `position`, with notes that belong to it.

        Raises:
            TableStatementError: A statement of an event was refused; nothing is kept.
            CheckpointMovedError: Another keeper was here; nothing is kept.
            StoreError: The store did not do it; whether it did may be unknown.
        """

    @abstractmethod
    async def reset(self) -> None:
        """Begin with nothing, and keep that."""

    async def note(self, *notes: Note) -> None:
        """Keep notes of the projection's owner, by themselves.

        Raises:
            StoreError: The store did not do it, or another process owns the projection by now.
        """
        owner = self.projection.projection_name
        await self.store.save_notes(*(replace(note, owner=owner) for note in notes))

    def _log_ignored(self, reason: str) -> None:
        log.warning("checkpoint.ignored", **{PROJECTION: self.name, REASON: reason})


class MemoryKeeper(Keeper[P]):
    """A read model in memory, kept as JSON in its checkpoint from time to time."""

    keeps_each_page = False

    def __init__(self, store: EventStore, projection: type[P], name: str) -> None:
        """Make a keeper; `restore` begins."""
        super().__init__(store, projection, name)
        self._fingerprint = fingerprint_of(projection)
        self._handlers = projection.handlers
        self.model = projection()

    async def restore(self) -> None:
        """Take the read model of the checkpoint, where it is of this class and of this log."""
        self.model, self.position = self.projection(), 0
        checkpoint = await self._checkpoint()
        if checkpoint is not None and checkpoint.fingerprint == self._fingerprint:
            head = await self.store.head()
            if checkpoint.position > head:
                # The log was exchanged for an older one: this read model has seen events that
                # never happened here.
                self._log_ignored(f"it is at {checkpoint.position}, the log ends at {head}")
            else:
                self._take(checkpoint)
        self.kept_position = self.position
        self.is_lost = False

    async def _checkpoint(self) -> Checkpoint | None:
        try:
            return await self.store.load_checkpoint(self.name)
        except CorruptLogError as error:
            # It is a cache, and the events may be whole.
            self._log_ignored(str(error))
            return None

    def _take(self, checkpoint: Checkpoint) -> None:
        try:
            self.model = state_decoder(self.projection)(checkpoint.model_json)
        except ValueError as error:
            self._log_ignored(str(error))
        else:
            self.position = checkpoint.position

    def fold(self, recorded: RecordedEvent) -> None:
        """Fold an event into the read model."""
        fold_event(self.model, self._handlers, recorded)

    async def keep(self, notes: Sequence[Note] = ()) -> None:
        """Keep the read model, unless it would not come back as it is; and the notes."""
        if not self.is_owner:
            return
        model_json = encode_state(self.model)
        if model_json is None:
            self._log_ignored("the read model would not come back as it is")
            await self.note(*notes)
        else:
            checkpoint = Checkpoint(self.name, self.position, self._fingerprint, model_json)
            owner = self.projection.projection_name
            await self._save(Progress(checkpoint, notes=notes, owner=owner))

    async def _save(self, progress: Progress) -> None:
        try:
            await self.store.save_progress(progress)
        except StoreError as error:
            if progress.notes:
                raise  # what is noted is not known in any other way
            # A checkpoint is a cache: without it the next start takes longer, and is as right.
            self._log_ignored(str(error))
        else:
            self.kept_position = self.position

    async def reset(self) -> None:
        """Begin with a blank read model."""
        self.model, self.position, self.kept_position = self.projection(), 0, 0
        self.is_lost = False
        await self.store.delete_checkpoint(self.name)


class TableKeeper(Keeper[TP]):
    """A read model in tables, each page of which is kept together with its position."""

    keeps_each_page = True

    def __init__(
        self, store: EventStore, projection: type[TP], name: str, generation: Generation
    ) -> None:
        """Make a keeper of a generation; `restore` begins."""
        super().__init__(store, projection, name)
        self.generation = generation
        self.model = projection()
        self._binding = bind(self.model, store.query)
        self._changes: list[TableChange] = []

    @property
    def has_pending(self) -> bool:
        """Whether statements wait to be run."""
        return bool(self._changes)

    async def restore(self) -> None:
        """Forget what was not kept."""
        self._changes = []
        checkpoint = await self.store.load_checkpoint(self.name)
        is_ours = checkpoint is not None and checkpoint.fingerprint == self.generation.fingerprint
        self.position = checkpoint.position if checkpoint is not None and is_ours else 0
        self.kept_position = self.position
        self.is_lost = False

    def fold(self, recorded: RecordedEvent) -> None:
        """Ask the handler what the event changes."""
        self._changes += changes_of(self.model, recorded, self._binding, self.generation.number)

    async def keep(self, notes: Sequence[Note] = ()) -> None:
        """Run what the events change, and keep the position, in one transaction."""
        await self.save(self._changes, notes)
        self._changes = []

    async def save(self, changes: Sequence[TableChange], notes: Sequence[Note] = ()) -> None:
        """Run statements, and keep the position."""
        checkpoint = Checkpoint(self.name, self.position, self.generation.fingerprint, b"null")
        self.is_lost = True  # until the answer is there: whether it happened may stay unknown
        owner = self.projection.projection_name
        await self.store.save_progress(
            Progress(checkpoint, self.kept_position, tuple(changes), tuple(notes), owner)
        )
        self.kept_position, self.is_lost = self.position, False

    async def reset(self) -> None:
        """Begin with empty tables; where there were some, they are made anew."""
        cls, number = self.projection, self.generation.number
        name = cls.projection_name
        self._changes, self.position = [], 0
        tables = self.generation.tables
        views = await self._views(tables)
        await self.save(
            [
                *(hiding(name, tables) if views else ()),
                *removal(name, tables, number),
                *creation(cls, number),
                *views,
            ]
        )

    async def _views(self, tables: Sequence[str]) -> list[TableChange]:
        """Return what shows the tables again, where they are shown."""
        generations = await load_generations(self.store, self.projection.projection_name)
        if generations.serving != self.generation:
            return []
        return showing(self.projection.projection_name, tables, self.generation.number)
