"""Folding the log into a read model, where somebody wants one for himself and nothing is kept."""

from typing import NamedTuple, TypeVar

from backstory._errors import ConfigurationError, ProjectionFailedError
from backstory._filter import EventFilter, FilterItem
from backstory._handlers import UNKNOWN
from backstory._projection import Projection, project
from backstory._reason import reason_of
from backstory._recorded import RecordedEvent
from backstory._store import EventStore
from backstory._table_projection import (
    Binding,
    TableProjection,
    bind,
    changes_of,
    creation,
    showing,
)
from backstory._tables import Tables

P = TypeVar("P", bound=Projection)


class OwnTables(NamedTuple):
    """Tables that a read model has for itself, in memory."""

    tables: Tables
    binding: Binding


def wanted(projection: type[Projection]) -> EventFilter:
    """Return the filter for the events that a projection has handlers for."""
    types = tuple(sorted(projection.handlers.keys() - {UNKNOWN}))
    return EventFilter((FilterItem(types=types),))


async def fold_log(
    store: EventStore,
    projection: type[P],
    *,
    after_position: int = 0,
    until_position: int | None = None,
) -> P:
    """Return a fresh read model of a part of the log; by default, of all of it.

    One in tables gets tables of its own, in memory, which go with it.

    Args:
        store: Where the log is.
        projection: The class.
        after_position: Exclusive lower bound: what came up to there is as if it had not happened.
        until_position: Inclusive upper bound; None for the head.

    Raises:
        ProjectionFailedError: A handler raised.
        StoreError: The store did not answer.
    """
    model = projection()
    own = own_tables(model)
    pages = store.read_log_pages(
        after_position=after_position, until_position=until_position, where=wanted(projection)
    )
    async for events in pages:
        for recorded in events:
            fold(model, recorded, own)
    return model


def own_tables(model: Projection) -> OwnTables | None:
    """Make tables in memory for a fresh read model, and bind it to them; None for one without."""
    if not isinstance(model, TableProjection):
        return None
    cls, tables = type(model), Tables()
    tables.change(creation(cls, 0))
    tables.change(showing(cls.projection_name, cls.tables, 0))
    return OwnTables(tables, bind(model, tables.answer))


def fold(model: Projection, recorded: RecordedEvent, own: OwnTables | None = None) -> None:
    """Fold one event into a read model, or into its own tables.

    Raises:
        ProjectionFailedError: The handler raised, or the event cannot be decoded.
        ConfigurationError: It is a read model in tables, and has none of its own.
    """
    if isinstance(model, TableProjection) and own is None:
        raise ConfigurationError(
            f"{model.projection_name!r} keeps its read model in tables; register it, or fold the "
            "log with fold_log"
        )
    try:
        if isinstance(model, TableProjection) and own is not None:
            own.tables.change(changes_of(model, recorded, own.binding, 0))
        else:
            project(model, recorded)
    except Exception as error:
        raise failure(model.projection_name, recorded, error) from error


def failure(projection: str, recorded: RecordedEvent, error: Exception) -> ProjectionFailedError:
    """Return what is said of a handler that raised."""
    return ProjectionFailedError(
        projection=projection,
        position=recorded.position,
        event_type=recorded.type,
        reason=reason_of(error),
    )
