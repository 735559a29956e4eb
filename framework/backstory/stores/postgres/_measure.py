"""The statistics of a PostgreSQL store, and what is missing or disabled in its schema."""

import re
from collections.abc import Iterator
from typing import Any, Final

from backstory._clock import from_microseconds
from backstory._statistics import StoreStatistics
from backstory.stores.postgres._database import Db
from backstory.stores.postgres._statement import read_sql, statement

_CREATED: Final = re.compile(
    r"^CREATE (TABLE|FUNCTION|TRIGGER) (?:\{schema\}\.)?(\w+)|^ *(CONSTRAINT) (\w+)", re.MULTILINE
)
_COUNTING: Final = (
    # Going once over the whole log is what a connection for short reads is set against.
    "SET LOCAL enable_seqscan = on",
    "SET LOCAL random_page_cost = 4",
)


def _created() -> Iterator[tuple[str, str]]:
    """Yield kind and name of what the schema migrations create and no store can do without."""
    for script in read_sql("schema").values():
        for kind, name, constraint, constraint_name in _CREATED.findall(script):
            yield (kind or constraint).lower(), name or constraint_name
            if kind == "TABLE":
                yield "constraint", f"{name}_pkey"


_EXPECTED: Final = tuple(_created())
TABLES: Final = tuple(name for kind, name in _EXPECTED if kind == "table")
"""The store's own tables."""


async def measure(db: Db, schema: str) -> StoreStatistics:
    """Return what the store holds; goes once over the log."""
    # All of it as it is at one moment.
    async with db.transaction(isolation="repeatable_read", readonly=True):
        await _prepare_to_count(db)
        types = await db.fetch(statement("count_by_type", schema))
        categories = await db.fetch(statement("count_by_category", schema))
        head, oldest, newest, snapshots, checkpoints = await db.fetchrow(
            statement("read_ends", schema)
        )
        size = await db.fetchval(statement("read_size", schema), schema, TABLES)
    return StoreStatistics(
        event_count=sum(count for _, count in types),
        stream_count=sum(streams for _, _, streams in categories),
        head=head,
        oldest=None if oldest is None else from_microseconds(oldest),
        newest=None if newest is None else from_microseconds(newest),
        events_by_type=dict(map(tuple, types)),
        events_by_category={category: events for category, events, _ in categories},
        streams_by_category={category: streams for category, _, streams in categories},
        snapshot_count=snapshots,
        checkpoint_count=checkpoints,
        size_bytes=size,
    )


async def check_engine(db: Db, schema: str) -> list[str]:
    """Return what the schema lacks, and what in it does not agree with the events."""
    async with db.transaction(isolation="repeatable_read", readonly=True):
        await _prepare_to_count(db)
        kinds, names = zip(*_EXPECTED, strict=True)
        found = await db.fetch(statement("check_schema", schema), schema, kinds, names, TABLES)
        if not found:  # else a table may be missing
            found = await db.fetch(statement("check_saved_state", schema))
    return [row[0] for row in found]


async def _prepare_to_count(db: Any) -> None:
    for setting in _COUNTING:
        await db.execute(setting)
