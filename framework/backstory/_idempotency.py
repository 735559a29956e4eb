"""What a command and its events are called, and what it means when the names come again.

An idempotency key makes the event ids: each is derived from the key, the stream (of a decision: its
class) and its place among the command's events. So the log itself remembers the key, for as long as
it lives. When the key comes again, the event with the first derived id is found, the command runs
on the version before it (the decision on the log before it), and its answer is given without an
append. A command that emitted nothing leaves nothing to be found, and simply runs again.

The key is looked for after the state was read. So where it is not found, the state holds nothing of
a first call that is still under way: that call either ends before the append, which is then refused
or answered as a repetition, or it finds ours. Looked for before the state was read, the first call
could end in between, and the command would decide once more on its own outcome.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from backstory._aggregate import EmittedEvent
from backstory._context import Context
from backstory._errors import ConflictError, DuplicateEventError
from backstory._events import tagged
from backstory._ids import IdSource, derive_event_id
from backstory._recorded import NewEvent, RecordedEvent, new_event
from backstory._store import EventStore


class EventNaming(Struct, frozen=True):
    """What a command and its events are called: by new ids, or by ids that derive from a key."""

    ids: IdSource
    key: str | None

    def command_id(self) -> str:
        """Return the id of the command."""
        return self.ids.new() if self.key is None else derive_event_id(self.key)

    def event_id(self, subject: str, place: int) -> str:
        """Return the id of the command's event at a place; `subject` is what the key is for."""
        if self.key is None:
            return self.ids.new()
        return derive_event_id("idempotency-key", self.key, subject, place)

    def new_events(
        self, subject: str, emitted: Sequence[EmittedEvent], context: Context
    ) -> list[NewEvent]:
        """Return what a command has emitted, with ids and metadata."""
        metadata = context.metadata(self.command_id())
        return [
            new_event(
                one.event,
                one.data_json,
                event_id=self.event_id(subject, place),
                metadata=tagged(metadata, one.tags),
            )
            for place, one in enumerate(emitted)
        ]


class Repetitions:
    """Finds out whether a command came before, and whether it is the same one."""

    __slots__ = ("_naming", "_store")

    def __init__(self, store: EventStore, naming: EventNaming) -> None:
        self._store = store
        self._naming = naming

    async def find(self, subject: str, place: int) -> RecordedEvent | None:
        """Return the event that is recorded under the key at a place; None without a key."""
        if self._naming.key is None:
            return None
        return await self._store.find_event(self._naming.event_id(subject, place))

    @contextmanager
    def in_a_race(self) -> Generator[None]:
        """Append; with a key, a duplicate is another caller with the same key who was first.

        Raises:
            ConflictError: It is.
        """
        try:
            yield
        except DuplicateEventError as error:
            if self._naming.key is None:
                raise
            raise self.overtaken() from error

    def overtaken(self) -> ConflictError:
        """Return what says that another caller with the key was first."""
        key = self._naming.key
        return ConflictError(f"another caller with idempotency key {key!r} was first; ask again")

    async def check(
        self, subject: str, emitted: Sequence[tuple[str, EmittedEvent]], first: RecordedEvent
    ) -> None:
        """Refuse a key that comes again with another command or other arguments.

        Args:
            subject: What the key is for.
            emitted: What was decided now, each with its stream.
            first: The first event that is recorded under the key.

        Raises:
            DuplicateEventError: Something else was decided then.
        """
        recorded = [await self.find(subject, place) for place in range(len(emitted) + 1)]
        # As they are read today: a field that came since, with its default, is no difference.
        is_same = recorded[-1] is None and all(
            one is not None and (one.stream_id, one.data) == (stream_id, other.event)
            for one, (stream_id, other) in zip(recorded, emitted, strict=False)
        )
        if not is_same:
            raise DuplicateEventError(
                event_id=first.event_id,
                stream_id=first.stream_id,
                version=first.version,
                reason=f"idempotency key {self._naming.key!r} was used for another command",
            )
