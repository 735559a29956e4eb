"""Projections whose read model is tables in the store's own database.

Handlers do not touch the database. They say which SQL is to be run, and the projector runs what the
events of a page have said in one transaction with the checkpoint. So a handler is as pure as any
other, and each event takes effect exactly once.

Names. A statement writes `{tasks}` where it means the table `tasks` of its projection. The tables
have a generation in their real names, `task_history__tasks__2`, so that the next one can be built
beside the one that serves; a view without it, `task_history__tasks`, is what queries read, and
always shows a whole one.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, ClassVar, Final, TypeVar, dataclass_transform

import msgspec

from backstory._errors import ConfigurationError, InvalidInputError
from backstory._limits import shorten
from backstory._progress import SQLValue, TableChange, TableRows
from backstory._projection import OnFailure, Projection, ProjectionMeta, project
from backstory._recorded import RecordedEvent

T = TypeVar("T")
Query = Callable[[str, Sequence[SQLValue]], Awaitable[TableRows]]

_PLACE: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_CREATED: Final = re.compile(r"\s*CREATE\s+TABLE\s+\{([a-z][a-z0-9_]*)\}", re.IGNORECASE)
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}", re.ASCII)
_VALUES: Final = (int, float, str, bytes, type(None))


class TableProjectionMeta(ProjectionMeta):
    """Makes table projection classes: finds their tables, and refuses what cannot work."""

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
            ConfigurationError: It has fields, or the schema creates no table, or names another.
        """
        schema = namespace.pop("schema", None)
        cls = ProjectionMeta.__new__(
            mcls,
            class_name,
            bases,
            namespace,
            name=name,
            revision=revision,
            on_failure=on_failure,
            attempt_count_max=attempt_count_max,
            kw_only=kw_only,
        )
        if schema is not None:
            cls.schema = schema
        if any(isinstance(base, TableProjectionMeta) for base in bases):
            _check_definition(cls)
        return cls


def _check_definition(cls: Any) -> None:
    what = f"table projection {cls.__name__}"
    if cls.__struct_fields__:
        raise ConfigurationError(f"{what}: what it knows lies in its tables; it has no fields")
    if not _NAME.fullmatch(cls.projection_name):
        raise ConfigurationError(
            f"{what}: its name becomes part of its tables' names: at most 40 letters, digits, "
            "'_' and '-', a letter first"
        )
    if isinstance(cls.schema, str):
        raise ConfigurationError(f"{what}: schema is a tuple of statements, not one text")
    cls.tables = tuple(match[1] for sql in cls.schema if (match := _CREATED.match(sql)))
    if not cls.tables:
        raise ConfigurationError(
            f"{what}: schema creates no table; write CREATE TABLE {{tasks}} (…), with the braces"
        )
    for sql in cls.schema:
        place(cls, sql, 1)


class Binding:
    """What a read model in tables is bound to: where queries go, and what an event has said."""

    __slots__ = ("changes", "position", "query")

    def __init__(self, query: Query) -> None:
        self.query = query
        self.changes: list[TableChange] = []
        self.position = 0


class _Bound:
    """One slot beside the fields."""

    __slots__ = ("_binding",)
    _binding: Binding


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class TableProjection(_Bound, Projection, metaclass=TableProjectionMeta):
    """A read model in tables of the store's own database. Subclass it.

        class TaskTable(TableProjection, name="task-table"):
            schema = (
                "CREATE TABLE {tasks} (id TEXT PRIMARY KEY, status TEXT NOT NULL)",
                "CREATE INDEX {tasks}_status ON {tasks} (status)",
            )

            @on(TaskCreated)
            def _created(self, event: TaskCreated, recorded: RecordedEvent) -> None:
                self.execute("INSERT INTO {tasks} VALUES ($1, 'created')", recorded.id)

            async def count(self, status: str) -> int:
                rows = await self.read_rows(
                    "SELECT count(*) FROM {tasks} WHERE status = $1", status
                )
                return rows[0][0]

    Handlers say SQL with `execute`, and do not see what is in the tables: what depends on it is
    said in SQL too, as `SET starts = starts + 1`. Queries are coroutines that use `read`.

    Class keywords:
        name: The name that its checkpoint and tables are kept under; the class's name when not
            said.
        revision: Raise it when the tables are to be built again from the first event. A changed
            schema or handler is noticed without it.

    It needs a store that has tables; see `StoreCapabilities`.
    """

    schema: ClassVar[Sequence[str]] = ()
    """The statements that create its tables and their indexes, one statement each."""
    tables: ClassVar[tuple[str, ...]] = ()
    """The names of its tables."""

    def execute(self, sql: str, *parameters: SQLValue) -> None:
        """Say what an event changes; it is run together with the checkpoint.

        Args:
            sql: One statement, with `{table}` for its tables and `$1`, `$2` … for its parameters.
            parameters: Numbers, texts, bytes or None.

        Raises:
            InvalidInputError: A parameter is something else.
            ConfigurationError: There is no such table.
        """
        for value in parameters:
            if not isinstance(value, _VALUES):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
                reason = "must be a number, a text, bytes or None; turn it into one of these"
                raise InvalidInputError(argument="parameter", found=shorten(value), reason=reason)
        self._binding.changes.append(TableChange(sql, parameters, self._binding.position))

    async def read(self, type: type[T], sql: str, *parameters: SQLValue) -> list[T]:
        """Return the rows of a query, each as a struct whose fields are named as the columns.

        All rows are in memory at once: bound them with LIMIT, and page by a key.

        Args:
            type: A struct, a dataclass, or `dict[str, Any]`; a number serves for a bool.
            sql: A query, with `{table}` for its tables and `$1`, `$2` … for its parameters.
            parameters: Their values.

        Raises:
            TableStatementError: The query is refused.
            ConfigurationError: There is no such table.
            msgspec.ValidationError: A row does not fit the type.
            StoreUnavailableError: The store did not answer.
        """
        found = await self._binding.query(place(self.__class__, sql, None), parameters)
        named = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        return msgspec.convert(named, list[type], strict=False)  # type: ignore[valid-type]  # a type at run time

    async def read_rows(self, sql: str, *parameters: SQLValue) -> list[tuple[Any, ...]]:
        """Return the rows of a query as tuples; else as `read`."""
        return (await self._binding.query(place(self.__class__, sql, None), parameters)).rows


def bind(model: TableProjection, query: Query) -> Binding:
    """Say where the queries of a read model in tables go."""
    model._binding = binding = Binding(query)  # noqa: SLF001 - its name is private for the class's users  # pyright: ignore[reportPrivateUsage]
    return binding


def changes_of(
    model: TableProjection, recorded: RecordedEvent, binding: Binding, generation: int
) -> list[TableChange]:
    """Return what an event changes in the tables of a generation.

    Raises:
        Exception: Whatever the handler raises.
    """
    binding.changes, binding.position = [], recorded.position
    project(model, recorded)
    return [
        TableChange(place(type(model), one.sql, generation), one.parameters, one.position)
        for one in binding.changes
    ]


_placed: Final[dict[tuple[type, str, int | None], str]] = {}
_PLACED_MAX: Final = 10_000


def place(cls: type[TableProjection], sql: str, generation: int | None) -> str:
    """Return a statement with the real names of the tables; without a generation, of the views.

    Raises:
        ConfigurationError: The class has no such table.
    """
    found = _placed.get((cls, sql, generation))
    if found is None:
        if len(_placed) >= _PLACED_MAX:  # statements that are made up anew each time
            _placed.clear()
        found = _placed[cls, sql, generation] = _PLACE.sub(
            lambda match: _real_name(cls, match[1], generation), sql
        )
    return found


def _real_name(cls: type[TableProjection], table: str, generation: int | None) -> str:
    if table not in cls.tables:
        raise ConfigurationError(
            f"table projection {cls.__name__} has no table {{{table}}}; it has "
            + ", ".join(f"{{{name}}}" for name in cls.tables)
        )
    return real_name(cls.projection_name, table, generation)


def real_name(projection: str, table: str, generation: int | None) -> str:
    """Return what a table of a projection is really called; without a generation, its view."""
    # Two dashes below, which no table of the store itself has.
    name = f"{projection.replace('-', '_').lower()}__{table}"
    return name if generation is None else f"{name}__{generation}"


def creation(cls: type[TableProjection], generation: int) -> list[TableChange]:
    """Return what creates the tables of a generation."""
    return [TableChange(place(cls, sql, generation)) for sql in cls.schema]


def showing(projection: str, tables: Iterable[str], generation: int) -> list[TableChange]:
    """Return what makes the views show a generation."""
    return [
        change
        for table in tables
        for view in [real_name(projection, table, None)]
        for change in (
            TableChange(f"DROP VIEW IF EXISTS {view}"),
            TableChange(
                f"CREATE VIEW {view} AS SELECT * FROM {real_name(projection, table, generation)}"  # noqa: S608 - names of ours
            ),
        )
    ]


def hiding(projection: str, tables: Iterable[str]) -> list[TableChange]:
    """Return what removes views."""
    return [
        TableChange(f"DROP VIEW IF EXISTS {real_name(projection, table, None)}") for table in tables
    ]


def removal(projection: str, tables: Iterable[str], generation: int) -> list[TableChange]:
    """Return what removes the tables of a generation."""
    return [
        TableChange(f"DROP TABLE IF EXISTS {real_name(projection, table, generation)}")
        for table in tables
    ]
