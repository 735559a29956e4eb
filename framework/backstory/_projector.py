"""A projector runs one projection: it folds the log into the read model, and keeps its checkpoint.

A checkpoint holds the position and the read model together, in one record, taken between two pages.
So neither is ever kept without the other: after a crash the projector goes on from the last
checkpoint, with the read model of that position, and folds what came since once more.

A handler that raises stops its projector before that event, and nobody else. The read model is then
no longer served, because the handler may have left it half changed.
"""

from enum import Enum
from typing import Final, Generic, TypeVar

import anyio

from backstory._codec import encode_state, state_decoder
from backstory._errors import (
    ProjectionBehindError,
    ProjectionError,
    ProjectionFailedError,
    StoreError,
)
from backstory._filter import EventFilter, FilterItem
from backstory._fingerprint import fingerprint_of
from backstory._handlers import UNKNOWN
from backstory._logging import POSITION, PROJECTION, REASON, log
from backstory._projection import Projection, project
from backstory._recorded import RecordedEvent
from backstory._snapshot import Checkpoint
from backstory._store import EventStore
from backstory._subscription import Page, Subscription

P = TypeVar("P", bound=Projection)

_CHECKPOINT_EVERY: Final = 10_000
"""Positions between two checkpoints of a projector that runs, folded and passed over alike: after a
restart, a projection of rare events does not read a long log again."""


class ProjectorState(Enum):
    """What a projector is doing."""

    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"


class Projector(Generic[P]):
    """Runs one projection over one store, in a task that somebody else owns."""

    def __init__(self, store: EventStore, projection: type[P]) -> None:
        self._store = store
        self._class = projection
        self._fingerprint = fingerprint_of(projection)
        self._subscription: Subscription | None = None
        self._moved = anyio.Event()
        self._saved_position = 0
        self.model: P = projection()
        """The read model as it is now."""
        self.position = 0
        """The last event that the read model has seen or passed over."""
        self.state = ProjectorState.STARTING
        """What the projector is doing."""
        self.error: ProjectionError | None = None
        """Why it failed, if it did."""

    async def run(self) -> None:
        """Fold what is there and what comes, until `stop`; never raises a `BackstoryError`."""
        try:
            await self._restore()
            async with self._store.subscribe(
                after_position=self.position, where=wanted(self._class)
            ) as subscription:
                self._subscription = subscription
                if self.state is ProjectorState.STARTING:
                    self._move(ProjectorState.RUNNING)
                else:
                    subscription.stop()
                await self._follow(subscription)
            await self._save()
        except ProjectionFailedError as error:
            self._fail(error)
        except StoreError as error:
            failure = _failure(self._class.projection_name, self.position, "the store", error)
            failure.__cause__ = error
            self._fail(failure)
        else:
            self._move(ProjectorState.STOPPED)

    def stop(self) -> None:
        """Let `run` return after the page at hand."""
        if self._subscription is not None:
            self._subscription.stop()
        elif self.state is ProjectorState.STARTING:
            self.state = ProjectorState.STOPPED

    async def wait_for(self, position: int, *, timeout_seconds: float) -> P:
        """Return the read model once it has seen all up to a position.

        Raises:
            ProjectionFailedError: It never will: a handler raised.
            ProjectionBehindError: It did not within the time limit.
        """
        with anyio.move_on_after(timeout_seconds):
            while self.error is None and self.position < position and self._is_going:
                await self._moved.wait()
        if self.error is not None:
            raise self.error
        if self.position < position:
            raise ProjectionBehindError(
                projection=self._class.projection_name,
                position=self.position,
                wanted_position=position,
                timeout_seconds=timeout_seconds,
            )
        return self.model

    @property
    def _is_going(self) -> bool:
        return self.state in (ProjectorState.STARTING, ProjectorState.RUNNING)

    async def _restore(self) -> None:
        checkpoint = await self._store.load_checkpoint(self._class.projection_name)
        if checkpoint is None or checkpoint.fingerprint != self._fingerprint:
            return
        head = await self._store.head()
        if checkpoint.position > head:
            # The log was exchanged for an older one: the read model has seen events that never
            # happened here.
            self._log_ignored(f"it is at {checkpoint.position}, the log ends at {head}")
            return
        try:
            self.model = state_decoder(self._class)(checkpoint.model_json)
        except ValueError as error:
            self._log_ignored(str(error))
            return
        self.position = self._saved_position = checkpoint.position

    async def _follow(self, subscription: Subscription) -> None:
        while (page := await subscription.read()) is not None:
            self._fold(page)
            self.position = page.reached
            self._move(self.state)
            if self.position - self._saved_position >= _CHECKPOINT_EVERY:
                await self._save()

    def _fold(self, page: Page) -> None:
        for recorded in page.events:
            fold(self.model, recorded)

    async def _save(self) -> None:
        if self.position == self._saved_position:
            return
        model_json = encode_state(self.model)
        if model_json is None:
            self._log_ignored("the read model would not come back as it is")
        else:
            await self._save_checkpoint(model_json)
        self._saved_position = self.position

    async def _save_checkpoint(self, model_json: bytes) -> None:
        name = self._class.projection_name
        checkpoint = Checkpoint(name, self.position, self._fingerprint, model_json)
        try:
            # Of several processes that run the projection, each folds for itself, and one saves.
            if await self._store.try_own(name):
                await self._store.save_checkpoint(checkpoint)
        except StoreError as error:
            # A checkpoint is a cache: without it the next start takes longer, and is as right.
            self._log_ignored(str(error))

    def _fail(self, error: ProjectionFailedError) -> None:
        self.error = error
        log.error(
            "projection.failed",
            **{PROJECTION: error.projection, POSITION: error.position, REASON: error.reason},
        )
        self._move(ProjectorState.FAILED)

    def _move(self, state: ProjectorState) -> None:
        self.state = state
        self._moved.set()
        self._moved = anyio.Event()

    def _log_ignored(self, reason: str) -> None:
        log.warning(
            "checkpoint.ignored", **{PROJECTION: self._class.projection_name, REASON: reason}
        )


def wanted(projection: type[Projection]) -> EventFilter:
    """Return the filter for the events that a projection has handlers for."""
    types = tuple(sorted(projection.handlers.keys() - {UNKNOWN}))
    return EventFilter((FilterItem(types=types),))


async def fold_log(
    store: EventStore, projection: type[P], *, until_position: int | None = None
) -> P:
    """Return a fresh read model of everything up to a position; None for the head.

    Raises:
        ProjectionFailedError: A handler raised.
        StoreError: The store did not answer.
    """
    model = projection()
    pages = store.read_log_pages(until_position=until_position, where=wanted(projection))
    async for events in pages:
        for recorded in events:
            fold(model, recorded)
    return model


def fold(model: Projection, recorded: RecordedEvent) -> None:
    """Fold one event into a read model.

    Raises:
        ProjectionFailedError: The handler raised, or the event cannot be decoded.
    """
    try:
        project(model, recorded)
    except Exception as error:
        raise _failure(model.projection_name, recorded.position, recorded.type, error) from error


def _failure(
    projection: str, position: int, event_type: str, error: Exception
) -> ProjectionFailedError:
    reason = f"{type(error).__name__}: {error}"
    return ProjectionFailedError(
        projection=projection, position=position, event_type=event_type, reason=reason
    )
