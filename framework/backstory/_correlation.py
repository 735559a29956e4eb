"""The state of one correlation: a read model of what one request set in motion, and nothing else.

It is folded from the events that share a correlation id, in whatever streams they lie. Where they
are many, the read model is kept as a checkpoint of its own, from which the next fold goes on. That
is a cache: where it cannot be read or kept, as in a store that is read only, the fold takes longer.
"""

import hashlib
from typing import Final, TypeVar

from backstory._codec import encode_state, state_decoder
from backstory._errors import ConfigurationError, StoreError
from backstory._filter import EventFilter, FilterItem
from backstory._fingerprint import fingerprint_of
from backstory._fold import fold, wanted
from backstory._limits import PROJECTION_NAME_BYTES_MAX
from backstory._logging import PROJECTION, REASON, log
from backstory._projection import Projection
from backstory._snapshot import Checkpoint
from backstory._store import EventStore

P = TypeVar("P", bound=Projection)

_KEEP_EVERY: Final = 100
"""Events between two checkpoints, as between two snapshots of an aggregate."""


async def fold_correlation(
    store: EventStore,
    projection: type[P],
    correlation_id: str,
    *,
    until_position: int | None = None,
) -> P:
    """Return a read model of one correlation's events up to a position; None for the head.

    Raises:
        InvalidInputError: The correlation id is not valid.
        ProjectionFailedError: A handler raised.
        StoreUnavailableError: The store did not answer.
        StoreClosedError: The store is not open.
    """
    (handled,) = wanted(projection).items
    of_correlation = FilterItem(types=handled.types, correlation_id=correlation_id)
    model, position = await _restore(store, projection, correlation_id, until_position)
    event_count = 0
    async for recorded in store.read_log(
        after_position=position,
        until_position=until_position,
        where=EventFilter((of_correlation,)),
    ):
        fold(model, recorded)
        position, event_count = recorded.position, event_count + 1
    if event_count >= _KEEP_EVERY and (model_json := encode_state(model)) is not None:
        name = _checkpoint_name(projection, correlation_id)
        await _keep(store, Checkpoint(name, position, fingerprint_of(projection), model_json))
    return model


async def _restore(
    store: EventStore, projection: type[P], correlation_id: str, until_position: int | None
) -> tuple[P, int]:
    checkpoint = await _load(store, _checkpoint_name(projection, correlation_id))
    head = await store.head()
    end = head if until_position is None else min(until_position, head)
    if (
        checkpoint is not None
        and checkpoint.fingerprint == fingerprint_of(projection)
        and checkpoint.position <= end  # else of another moment, or of a log that was exchanged
    ):
        try:
            return state_decoder(projection)(checkpoint.model_json), checkpoint.position
        except ValueError:  # damaged; it is a cache
            pass
    return projection(), 0


async def _load(store: EventStore, name: str) -> Checkpoint | None:
    try:
        return await store.load_checkpoint(name)
    except StoreError as error:  # such as a damaged page, which holds no event
        _log_ignored(name, error)
        return None


async def _keep(store: EventStore, checkpoint: Checkpoint) -> None:
    try:
        kept = await store.load_checkpoint(checkpoint.projection)
        # A look at the past, or one that took long, is no reason to lose what has come further.
        if kept is None or not await _is_ahead(store, kept, checkpoint):
            await store.save_checkpoint(checkpoint)
    except (StoreError, ConfigurationError) as error:  # the latter where it is read only
        _log_ignored(checkpoint.projection, error)


async def _is_ahead(store: EventStore, kept: Checkpoint, new: Checkpoint) -> bool:
    if kept.fingerprint != new.fingerprint or kept.position <= new.position:
        return False
    return kept.position <= await store.head()  # else it is of a log that was exchanged


def _log_ignored(name: str, error: Exception) -> None:
    log.warning("checkpoint.ignored", **{PROJECTION: name, REASON: str(error)})


def _checkpoint_name(projection: type[Projection], correlation_id: str) -> str:
    name = f"{projection.projection_name}@{correlation_id}"
    if len(name.encode()) <= PROJECTION_NAME_BYTES_MAX:
        return name
    return f"correlation:{hashlib.sha256(name.encode()).hexdigest()}"
