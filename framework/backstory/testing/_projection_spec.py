"""Given events, then a read model: a projection's behaviour as data.

The events are folded three times. Twice afresh: a projection is pure, so both give the same. Once
with the read model encoded and decoded behind every event, as a projector does that stops there and
goes on from its checkpoint: so a read model that loses something on the way is found in the test,
and not after the first restart.

A read model in tables gets tables in memory, each time its own. What it has at a checkpoint is
whole, and so it is folded twice. Its tables are then created once more beside those that are there,
as a rebuild does: a name in the schema that is not the table's own would be taken by then.
"""

import difflib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from inspect import iscoroutine
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar

import msgspec

from backstory._codec import encode_state, state_decoder
from backstory._errors import ConfigurationError, TableStatementError
from backstory._events import Event
from backstory._fold import OwnTables, fold, own_tables
from backstory._progress import SQLValue
from backstory._projection import Projection
from backstory._recorded import NewEvent
from backstory._table_projection import creation, place
from backstory.testing._aggregate_spec import check_fields
from backstory.testing._difference import differing_fields
from backstory.testing._events import GivenEvent, as_given, recorded_log

P = TypeVar("P", bound=Projection)
_ROW_COUNT: Final = 10
"""Rows of a table that a failed test prints."""


class ProjectionSpec(Generic[P]):
    """A projection, and the log that it folds.

        spec = ProjectionSpec(EventCounts).given(
            recorded_on("task-1", TaskCreated(title="a"), actor="ada"),
            recorded_on("task-1", TaskCompleted(pages=3)),
        )

        spec.then(counts={"task:created": 1, "task:completed": 1})
        spec.then_model(lambda model: model.total() == 2)

    Of a `TableProjection` it asks for rows:

        spec = ProjectionSpec(TaskTable).given(recorded_on("task-1", TaskCreated(title="a")))

        spec.then_rows("SELECT id, status FROM {tasks} ORDER BY id", ("1", "created"))

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
        check_fields(f"after {len(self._given)} events", self._folded().model, fields)
        return self

    def then_rows(
        self, sql: str, *rows: tuple[SQLValue, ...], parameters: Sequence[SQLValue] = ()
    ) -> Self:
        """Ask for the rows of a query of the read model's tables.

        Args:
            sql: A query, with `{table}` for the tables and `$1`, `$2` … for its parameters. Where
                it does not say ORDER BY, the order is SQLite's.
            rows: All rows that it gives, in this order; none for a query that gives none.
            parameters: The parameters' values.

        Raises:
            AssertionError: It gives others, or the projection is not pure, or its schema could not
                be built anew beside the tables that serve.
            ConfigurationError: The projection has no tables, or none of a name in the query.
            TableStatementError: The query is refused.
            ProjectionFailedError: A handler raised, or its SQL was refused; that is the cause.
            EncodeError: A given event would not come back equal from a store.
        """
        _, own = self._folded()
        if own is None:
            name = self._class.__name__
            raise ConfigurationError(f"{name} keeps no tables; ask for its fields, with then")
        found = own.tables.query(place(self._tables_class, sql, None), parameters).rows
        if found != [*rows]:
            raise AssertionError(
                f"{self._class.__name__} has other rows after {len(self._given)} events "
                f"(- expected, + found):\n{_difference(rows, found)}"
            )
        return self

    def then_model(self, check: Callable[[P], object]) -> Self:
        """Ask for anything else of the read model.

        Args:
            check: Takes the read model; it asserts, or returns False for no. It may be a coroutine
                function that waits for queries of the read model, as those of tables are.

        Raises:
            AssertionError: As for `then`; or `check` raised it, or returned False.
            ProjectionFailedError: A handler raised; its error is the cause.
            EncodeError: A given event would not come back equal from a store.
        """
        model, own = self._folded()
        if _answer(check(model)) is False:
            shown = "" if own is None else self._shown(own)
            raise AssertionError(f"the read model is not as expected: {model!r}{shown}")
        return self

    @property
    def _tables_class(self) -> Any:
        return self._class

    def _folded(self) -> "_Folded[P]":
        once, again = self._folded_once(), self._folded_once()
        if once.own is not None and again.own is not None:
            self._check_same_rows(once.own, again.own)
            self._check_schema(again.own)
        else:
            self._check_same(once.model, again.model, "a second fold of the same events")
            at_checkpoints = self._folded_from_checkpoints()
            self._check_same(once.model, at_checkpoints, "going on from a checkpoint")
        return once

    def _folded_once(self) -> "_Folded[P]":
        model = self._class()
        own = own_tables(model)
        for recorded in recorded_log(self._given):
            fold(model, recorded, own)
        return _Folded(model, own)

    def _rows(self, own: OwnTables, table: str) -> list[tuple[SQLValue, ...]]:
        sql = place(self._tables_class, f"SELECT * FROM {{{table}}}", None)  # noqa: S608 - a name of the class
        return own.tables.query(sql, ()).rows

    def _shown(self, own: OwnTables) -> str:
        """Return what is in the tables, as lines."""
        return "".join(
            f"\n  {table}: {row!r}"
            for table in self._tables_class.tables
            for row in self._rows(own, table)[:_ROW_COUNT]
        )

    def _check_same_rows(self, own: OwnTables, other: OwnTables) -> None:
        for table in self._tables_class.tables:
            rows, others = self._rows(own, table), self._rows(other, table)
            if rows != others:
                raise AssertionError(
                    f"a second fold of the same events gives another {self._class.__name__}; its "
                    f"handlers look at something other than the event, in {table} (- at first, "
                    f"+ then):\n{_difference(rows, others)}"
                )

    def _check_schema(self, own: OwnTables) -> None:
        try:
            own.tables.change(creation(self._tables_class, 1))
        except TableStatementError as error:
            raise AssertionError(
                f"{self._class.__name__} could not be built anew beside the tables that serve: "
                f"{error.reason}; write the table in braces in every name of the schema, as in "
                "CREATE INDEX {tasks}_status ON {tasks} (status)"
            ) from error

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


class _Folded(NamedTuple, Generic[P]):
    """A read model, with the tables that it has for itself."""

    model: P
    own: OwnTables | None


def _answer(asked: object) -> object:
    """Return what a check says, which may be a coroutine; queries in memory never wait."""
    if not iscoroutine(asked):
        return asked
    check: Coroutine[Any, Any, object] = asked
    try:
        check.send(None)
    except StopIteration as answered:
        return answered.value
    check.close()
    raise AssertionError("the check waits for something other than queries of the read model")


def _difference(
    expected: Sequence[tuple[SQLValue, ...]], found: Sequence[tuple[SQLValue, ...]]
) -> str:
    """Return two lists of rows as one, line by line."""
    lines = difflib.ndiff([repr(row) for row in expected], [repr(row) for row in found])
    return "\n".join(line for line in lines if not line.startswith("?"))


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
