"""Orders to projectors: kept as notes in the store, so that any process can give them.

To pause is a wish that stays until it is taken back. The others are orders: the projector that owns
the projection carries each out once, and forgets it then; where none runs, they wait for one.
"""

from enum import Enum
from typing import Final

import msgspec
from msgspec import Struct

from backstory._ids import TimeOrderedIds
from backstory._progress import Note
from backstory._store import EventStore

_PAUSED: Final = "paused"
_ids: Final = TimeOrderedIds()


class OrderKind(Enum):
    """What a projector can be told."""

    REBUILD = "rebuild"
    """Build the read model anew beside the one that serves, and put it in its place when it has
    come as far."""
    RESET = "reset"
    """Drop the read model, and begin with the first event."""
    RETRY = "retry"
    """Try the parked events of a stream again, in their order."""
    DISCARD = "discard"
    """Leave one parked event out for good, and try those behind it."""


class Order(Struct, frozen=True, kw_only=True):
    """One order to the projector of one projection."""

    kind: OrderKind
    """What is to be done."""
    stream_id: str | None = None
    """The stream, where it is about parked events."""
    position: int | None = None
    """The event that is to be left out."""


class Orders(Struct, frozen=True):
    """What a projector has been told and has not done yet."""

    is_paused: bool
    """Whether it is to do nothing for now."""
    orders: dict[str, Order]
    """The orders, by the key of their notes, the oldest first."""


_decoder: Final = msgspec.json.Decoder(Order)


def _space(projection: str) -> str:
    return f"orders:{projection}"


async def load_orders(store: EventStore, projection: str) -> Orders:
    """Return what a projector is to do.

    Raises:
        StoreError: The store did not answer.
    """
    notes = await store.load_notes(_space(projection))
    return Orders(
        is_paused=any(note.key == _PAUSED for note in notes),
        orders={
            note.key: _decoder.decode(note.value_json or b"")
            for note in notes
            if note.key != _PAUSED
        },
    )


async def give_order(store: EventStore, projection: str, order: Order) -> str:
    """Give an order to the projector of a projection, wherever it runs; return its key.

    Raises:
        StoreError: The store did not keep it.
    """
    key = _ids.new()
    await store.save_notes(Note(_space(projection), key, msgspec.json.encode(order)))
    return key


async def set_paused(store: EventStore, projection: str, *, is_paused: bool) -> None:
    """Let a projection pause, or go on, wherever it runs.

    Raises:
        StoreError: The store did not keep it.
    """
    value = b"true" if is_paused else None
    await store.save_notes(Note(_space(projection), _PAUSED, value))


def done_note(projection: str, key: str) -> Note:
    """Return the note that an order is carried out."""
    return Note(_space(projection), key, None, projection)
