"""Given events, then a read model: a projection's behaviour as data.

The events are folded three times. Twice afresh: a projection is pure, so both give the same. Once
with the read model encoded and decoded behind every event, as a projector does that stops there and
goes on from its checkpoint: so a read model that loses something on the way is found in the test,
and not after the first restart.
"""

from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar

import msgspec

from backstory._codec import encode_state, state_decoder
from backstory._events import Event
from backstory._fold import fold
from backstory._projection import Projection
from backstory._recorded import NewEvent
from backstory.testing._aggregate_spec import check_fields
from backstory.testing._difference import differing_fields
from backstory.testing._events import GivenEvent, as_given, recorded_log

P = TypeVar("P", bound=Projection)


class ProjectionSpec(Generic[P]):
    """A projection, and the log that it folds.

        spec = ProjectionSpec(EventCounts).given(
            recorded_on("task-1", TaskCreated(title="a"), actor="ada"),
            recorded_on("task-1", TaskCompleted(pages=3)),
        )

        spec.then(counts={"task:created": 1, "task:completed": 1})
        spec.then_model(lambda model: model.total() == 2)

    Positions count from 1, and versions in each stream; times are a second apart unless they are
    said. Nothing here changes: each step returns something new, so that one log can be shared.
    """

    def __init__(self, projection: type[P]) -> None:
        """Begin with an empty log.

        Args:
            projection: The projection's class.
        """
        self._class = projection
        self._given: tuple[GivenEvent, ...] = ()

    def given(self, *events: Event | NewEvent | GivenEvent) -> "ProjectionSpec[P]":
        """Return the specification with more in the log, behind what was given before.

        Args:
            events: Facts in the order of the log; `recorded_on(...)` says where one lies and who
                caused it. One that is passed as it is lies on the stream `test-1`.
        """
        spec = ProjectionSpec(self._class)
        spec._given = (*self._given, *map(as_given, events))
        return spec

    def then(self, **fields: object) -> Self:
        """Ask for fields of the read model.

        Args:
            fields: Fields by their names; others may be anything.

        Raises:
            AssertionError: One has another value, or the projection is not pure, or its read model
                does not outlive a checkpoint.
            ProjectionFailedError: A handler raised; its error is the cause.
            EncodeError: A given event would not come back equal from a store.
        """
        check_fields(f"after {len(self._given)} events", self._model(), fields)
        return self

    def then_model(self, check: Callable[[P], object]) -> Self:
        """Ask for anything else of the read model.

        Args:
            check: Takes the read model; it asserts, or returns False for no.

        Raises:
            AssertionError: As for `then`; or `check` raised it, or returned False.
            ProjectionFailedError: A handler raised; its error is the cause.
            EncodeError: A given event would not come back equal from a store.
        """
        model = self._model()
        if check(model) is False:
            raise AssertionError(f"the read model is not as expected: {model!r}")
        return self

    def _model(self) -> P:
        model = self._class()
        for recorded in recorded_log(self._given):
            fold(model, recorded)
        self._check_same(model, self._folded_again(), "a second fold of the same events")
        self._check_same(model, self._folded_from_checkpoints(), "going on from a checkpoint")
        return model

    def _folded_again(self) -> P:
        model = self._class()
        for recorded in recorded_log(self._given):
            fold(model, recorded)
        return model

    def _folded_from_checkpoints(self) -> P:
        model = self._checkpointed(self._class(), 0)
        for recorded in recorded_log(self._given):
            fold(model, recorded)
            model = self._checkpointed(model, recorded.position)
        return model

    def _checkpointed(self, model: P, position: int) -> P:
        """Return the read model that a projector would find in its checkpoint."""
        model_json = encode_state(model)
        if model_json is None:
            faults = ", ".join(_unkept(model)) or "the whole"
            raise AssertionError(
                f"the read model of {self._class.__name__} would not come back from a checkpoint "
                f"at position {position} as it is: {faults}; use values that JSON and the fields' "
                "types can carry"
            )
        return state_decoder(self._class)(model_json)

    def _check_same(self, model: P, other: P, what: str) -> None:
        if changed := differing_fields(model, other):
            fields = "\n".join(
                f"  {name}: {getattr(model, name)!r} at first, then {getattr(other, name)!r}"
                for name in changed
            )
            raise AssertionError(
                f"{what} gives another {self._class.__name__}; its handlers look at something "
                f"other than the read model and the event:\n{fields}"
            )


def _unkept(model: Projection) -> Iterator[str]:
    """Yield the fields that by themselves do not come back as they are."""
    for field in msgspec.structs.fields(model):
        value = getattr(model, field.name)
        try:
            copy = msgspec.json.decode(msgspec.json.encode(value), type=field.type)
        except Exception as error:  # noqa: BLE001 - whatever it is, the field cannot be kept
            yield f"field {field.name!r} ({error})"
        else:
            if copy != value or type(copy) is not type(value):
                yield f"field {field.name!r} ({value!r} would come back as {copy!r})"
