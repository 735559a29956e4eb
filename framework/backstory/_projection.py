"""Projections: a read model, and how it is folded from events.

Like an aggregate, a projection is a struct whose fields are its state, with `@on` methods that
assign. It is pure: the same events give the same read model, so it can be thrown away and built
again. Queries are plain methods that the class adds.
"""

from enum import Enum
from typing import Any, ClassVar, Final, dataclass_transform

import msgspec
from msgspec import Struct, StructMeta

from backstory._aggregate import check_defaults, check_fields, check_names, check_number
from backstory._errors import ConfigurationError, InvalidInputError
from backstory._handlers import Handler, collect_handlers, fold_event
from backstory._limits import PROJECTION_NAME_BYTES_MAX, check_text
from backstory._recorded import RecordedEvent


class OnFailure(Enum):
    """What becomes of an event that a projection cannot handle, after the last attempt."""

    PARK = "park"
    """It waits with the later events of its stream; all others go on."""
    STOP = "stop"
    """The projection stops before it."""


class ProjectionMeta(StructMeta):
    """Makes projection classes: collects handlers, and refuses what cannot work."""

    # The class keywords are spelt out, so that a type checker reports a misspelt one.
    def __new__(
        mcls: type[Any],
        class_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        name: str = "",
        revision: int = 1,
        on_failure: OnFailure = OnFailure.PARK,
        attempt_count_max: int = 3,
        kw_only: bool = True,
    ) -> Any:
        """Make the class.

        Raises:
            ConfigurationError: A field has no default, two handlers take one event class, or a
                keyword is unfit.
        """
        cls = StructMeta.__new__(mcls, class_name, bases, namespace, kw_only=kw_only)
        cls.handlers = collect_handlers(cls)
        cls.projection_name, cls.revision = name or class_name, revision
        cls.on_failure, cls.attempt_count_max = on_failure, attempt_count_max
        check_fields(cls, _RESERVED)
        if any(isinstance(base, ProjectionMeta) for base in bases):
            check_names(cls, namespace, _RESERVED)
        check_defaults(cls)
        _check_name(cls)
        check_number(cls, "revision", least=1)
        check_number(cls, "attempt_count_max", least=1)
        if not isinstance(on_failure, OnFailure):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
            raise ConfigurationError(f"{cls.__name__}: on_failure is OnFailure.PARK or .STOP")
        return cls


_RESERVED: Final = frozenset(
    {"projection_name", "revision", "handlers", "on_failure", "attempt_count_max"}
)


def _check_name(cls: Any) -> None:
    try:
        check_text("name", cls.projection_name, PROJECTION_NAME_BYTES_MAX)
    except InvalidInputError as error:
        raise ConfigurationError(f"projection {cls.__name__}: {error}") from None


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class Projection(Struct, kw_only=True, metaclass=ProjectionMeta):
    """A read model that is folded from events. Subclass it.

        class EventCounts(Projection):
            counts: dict[str, int] = {}

            @on(TaskCreated, TaskCompleted)
            def _count(self, event: Event, recorded: RecordedEvent) -> None:
                self.counts[recorded.type] = self.counts.get(recorded.type, 0) + 1

    Fields are the read model and have defaults; mutable defaults are fresh for each instance. `@on`
    methods take the event and, if they want, its `RecordedEvent`; they are pure. All other methods
    are the class's own: queries.

    Class keywords:
        name: The name that its checkpoint is kept under; the class's name when not said.
        revision: Raise it when the read model is to be built again from the first event.
        on_failure: What becomes of an event that it cannot handle: parked with the later ones of
            its stream, or the projection stops before it.
        attempt_count_max: How often such an event is tried before.
    """

    handlers: ClassVar[dict[str, Handler]]
    """What folds an event in, by stored type."""
    projection_name: ClassVar[str]
    """The name that its checkpoint is kept under."""
    revision: ClassVar[int]
    """Part of what a checkpoint must agree with."""
    on_failure: ClassVar[OnFailure]
    """What becomes of an event that it cannot handle."""
    attempt_count_max: ClassVar[int]
    """How often an event is tried."""


def project(projection: Projection, recorded: RecordedEvent) -> None:
    """Fold one event into a read model; as `fold_event`."""
    fold_event(projection, projection.handlers, recorded)
