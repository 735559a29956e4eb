"""Every error that Backstory raises.

    BackstoryError
    ├── ConfigurationError            wrong wiring, found at definition or start-up    · mend the program
    ├── InvalidInputError             an argument outside its limits (a ValueError)    · nothing happened; mend the call
    ├── StoreError                    a store refused or failed
    │   ├── ConflictError             another writer was first                         · nothing happened; reload and retry
    │   │   ├── VersionConflictError      … in a stream that was to be at a version
    │   │   └── ConditionConflictError    … with an event that was not to be there
    │   ├── DuplicateEventError       an event id is taken by another event            · nothing happened; a bug of the caller's
    │   ├── StreamNotFoundError       a stream had to exist                            · nothing happened
    │   ├── StoreUnavailableError     the store did not do it, or did not answer       · outcome_unknown says which; retry with the same event ids
    │   ├── CheckpointMovedError      another projector has moved the checkpoint       · nothing happened; go on from where it is
    │   ├── StoreClosedError          used before it was opened or after it was closed · nothing happened; mend the program
    │   └── CorruptLogError           what is stored contradicts itself                · stop; needs a person
    ├── CodecError
    │   ├── EncodeError               a value would not come back as it is             · nothing happened; mend the event
    │   ├── UnknownEventTypeError     no class for a stored type where one is needed   · register the class
    │   └── DecodeError               stored data does not fit its class               · mend the class or upcast
    ├── DomainError                   an aggregate refused a command; subclass it      · nothing happened
    ├── ActorError
    │   ├── ActorStoppedError         the actor takes or handles no message any more   · outcome_unknown says whether it had begun; find or spawn another
    │   ├── MailboxFullError          no room, and no waiting for it                   · nothing happened; retry later
    │   ├── AskTimeoutError           no answer within the time limit (a TimeoutError) · outcome_unknown says whether it had begun
    │   └── ActorSystemFailedError    an actor failed, and nobody above it went on     · everything was cancelled; cause chained
    └── ProjectionError
        ├── ProjectionBehindError     a read model did not reach a position in time    · retry later (a TimeoutError)
        ├── ProjectionFailedError     a handler raised, or the store; it has stopped   · mend the cause, which is chained
        └── TableStatementError       SQL of a read model in tables was refused        · nothing happened; mend the SQL

Three questions decide a class: who is at fault, did anything happen, may I retry? Every error keeps
what it says as attributes and pickles.
"""  # noqa: E501 - the tree is a table; wrapped it cannot be read

from typing import Any


class BackstoryError(Exception):
    """The root: `except BackstoryError` catches all that Backstory raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    cls: type[BackstoryError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> BackstoryError:
    # Errors take keyword arguments, which the default way of pickling exceptions cannot pass.
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(BackstoryError):
    """The program is wired wrongly: a class, a URL or a setting; found at start-up."""


class InvalidInputError(BackstoryError, ValueError):
    """An argument lies outside its documented limits; nothing was written."""

    def __init__(self, *, argument: str, found: str, reason: str) -> None:
        super().__init__(f"{argument} {found}: {reason}")
        self.argument = argument
        """Which argument."""
        self.found = found
        """What was passed, shortened."""
        self.reason = reason
        """What is wrong with it and what would be right."""


class StoreError(BackstoryError):
    """A store refused or failed."""


class ConflictError(StoreError):
    """Another writer was first; nothing was written. Reload and decide again."""


class VersionConflictError(ConflictError):
    """The stream is not at the version that the writer expected; nothing was written."""

    def __init__(self, *, stream_id: str, expected_version: object, actual_version: int) -> None:
        super().__init__(
            f"stream {stream_id!r} is at version {actual_version}, "
            f"expected {expected_version}; reload and decide again"
        )
        self.stream_id = stream_id
        """The stream."""
        self.expected_version = expected_version
        """What the writer expected: a number, or a mode."""
        self.actual_version = actual_version
        """The stream's version when the append was judged; 0 when it does not exist."""


class ConditionConflictError(ConflictError):
    """An event matches the condition that an append carried; nothing was written."""

    def __init__(
        self, *, after_position: int, position: int, event_type: str, stream_id: str
    ) -> None:
        super().__init__(
            f"an event that the append excludes behind position {after_position} is at position "
            f"{position}: {event_type!r} in stream {stream_id!r}; reload and decide again"
        )
        self.after_position = after_position
        """The position up to which the writer had read."""
        self.position = position
        """The position of the event that came since."""
        self.event_type = event_type
        """Its type."""
        self.stream_id = stream_id
        """Its stream."""


class DuplicateEventError(StoreError):
    """An event id is already recorded with other content or elsewhere; nothing was written."""

    def __init__(self, *, event_id: str, stream_id: str, version: int, reason: str) -> None:
        super().__init__(
            f"event {event_id} is already recorded as version {version} of stream "
            f"{stream_id!r}: {reason}; give a new fact a new event id"
        )
        self.event_id = event_id
        """The id that is taken."""
        self.stream_id = stream_id
        """The stream that has it."""
        self.version = version
        """Its version there."""
        self.reason = reason
        """What differs from the recorded event."""


class StreamNotFoundError(StoreError):
    """A stream that had to exist does not."""

    def __init__(self, *, stream_id: str) -> None:
        super().__init__(
            f"stream {stream_id!r} does not exist; name one that does, or append to it first"
        )
        self.stream_id = stream_id
        """The stream."""


class StoreUnavailableError(StoreError):
    """The store did not do what was asked, or did not answer; the driver's error is the cause.

    With `outcome_unknown` an append may or may not have happened: repeat it with the same event
    ids, and it happens once. Without it nothing happened.
    """

    def __init__(
        self, *, store: str, attempted: str, reason: str, outcome_unknown: bool = False
    ) -> None:
        outcome = (
            "it may or may not have happened; repeat it with the same event ids"
            if outcome_unknown
            else "nothing happened; try again when the cause is gone"
        )
        super().__init__(f"{store} could not {attempted}: {reason}; {outcome}")
        self.store = store
        """The store, as its URL without secrets."""
        self.attempted = attempted
        """What was attempted."""
        self.reason = reason
        """What the driver said."""
        self.outcome_unknown = outcome_unknown
        """Whether an append may have happened all the same."""


class CheckpointMovedError(StoreError):
    """Another projector has moved the checkpoint meanwhile; nothing happened."""

    def __init__(self, *, projection: str, expected_position: int, actual_position: int) -> None:
        super().__init__(
            f"the checkpoint of projection {projection!r} is at {actual_position}, not at "
            f"{expected_position}: another projector runs it; go on from where it is"
        )
        self.projection = projection
        """The projection's name."""
        self.expected_position = expected_position
        """Where it was to be."""
        self.actual_position = actual_position
        """Where it is; 0 where there is none."""


class StoreClosedError(StoreError):
    """The store was used before it was opened or after it was closed; nothing happened."""

    def __init__(self, *, store: str) -> None:
        super().__init__(f"{store} is not open; use it inside its block, before it is closed")
        self.store = store
        """The store."""


class CorruptLogError(StoreError):
    """What is stored contradicts itself; stop and look before anything else is written."""

    def __init__(self, *, where: str, position: int, reason: str) -> None:
        place = f" at position {position}" if position else ""
        super().__init__(f"{where} is damaged{place}: {reason}")
        self.where = where
        """The path or table."""
        self.position = position
        """The position in the log; 0 where none can be named."""
        self.reason = reason
        """What contradicts what."""


class CodecError(BackstoryError):
    """An event could not become bytes, or bytes an event."""


class EncodeError(CodecError):
    """A value would not come back from the store as it is; nothing was written."""

    def __init__(self, *, event_type: str, field: str, reason: str) -> None:
        super().__init__(f"event {event_type!r} cannot be stored: {field}: {reason}")
        self.event_type = event_type
        """The event's type."""
        self.field = field
        """The first field that is at fault, or `event` where it is the whole."""
        self.reason = reason
        """What is wrong with the value."""


class UnknownEventTypeError(CodecError):
    """An aggregate met a stored event whose type or newer schema version this program lacks."""

    def __init__(self, *, event_type: str, stream_id: str, version: int) -> None:
        super().__init__(
            f"version {version} of stream {stream_id!r} is of type {event_type!r}, which this "
            "program does not know (or only in an older schema version); "
            "import the module that defines it"
        )
        self.event_type = event_type
        """The stored type."""
        self.stream_id = stream_id
        """The stream."""
        self.version = version
        """The event's version in it."""


class DecodeError(CodecError):
    """Stored data does not fit the class of its type; the events around it stay readable."""

    def __init__(
        self, *, event_type: str, schema_version: int, stream_id: str, version: int, reason: str
    ) -> None:
        super().__init__(
            f"version {version} of stream {stream_id!r} ({event_type!r}, schema version "
            f"{schema_version}) cannot be read: {reason}"
        )
        self.event_type = event_type
        """The stored type."""
        self.schema_version = schema_version
        """The stored schema version."""
        self.stream_id = stream_id
        """The stream."""
        self.version = version
        """The event's version in it."""
        self.reason = reason
        """What does not fit."""


class DomainError(BackstoryError):
    """An aggregate refused a command; nothing was written. Domains subclass it."""


class ActorError(BackstoryError):
    """An actor did not do what it was sent, for reasons of its own and not of the message."""


class ActorStoppedError(ActorError):
    """The actor has stopped, or is stopping; it does not handle the message.

    With `outcome_unknown` the message had begun when the actor was cancelled, and some of what it
    does may have happened. Without it nothing happened.
    """

    def __init__(self, *, actor: str, reason: str, outcome_unknown: bool = False) -> None:
        outcome = (
            "the message had begun, and some of it may have happened"
            if outcome_unknown
            else "nothing happened; find or spawn another one"
        )
        super().__init__(f"actor {actor!r} does not handle the message: {reason}; {outcome}")
        self.actor = actor
        """The actor's name."""
        self.reason = reason
        """Why it does not."""
        self.outcome_unknown = outcome_unknown
        """Whether the message had begun."""


class MailboxFullError(ActorError):
    """The mailbox is full, and the sender does not wait for room; nothing happened."""

    def __init__(self, *, actor: str, capacity: int) -> None:
        super().__init__(
            f"the mailbox of actor {actor!r} is full with {capacity:,} messages; "
            "send less, or later"
        )
        self.actor = actor
        """The actor's name."""
        self.capacity = capacity
        """How many messages its mailbox has room for."""


class AskTimeoutError(ActorError, TimeoutError):
    """The actor did not answer within its time limit.

    With `outcome_unknown` the message has begun, and is handled to its end. Without it, it was
    taken back, and nothing happened.
    """

    def __init__(self, *, actor: str, timeout_seconds: float, outcome_unknown: bool) -> None:
        outcome = (
            "the message has begun, and may still happen"
            if outcome_unknown
            else "the message had not begun and was taken back; ask again"
        )
        super().__init__(f"actor {actor!r} did not answer within {timeout_seconds:g} s; {outcome}")
        self.actor = actor
        """The actor's name."""
        self.timeout_seconds = timeout_seconds
        """How long was waited."""
        self.outcome_unknown = outcome_unknown
        """Whether the message had begun."""


class ActorSystemFailedError(ActorError):
    """An actor failed, its supervision escalated, and there was no parent; the cause is chained.

    Everything in the system was cancelled.
    """

    def __init__(self, *, actor: str, reason: str) -> None:
        super().__init__(
            f"the actor system was ended by a failure of actor {actor!r}: {reason}; "
            "mend the actor, or give it a supervision that goes on"
        )
        self.actor = actor
        """The actor at the top that failed, itself or with a child."""
        self.reason = reason
        """What it failed with."""


class ProjectionError(BackstoryError):
    """A projection could not serve its read model."""


class ProjectionBehindError(ProjectionError, TimeoutError):
    """A read model did not reach the wanted position within the time limit; it goes on."""

    def __init__(
        self, *, projection: str, position: int, wanted_position: int, timeout_seconds: float
    ) -> None:
        super().__init__(
            f"projection {projection!r} is at position {position} and did not reach "
            f"{wanted_position} within {timeout_seconds:g} s; wait longer"
        )
        self.projection = projection
        """The projection's name."""
        self.position = position
        """Where it is."""
        self.wanted_position = wanted_position
        """Where it was wanted."""
        self.timeout_seconds = timeout_seconds
        """How long was waited."""


class ProjectionFailedError(ProjectionError):
    """A handler raised, or the store did not answer; the projector has stopped before that event.

    The error is the cause.
    """

    def __init__(self, *, projection: str, position: int, event_type: str, reason: str) -> None:
        super().__init__(
            f"projection {projection!r} stopped at position {position} ({event_type!r}): {reason}; "
            "mend the cause and start again"
        )
        self.projection = projection
        """The projection's name."""
        self.position = position
        """The position of the event whose handler raised, or up to which the store had answered."""
        self.event_type = event_type
        """Its type; `the store` where that failed."""
        self.reason = reason
        """What the handler, or the store, raised."""


class TableStatementError(ProjectionError):
    """SQL on the tables of a read model was refused; nothing of it happened."""

    def __init__(self, *, sql: str, position: int, reason: str) -> None:
        where = f" of the event at position {position}" if position else ""
        super().__init__(f"SQL{where} was refused: {reason}: {sql}")
        self.sql = sql
        """The statement."""
        self.position = position
        """The event that it comes from; 0 for none, such as for a query."""
        self.reason = reason
        """What the store's engine says."""
