"""A new generation of tables: begun, shown in the place of the one before it."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from backstory._generations import (
    Generation,
    Generations,
    generations_note,
    load_generations,
    tables_fingerprint,
)
from backstory._keeper import TableKeeper
from backstory._progress import Note
from backstory._store import EventStore
from backstory._table_projection import TableProjection, creation, hiding, removal, showing


async def begin_generation(
    store: EventStore, projection: type[TableProjection], name: str, generations: Generations
) -> Generation:
    """Return the generation that is being built for a class; begin it where there is none.

    Args:
        store: Where the tables are.
        projection: The class.
        name: What the checkpoint of the build is called.
        generations: What there is.

    Raises:
        TableStatementError: The schema is refused.
        CheckpointMovedError: Another projector runs the projection.
        StoreError: The store did not do it.
    """
    building, fingerprint = generations.building, tables_fingerprint(projection)
    before = await store.load_checkpoint(name)
    # Without its checkpoint nobody knows how far a build has come: its tables are filled to there.
    is_known = before is not None and before.fingerprint == fingerprint
    if building is not None and building.fingerprint == fingerprint and is_known:
        return building
    others = (*generations.stale, generations.serving, building)
    number = max((one.number for one in others if one is not None), default=0) + 1
    new = Generation(number, fingerprint, tuple(projection.tables))
    stale = (*generations.stale, *([] if building is None else [building]))
    after = replace(generations, building=new, stale=stale)
    note = generations_note(projection.projection_name, after)
    keeper = TableKeeper(store, projection, name, new)
    keeper.kept_position = 0 if before is None else before.position
    await keeper.save(creation(projection, number), [note])
    return new


async def show(building: TableKeeper[Any], notes: Sequence[Note]) -> TableKeeper[Any]:
    """Let the views show what was built, and keep its position as the projection's, in one.

    Raises:
        CheckpointMovedError: Another projector runs the projection.
        StoreError: The store did not do it.
    """
    store, cls, new = building.store, building.projection, building.generation
    name = cls.projection_name
    generations = await load_generations(store, name)
    before = generations.serving
    checkpoint = await store.load_checkpoint(name)
    keeper: TableKeeper[Any] = TableKeeper(store, cls, name, new)
    keeper.position = building.position
    keeper.kept_position = 0 if checkpoint is None else checkpoint.position
    stale = (*generations.stale, *([] if before is None else [before]))
    after = Generations(serving=new, building=None, stale=stale)
    gone = () if before is None else sorted(set(before.tables) - set(new.tables))
    changes = [*hiding(name, gone), *showing(name, new.tables, new.number)]
    await keeper.save(changes, [*notes, generations_note(name, after)])
    await remove_stale(keeper, after)
    return keeper


async def remove_stale(keeper: TableKeeper[Any], generations: Generations) -> None:
    """Remove the tables of generations that serve no more.

    Raises:
        StoreError: The store did not do it.
    """
    if not generations.stale:
        return
    name = keeper.projection.projection_name
    changes = [
        change for one in generations.stale for change in removal(name, one.tables, one.number)
    ]
    note = generations_note(name, replace(generations, stale=()))
    await keeper.save(changes, [note])
