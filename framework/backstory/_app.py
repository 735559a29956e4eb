"""`Backstory` wires the parts together: a store, a repository, and a projector for each projection.

A task group belongs to it, and two actor systems. Snapshots are saved in the group; commands run in
the actors of their aggregates, and projectors in actors of their own. Leaving the `async with`
block ends all of them in order: first what writes, then what reads, then the store. An error in the
block leaves it as it is, not wrapped into a group.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, cast

import anyio

from backstory._aggregate import Aggregate
from backstory._attempts import ATTEMPT_COUNT_MAX
from backstory._commit import Receipt
from backstory._control import ProcessReport, control_file, serving
from backstory._correlation import fold_correlation
from backstory._decision import Decides
from backstory._errors import ConfigurationError, StoreClosedError
from backstory._filter import EVERY_EVENT, EventFilter
from backstory._fold import fold_log
from backstory._ids import IdSource
from backstory._limits import check_integer
from backstory._live_aggregates import (
    IDLE_SECONDS,
    LIVE_AGGREGATES_MAX,
    LiveAggregate,
    LiveAggregates,
)
from backstory._projection import Projection
from backstory._projections import Projections
from backstory._projector import Projector
from backstory._projector_actor import STOPS, ProjectorActor, this_process
from backstory._recorded import RecordedEvent, decoded
from backstory._repository import Repository, Scope
from backstory._snapshots import SHADOW_CHECK_SHARE, check_share
from backstory._store import EventStore
from backstory._store_url import store_of
from backstory._subscription import Subscription
from backstory.actors import ActorStatus, ActorSystem

A = TypeVar("A", bound=Aggregate)
M = TypeVar("M", bound=Projection)
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_TIMEOUT_SECONDS: Final = 30.0


class Backstory:
    """A program's way in: executes commands, serves read models, replays the past.

    It is open inside its block:

        async with Backstory("sqlite:///story.db", projections=[TaskHistory]) as story:
            await story.execute(Task.create, "write-docs", title="Write the docs")
            history = await story.read_model(TaskHistory)
    """

    def __init__(
        self,
        store: str | EventStore,
        *,
        projections: Sequence[type[Projection]] = (),
        read_only: bool = False,
        ids: IdSource | None = None,
        attempt_count_max: int = ATTEMPT_COUNT_MAX,
        shadow_check_share: float = SHADOW_CHECK_SHARE,
        live_aggregates_max: int = LIVE_AGGREGATES_MAX,
        idle_seconds: float = IDLE_SECONDS,
        control: bool = False,
    ) -> None:
        """Wire the parts; `async with` starts them.

        Args:
            store: A store's URL, or a store that is open, and stays open.
            projections: The projections to run; each name once.
            read_only: Refuse to write, and to create what does not exist; for a URL.
            ids: Where event ids come from; version 7 UUIDs by default.
            attempt_count_max: How often `execute` tries before a conflict reaches the caller.
            shadow_check_share: The share of the loads from a snapshot that are checked against a
                fold of all events, in the background; 0 for none, 1 for each.
            live_aggregates_max: How many aggregates stay loaded between commands; those that were
                not used for the longest time leave first. 0 for none: each command loads.
            idle_seconds: How long an aggregate stays loaded when no command comes; at most a
                quarter longer.
            control: Whether `backstory actors` may ask, in another process, how this one is doing:
                at a Unix socket beside the store's file, which its owner alone may use.

        Raises:
            ConfigurationError: The URL names no store, two projections have one name, or `control`
                is asked for where the store is in no file or the platform has no Unix sockets.
            InvalidInputError: `attempt_count_max` is no number from 1, `shadow_check_share` is no
                number from 0 to 1, `live_aggregates_max` is no number from 0, or `idle_seconds`
                is no finite number above 0.
        """
        names = [projection.projection_name for projection in projections]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigurationError(f"two projections are called {min(twice)!r}; rename one")
        check_integer("attempt_count_max", attempt_count_max, least=1)
        check_share(shadow_check_share)
        self._store = store_of(store, read_only=read_only) if isinstance(store, str) else store
        self._owns_store = isinstance(store, str)
        self._projections = tuple(projections)
        self._ids = ids
        self._attempt_count_max = attempt_count_max
        self._shadow_check_share = shadow_check_share
        self._live = LiveAggregates(kept_count_max=live_aggregates_max, idle_seconds=idle_seconds)
        self._control_file = control_file(self._store) if control else None
        self._projectors: dict[type[Projection], Projector[Any]] = {}
        self._projecting = ActorSystem()
        self._ending: AsyncExitStack | None = None
        self._repository: Repository | None = None

    async def __aenter__(self) -> Self:
        if self._ending is not None:
            raise ConfigurationError("this Backstory is open already; make one for each block")
        owner = this_process()
        projectors = {cls: Projector(self._store, cls, owner=owner) for cls in self._projections}
        async with AsyncExitStack() as ending:
            # Left in the opposite order: commands end before projectors, and these before the rest.
            await self._open_store(ending)
            background = await _enter(ending, anyio.create_task_group())
            self._projecting = await _enter(ending, ActorSystem())
            ending.callback(self._stop_projectors)
            await _enter(ending, self._live)
            if self._control_file is not None:
                await _enter(ending, serving(self._control_file, self._report))
            self._ending = ending.pop_all()
        # Nothing from here on waits or fails: what has been begun is ended by __aexit__.
        self._projectors = projectors
        self._repository = Repository(
            self._store,
            ids=self._ids,
            attempt_count_max=self._attempt_count_max,
            background=background,
            shadow_check_share=self._shadow_check_share,
        )
        for cls, projector in projectors.items():
            actor = self._projecting.spawn(
                partial(ProjectorActor, projector), name=cls.projection_name, supervision=STOPS
            )
            actor.tell_nowait(ProjectorActor.run)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ending, self._ending = self._ending, None
        if self._repository is not None:
            self._repository.snapshots.stop_checking()
        self._repository = None
        if ending is not None:
            # When the block was cancelled, so are these waits, and the children with them.
            await ending.aclose()

    def _stop_projectors(self) -> None:
        for projector in self._projectors.values():
            projector.stop()
        self._projectors = {}

    async def _open_store(self, ending: AsyncExitStack) -> None:
        if self._owns_store:
            await self._store.open()
            ending.push_async_callback(self._close_store)
        else:
            await self._check_open()

    async def _close_store(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._store.aclose()

    async def _check_open(self) -> None:
        try:
            await self._store.head()
        except StoreClosedError as error:
            raise ConfigurationError(
                "a store that is passed to Backstory is its maker's to open, and to close: "
                "async with store, Backstory(store) as story"
            ) from error

    @property
    def store(self) -> EventStore:
        """The store."""
        return self._store

    @property
    def repository(self) -> Repository:
        """The repository.

        Raises:
            StoreClosedError: Outside the `async with` block.
        """
        if self._repository is None:
            raise StoreClosedError(store="this Backstory")
        return self._repository

    def live_aggregates(self) -> list[LiveAggregate]:
        """Return the aggregates that are loaded now, the longest unused first."""
        return self._live.statuses()

    def actors(self) -> list[ActorStatus]:
        """Return how the actors are: those of live aggregates, and those of projectors."""
        return [*self._live.actors(), *self._projecting.actors()]

    def _report(self) -> ProcessReport:
        return ProcessReport(
            process_id=os.getpid(),
            actors=self.actors(),
            live_aggregates=self.live_aggregates(),
            projections=[one.status() for one in self._projectors.values()],
        )

    @property
    def projections(self) -> Projections:
        """The projections, as an operator sees them: how they are doing, and orders to them.

        Raises:
            StoreClosedError: Outside the `async with` block.
        """
        named = {cls.projection_name: one for cls, one in self._projectors.items()}
        return Projections(self.repository.store, named)

    async def execute(
        self, command: Callable[Concatenate[A, P], R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command on an aggregate, append what it decides, and return what it returned.

            await story.execute(Task.complete, "write-docs", pages=3)

        Commands on one aggregate run one at a time, in the order in which they were asked for. The
        aggregate stays loaded in between; what others have appended meanwhile is noticed, and a
        command never answers from a state that was past when it was asked for. After an answer
        that could be changed, such as a list, and after any error, it is loaded again.
        Cancelled, a command that has not begun does not run, and one that has begun ends.

        Args:
            command: As `Repository.execute`.
            id: As `Repository.execute`.
            args: As `Repository.execute`.
            kwargs: As `Repository.execute`.

        Raises:
            StoreClosedError: The block has been left, or is being left; the command has not begun.
            StoreUnavailableError: The store did not do it, or the command was still running when
                the block was left and its grace was over; see its `outcome_unknown`.
            Exception: Whatever else `Repository.execute` raises.
        """
        return await self.using().execute(command, id, *args, **kwargs)

    async def decide(self, decision: Decides[R]) -> R:
        """Make a decision over several streams, append what it emits, and return what it returned.

        As `Repository.decide`, which says more.
        """
        return await self.repository.decide(decision)

    def using(
        self,
        *,
        actor: str | None = None,
        correlation_id: str | None = None,
        caused_by: RecordedEvent | None = None,
        idempotency_key: str | None = None,
        tags: Sequence[str] = (),
        **free: Any,
    ) -> Scope:
        """Say who does the next thing, and because of what; as `Repository.using`.

        Its commands run as those of `Backstory.execute`.
        """
        scope = self.repository.using(
            actor=actor,
            correlation_id=correlation_id,
            caused_by=caused_by,
            idempotency_key=idempotency_key,
            tags=tags,
            **free,
        )
        return scope.through(self._live.execute)

    async def load(
        self,
        aggregate: type[A],
        id: str,
        *,
        at_version: int | None = None,
        at_position: int | None = None,
        at_time: datetime | None = None,
    ) -> A:
        """Return an aggregate as it is, or as it was; as `Repository.load`."""
        return await self.repository.load(
            aggregate, id, at_version=at_version, at_position=at_position, at_time=at_time
        )

    async def save(self, aggregate: Aggregate) -> Receipt | None:
        """Append what the commands on a loaded aggregate have decided; as `Repository.save`."""
        return await self.repository.save(aggregate)

    async def read_model(
        self,
        projection: type[M],
        *,
        at_position: int | None = None,
        correlation_id: str | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> M:
        """Return a read model that has seen everything appended before this call, or as it was.

        The read model is the live one, and goes on changing: take from it what is needed before the
        next `await`. Assign nothing to it, and let no query do so: what is assigned is saved with
        the checkpoint, and is there after a restart. With `at_position` or `correlation_id` it is a
        fresh one, folded from the log, that nobody else has; the projection need not be registered
        then.

        Args:
            projection: The projection's class.
            at_position: As it was when the log ended at this position.
            correlation_id: Of the events with this correlation id only. Where they are many, the
                read model is kept, and folded on from there the next time.
            timeout_seconds: How long to wait for the projector.

        Raises:
            ConfigurationError: The projection is not registered.
            ProjectionBehindError: The projector did not get there in time.
            ProjectionFailedError: A handler raised.
            StoreUnavailableError: The store did not answer.
        """
        store = self.repository.store
        if correlation_id is not None:
            return await fold_correlation(
                store, projection, correlation_id, until_position=at_position
            )
        if at_position is not None:
            return await fold_log(store, projection, until_position=at_position)
        projector = self._projectors.get(projection)
        if projector is None:
            raise ConfigurationError(
                f"projection {projection.projection_name!r} is not registered; "
                f"pass projections=[{projection.__name__}] to Backstory"
            )
        position = await store.head()
        return cast("M", await projector.wait_for(position, timeout_seconds=timeout_seconds))

    async def replay(
        self,
        *,
        after_position: int = 0,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[RecordedEvent]:
        """Iterate over the log, as `read_log`, with every event decoded before it is handed out.

        Raises:
            DecodeError: An event does not fit its class; the error says which and why.
        """
        pages = self._store.read_log_pages(
            after_position=after_position,
            until_position=until_position,
            where=where,
            backward=backward,
            limit=limit,
        )
        async with aclosing(pages):
            async for events in pages:
                for recorded in events:
                    yield decoded(recorded)

    def read_log(
        self,
        *,
        after_position: int = 0,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[RecordedEvent]:
        """Iterate over the events of the whole store; as `EventStore.read_log`."""
        return self._store.read_log(
            after_position=after_position,
            until_position=until_position,
            where=where,
            backward=backward,
            limit=limit,
        )

    def read_stream(
        self,
        stream_id: str,
        *,
        after_version: int = 0,
        until_version: int | None = None,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[RecordedEvent]:
        """Iterate over the events of one stream; as `EventStore.read_stream`."""
        return self._store.read_stream(
            stream_id,
            after_version=after_version,
            until_version=until_version,
            until_position=until_position,
            where=where,
            backward=backward,
            limit=limit,
        )

    def read_causes(self, event_id: object) -> AsyncIterator[RecordedEvent]:
        """Iterate over what caused an event; as `EventStore.read_causes`."""
        return self._store.read_causes(event_id)

    def read_effects(self, causation_id: object) -> AsyncIterator[RecordedEvent]:
        """Iterate over what came of an event or a command; as `EventStore.read_effects`."""
        return self._store.read_effects(causation_id)

    def subscribe(
        self, *, after_position: int = 0, where: EventFilter = EVERY_EVENT
    ) -> AbstractAsyncContextManager[Subscription]:
        """Open a subscription: catch-up, then live; as `EventStore.subscribe`."""
        return self._store.subscribe(after_position=after_position, where=where)


async def _enter(ending: AsyncExitStack, part: AbstractAsyncContextManager[T]) -> T:
    """Enter a part, which is left without whatever error there is: a group would wrap it."""
    entered = await part.__aenter__()
    ending.push_async_callback(part.__aexit__, None, None, None)
    return entered
