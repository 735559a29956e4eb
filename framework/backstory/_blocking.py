"""The way in for programs without `async`: scripts, notebooks, threads.

Each `BlockingBackstory` has a thread with an event loop of its own, in which a `Backstory` is open;
a call is handed over to that loop, and waited for. So it works in a plain script, in a cell of a
notebook, where another loop runs already, and from several threads at once.

What the threads share. An aggregate that is loaded belongs to whoever loaded it, and a recorded
event does not change. A read model does: its projector folds it while the caller reads. So the
caller gets a copy, taken between two events. The context of a `using` block belongs to the thread
that entered the block; it is looked up there, and handed over with the call.

What an iterator holds. Nothing: it asks for some events at a time, and each time anew for those
behind the last one. One that is left early, or forgotten, has nothing to let go of.
"""

import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from copy import deepcopy
from datetime import datetime
from threading import Thread
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Protocol, Self, TypeVar, cast

from backstory._aggregate import Aggregate
from backstory._app import Backstory
from backstory._attempts import ATTEMPT_COUNT_MAX
from backstory._commit import Receipt
from backstory._decision import Decides
from backstory._errors import ConfigurationError
from backstory._filter import EVERY_EVENT, EventFilter
from backstory._host import Host
from backstory._ids import IdSource
from backstory._live_aggregates import IDLE_SECONDS, LIVE_AGGREGATES_MAX, LiveAggregate
from backstory._projection import Projection
from backstory._recorded import RecordedEvent
from backstory._repository import Scope
from backstory._snapshots import SHADOW_CHECK_SHARE
from backstory.actors import ActorStatus

A = TypeVar("A", bound=Aggregate)
M = TypeVar("M", bound=Projection)
P = ParamSpec("P")
R = TypeVar("R")

_TIMEOUT_SECONDS: Final = 30.0
_CHUNK_EVENT_COUNT: Final = 1_000
_CHUNK_BYTES_MAX: Final = 4_000_000


def open(  # noqa: A001 - as gzip.open: it is read as `backstory.open`, and nothing here opens a file
    store: str,
    *,
    projections: Sequence[type[Projection]] = (),
    read_only: bool = False,
    ids: IdSource | None = None,
    attempt_count_max: int = ATTEMPT_COUNT_MAX,
    shadow_check_share: float = SHADOW_CHECK_SHARE,
    live_aggregates_max: int = LIVE_AGGREGATES_MAX,
    idle_seconds: float = IDLE_SECONDS,
    control: bool = False,
) -> "BlockingBackstory":
    """Open a `Backstory` for a program without `async`.

        with backstory.open("sqlite:///story.db", projections=[TaskHistory]) as story:
            story.execute(Task.create, "write-docs", title="Write the docs")
            history = story.read_model(TaskHistory)

    It is open when this returns, and until its block is left or `close` is called. Write
    `backstory.open`, and do not import the name by itself, where it would hide Python's own.

    Args:
        store: The store's URL.
        projections: The projections to run; each name once.
        read_only: Refuse to write, and to create what does not exist.
        ids: Where event ids come from; version 7 UUIDs by default.
        attempt_count_max: How often `execute` tries before a conflict reaches the caller.
        shadow_check_share: The share of the loads from a snapshot that are checked against a fold
            of all events, in the background; 0 for none, 1 for each.
        live_aggregates_max: How many aggregates stay loaded between commands; those that were not
            used for the longest time leave first. 0 for none: each command loads.
        idle_seconds: How long an aggregate stays loaded when no command comes; at most a quarter
            longer.
        control: Whether `backstory actors` may ask, in another process, how this one is doing: at
            a Unix socket beside the store's file, which its owner alone may use.

    Raises:
        ConfigurationError: The URL names no store, what is there is not a store, two projections
            have one name, or `control` is asked for where the store is in no file or the platform
            has no Unix sockets.
        InvalidInputError: `attempt_count_max` is no number from 1, `shadow_check_share` is no
            number from 0 to 1, `live_aggregates_max` is no number from 0, or `idle_seconds` is no
            finite number above 0.
        StoreUnavailableError: The store could not be opened.
    """
    host = Host(
        lambda: Backstory(
            store,
            projections=projections,
            read_only=read_only,
            ids=ids,
            attempt_count_max=attempt_count_max,
            shadow_check_share=shadow_check_share,
            live_aggregates_max=live_aggregates_max,
            idle_seconds=idle_seconds,
            control=control,
        ),
        name=f"event loop of {store}",
    )
    host.open()
    return BlockingBackstory(host)


class BlockingBackstory:
    """A `Backstory` whose calls return when they are done; from `backstory.open`.

    Several threads may use one at once. Each call waits, and nothing else in its thread goes on
    meanwhile: a program that has an event loop of its own uses `Backstory`.

    Interrupted by Ctrl-C, a call is cancelled; what it was to append may still be appended, or not.

    Every method raises `StoreClosedError` after `close`, and `ConfigurationError` in a forked
    process or when a command or a handler calls it.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    def __enter__(self) -> Self:
        self._host.check()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the calls under way end, save checkpoints, close the store, and end the loop.

        Twice is harmless. In a forked process it does nothing: the store is the parent's.
        """
        self._host.close()

    def __del__(self) -> None:
        if self._host.is_open:
            # On a thread of its own: this may be any thread at any moment, the loop's own too.
            # Where there is none to be had, Python is exiting, and closes it then.
            with suppress(RuntimeError):
                Thread(target=self._host.close, daemon=True).start()
            message = f"{self!r} was forgotten while it was open; close it"
            warnings.warn(message, ResourceWarning, source=self, stacklevel=2)

    def run(
        self,
        function: Callable[Concatenate[Backstory, P], Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a coroutine function with the `Backstory` on its loop, and return what it returns.

            story.run(lambda story: story.store.load_checkpoint("TaskHistory"))

        For what has no method here. What the function is given stays on the loop: a store or a
        live read model is not to be used from another thread.

        Args:
            function: Called with the `Backstory`, which is open, and the further arguments.
            args: Its further arguments.
            kwargs: Likewise.

        Raises:
            BaseException: Whatever the function raises.
        """
        host = self._host
        return host.wait_for(lambda: function(host.story, *args, **kwargs))

    def execute(
        self, command: Callable[Concatenate[A, P], R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command on an aggregate, append what it decides, and return what it returned.

        As `Backstory.execute`, which says more. The command runs on the loop's thread.
        """
        return self.using().execute(command, id, *args, **kwargs)

    def decide(self, decision: Decides[R]) -> R:
        """Make a decision over several streams, append what it emits, and return what it returned.

        As `Repository.decide`, which says more. The decision is made on the loop's thread.
        """
        return self.using().decide(decision)

    def using(
        self,
        *,
        actor: str | None = None,
        correlation_id: str | None = None,
        caused_by: RecordedEvent | None = None,
        idempotency_key: str | None = None,
        tags: Sequence[str] = (),
        **free: Any,
    ) -> "BlockingScope":
        """Say who does the next thing, and because of what; as `Repository.using`.

            with story.using(actor="ada"):
                story.execute(Task.complete, "write-docs", pages=3)

        A block holds for the thread that has entered it, and for no other.
        """
        self._host.check()
        scope = self._host.story.using(
            actor=actor,
            correlation_id=correlation_id,
            caused_by=caused_by,
            idempotency_key=idempotency_key,
            tags=tags,
            **free,
        )
        return BlockingScope(self, scope)

    def load(
        self,
        aggregate: type[A],
        id: str,
        *,
        at_version: int | None = None,
        at_position: int | None = None,
        at_time: datetime | None = None,
    ) -> A:
        """Return an aggregate as it is, or as it was; as `Repository.load`."""
        return self.run(
            Backstory.load,
            aggregate,
            id,
            at_version=at_version,
            at_position=at_position,
            at_time=at_time,
        )

    def save(self, aggregate: Aggregate) -> Receipt | None:
        """Append what the commands on a loaded aggregate have decided; as `Repository.save`."""
        return self.run(Backstory.save, aggregate)

    def live_aggregates(self) -> list[LiveAggregate]:
        """Return the aggregates that are loaded now; as `Backstory.live_aggregates`."""
        return self.run(_list_live)

    def actors(self) -> list[ActorStatus]:
        """Return how the actors are; as `Backstory.actors`."""
        return self.run(_list_actors)

    def read_model(
        self,
        projection: type[M],
        *,
        at_position: int | None = None,
        correlation_id: str | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> M:
        """Return a copy of a read model that has seen everything appended before, or as it was.

        As `Backstory.read_model`, but for the copy: it does not go on changing, and what is done to
        it changes nothing else. It takes time in proportion to the read model's size: ask once for
        many answers.

        Args:
            projection: The projection's class.
            at_position: As it was when the log ended at this position.
            correlation_id: Of the events with this correlation id only.
            timeout_seconds: How long to wait for the projector.

        Raises:
            ConfigurationError: The projection is not registered, or a field holds what cannot be
                copied.
            ProjectionBehindError: The projector did not get there in time.
            ProjectionFailedError: A handler raised.
            StoreUnavailableError: The store did not answer.
        """
        if at_position is None and correlation_id is None:
            return self.run(_copy_model, projection, timeout_seconds)
        return self.run(  # one that nobody else has
            Backstory.read_model,
            projection,
            at_position=at_position,
            correlation_id=correlation_id,
            timeout_seconds=timeout_seconds,
        )

    def replay(
        self,
        *,
        after_position: int = 0,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> Iterator[RecordedEvent]:
        """Iterate over the log, as `read_log`, with every event decoded before it is handed out.

        Raises:
            DecodeError: An event does not fit its class; the error says which and why.
        """
        events = self.read_log(
            after_position=after_position,
            until_position=until_position,
            where=where,
            backward=backward,
            limit=limit,
        )
        for recorded in events:
            recorded.data  # noqa: B018 - decodes, and keeps what it decoded
            yield recorded

    def read_log(
        self,
        *,
        after_position: int = 0,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> Iterator[RecordedEvent]:
        """Iterate over the events of the whole store; as `EventStore.read_log`.

        It may be left early, and holds nothing between two events but those that it has read ahead.
        """

        def read(
            story: Backstory, last: RecordedEvent | None, limit: int | None
        ) -> AsyncIterator[RecordedEvent]:
            after, until = after_position, until_position
            if last is not None:
                after, until = (after, last.position - 1) if backward else (last.position, until)
            return story.read_log(
                after_position=after,
                until_position=until,
                where=where,
                backward=backward,
                limit=limit,
            )

        return self._iterate(read, limit)

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
    ) -> Iterator[RecordedEvent]:
        """Iterate over the events of one stream; as `EventStore.read_stream`.

        It may be left early, and holds nothing between two events but those that it has read ahead.
        """

        def read(
            story: Backstory, last: RecordedEvent | None, limit: int | None
        ) -> AsyncIterator[RecordedEvent]:
            after, until = after_version, until_version
            if last is not None:
                after, until = (after, last.version - 1) if backward else (last.version, until)
            return story.read_stream(
                stream_id,
                after_version=after,
                until_version=until,
                until_position=until_position,
                where=where,
                backward=backward,
                limit=limit,
            )

        return self._iterate(read, limit)

    def _iterate(self, read: "_Read", limit: int | None) -> Iterator[RecordedEvent]:
        last: RecordedEvent | None = None
        is_last = False
        while not is_last:
            # One hop to the loop and back for many events.
            chunk, is_last = self.run(_take, read, last, limit)
            if chunk:
                last = chunk[-1]
                limit = None if limit is None else limit - len(chunk)
            yield from chunk

    def read_causes(self, event_id: object) -> Iterator[RecordedEvent]:
        """Iterate over what caused an event; as `EventStore.read_causes`.

        All are read before the first is handed out.
        """
        yield from self.run(_gather, Backstory.read_causes, event_id)

    def read_effects(self, causation_id: object) -> Iterator[RecordedEvent]:
        """Iterate over what came of an event or a command; as `EventStore.read_effects`.

        All are read before the first is handed out.
        """
        yield from self.run(_gather, Backstory.read_effects, causation_id)

    def read_event(self, event_id: object) -> RecordedEvent | None:
        """Return the event with an id, or None; as `EventStore.read_event`."""
        return self.run(lambda story: story.store.read_event(event_id))

    def head(self) -> int:
        """Return the last position of the log; 0 when it is empty."""
        return self.run(lambda story: story.store.head())


class BlockingScope:
    """Who does something, and because of what; from `BlockingBackstory.using`.

    Execute one command or make one decision with it, or use it as a context manager for all of a
    block.
    """

    def __init__(self, story: BlockingBackstory, scope: Scope) -> None:
        self._story = story
        self._scope = scope

    def execute(
        self, command: Callable[Concatenate[A, P], R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command; as `Repository.execute`."""
        return self._story.run(lambda _: self._scope.execute(command, id, *args, **kwargs))

    def decide(self, decision: Decides[R]) -> R:
        """Make a decision; as `Repository.decide`."""
        return self._story.run(lambda _: self._scope.decide(decision))

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scope.__exit__(exc_type, exc, traceback)


class _Read(Protocol):
    """Begins to read behind an event, or from the beginning where there is none."""

    def __call__(
        self, story: Backstory, last: RecordedEvent | None, limit: int | None
    ) -> AsyncIterator[RecordedEvent]: ...


async def _take(
    story: Backstory, read: _Read, last: RecordedEvent | None, limit: int | None
) -> tuple[list[RecordedEvent], bool]:
    """Return the next events of an iteration, and whether they are the last."""
    chunk: list[RecordedEvent] = []
    size = 0
    events = cast("AsyncGenerator[RecordedEvent]", read(story, last, limit))
    async with aclosing(events):
        async for recorded in events:
            chunk.append(recorded)
            size += len(recorded.data_json) + len(recorded.metadata_json)
            if len(chunk) == _CHUNK_EVENT_COUNT or size > _CHUNK_BYTES_MAX:
                return chunk, False
    return chunk, True


async def _list_actors(story: Backstory) -> list[ActorStatus]:
    return story.actors()


async def _list_live(story: Backstory) -> list[LiveAggregate]:
    return story.live_aggregates()


async def _gather(
    story: Backstory, read: Callable[[Backstory, object], AsyncIterator[RecordedEvent]], id: object
) -> list[RecordedEvent]:
    return [recorded async for recorded in read(story, id)]


async def _copy_model(story: Backstory, projection: type[M], timeout_seconds: float) -> M:
    model = await story.read_model(projection, timeout_seconds=timeout_seconds)
    try:
        return deepcopy(model)
    except Exception as error:
        raise ConfigurationError(
            f"the read model of {projection.projection_name!r} cannot be copied: {error}; "
            "keep plain values in its fields"
        ) from error
