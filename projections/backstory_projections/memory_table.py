"""MemoryTable: what is remembered, where, and how often it is looked at, in tables."""

from datetime import datetime
from typing import Any, Final

import msgspec

from backstory import RecordedEvent, SQLValue, TableProjection, on
from backstory_aggregates.memory.events import (
    MemoryDeleted,
    MemoryExpired,
    MemoryRetrieved,
    MemoryStored,
)
from backstory_aggregates.swarm.events import split_member_id
from backstory_projections._columns import time_value, values_of
from backstory_projections._selection import Selection, check_limit, page_query
from backstory_projections.memory_index import MemoryRow, NamespaceUsage

_MEMORIES: Final = Selection("memories")


class MemoryTable(TableProjection, name="memory-table"):
    """Every memory: `MemoryIndex` in a table of the store.

    The rows are the same, in the order in which the memories first appeared, and come in pages: at
    most `limit` rows, from 1 to 10,000, behind the one whose id is `after`. A memory is active when
    it was stored, and neither deleted nor expired since.

    Its table `memories` has a row for each memory.

    All queries raise `StoreUnavailableError` where the store does not answer, and those with pages
    `InvalidInputError` for a limit that is outside its limits or an id that no row has.
    """

    schema = (
        """
        CREATE TABLE {memories} (
            id TEXT NOT NULL PRIMARY KEY,
            first_position BIGINT NOT NULL,
            swarm TEXT,
            name TEXT NOT NULL,
            namespace TEXT,
            key TEXT,
            type TEXT,
            size BIGINT,
            status TEXT NOT NULL DEFAULT 'unknown',
            access_count BIGINT NOT NULL DEFAULT 0,
            stored_at BIGINT,
            last_accessed_at BIGINT,
            deleted_at BIGINT,
            is_deleted SMALLINT NOT NULL DEFAULT 0
        )
        """,
        "CREATE INDEX {memories}_all ON {memories} (first_position)",
        "CREATE INDEX {memories}_swarm ON {memories} (swarm, first_position)",
        # The time is in them so that hot and cold memories are told apart inside the index.
        """
        CREATE INDEX {memories}_active ON {memories} (first_position, last_accessed_at)
        WHERE status = 'stored'
        """,
        """
        CREATE INDEX {memories}_swarm_active
        ON {memories} (swarm, first_position, last_accessed_at) WHERE status = 'stored'
        """,
        "CREATE INDEX {memories}_namespace ON {memories} (namespace, status, first_position)",
        """
        CREATE INDEX {memories}_swarm_namespace
        ON {memories} (swarm, namespace, status, first_position)
        """,
        """
        CREATE INDEX {memories}_accesses ON {memories} (access_count DESC, id)
        WHERE status = 'stored'
        """,
        """
        CREATE INDEX {memories}_swarm_accesses ON {memories} (swarm, access_count DESC, id)
        WHERE status = 'stored'
        """,
    )

    async def get_memory(self, memory_id: str) -> MemoryRow | None:
        """Return a memory, or None where no event has named it."""
        rows = await self._rows(_MEMORIES.where("id = ?", memory_id), 1, None)
        return rows[0] if rows else None

    async def get_all_memories(
        self, *, swarm: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[MemoryRow]:
        """Return a page of the memories of a swarm, or of all."""
        return await self._rows(_MEMORIES.in_swarm(swarm), limit, after)

    async def get_active_memories(
        self, *, swarm: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[MemoryRow]:
        """Return a page of the memories that are there."""
        return await self._rows(_active(swarm), limit, after)

    async def get_memories_by_namespace(
        self,
        namespace: str | None,
        *,
        swarm: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[MemoryRow]:
        """Return a page of the active memories of a namespace; None for those that lie in none."""
        active = _active(swarm)
        if namespace is None:
            active = active.where("namespace IS NULL")
        else:
            active = active.where("namespace = ?", namespace)
        return await self._rows(active, limit, after)

    async def get_most_accessed_memories(
        self, limit: int = 10, *, swarm: str | None = None
    ) -> list[MemoryRow]:
        """Return at most `limit` active memories, the one that was looked at most often first."""
        check_limit(limit)
        active = _active(swarm)
        place = len(active.parameters) + 1
        most = active.select("*", f"ORDER BY access_count DESC, id LIMIT ${place}")
        return await self._read(most, *active.parameters, limit)

    async def get_total_size_by_namespace(
        self, *, swarm: str | None = None
    ) -> dict[str | None, int]:
        """Return how large the active memories of each namespace are together, in bytes.

        Memories that lie in no namespace are under None; those of unknown size count nothing.
        """
        usage = await self.get_usage_by_namespace(swarm=swarm)
        return {namespace: used.total_size for namespace, used in usage.items()}

    async def get_usage_by_namespace(
        self, *, swarm: str | None = None
    ) -> dict[str | None, NamespaceUsage]:
        """Return how each namespace is used; None stands for memories that lie in none."""
        memories = _MEMORIES.in_swarm(swarm)
        # A sum of integers that needs more than 64 bits is refused; these are exact up to 2**53.
        usage = memories.select(
            "namespace, count(*), sum(CASE WHEN status = 'stored' THEN 1 ELSE 0 END), "
            "sum(CASE WHEN status = 'stored' THEN CAST(size AS DOUBLE PRECISION) END), "
            "sum(CAST(access_count AS DOUBLE PRECISION))",
            "GROUP BY namespace",
        )
        found = await self.read_rows(usage, *memories.parameters)
        return {
            namespace: NamespaceUsage(*(int(total or 0) for total in totals))
            for namespace, *totals in found
        }

    async def get_hot_memories(
        self,
        since: datetime,
        *,
        swarm: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[MemoryRow]:
        """Return a page of the active memories that were looked at since a time, or just then."""
        hot = _active(swarm).where("last_accessed_at >= ?", time_value(since))
        return await self._rows(hot, limit, after)

    async def get_cold_memories(
        self,
        since: datetime,
        *,
        swarm: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[MemoryRow]:
        """Return a page of the active memories that were not looked at since a time."""
        cold = _active(swarm).where(
            "(last_accessed_at IS NULL OR last_accessed_at < ?)", time_value(since)
        )
        return await self._rows(cold, limit, after)

    async def _rows(self, memories: Selection, limit: int, after: str | None) -> list[MemoryRow]:
        page = await page_query(self, memories, limit=limit, after=after)
        return await self._read(page.sql, *page.parameters)

    async def _read(self, sql: str, *parameters: SQLValue) -> list[MemoryRow]:
        lines = await self.read(dict[str, Any], sql, *parameters)
        return [msgspec.convert(values_of(line), MemoryRow) for line in lines]

    @on(MemoryStored)
    def _stored(self, event: MemoryStored, recorded: RecordedEvent) -> None:
        self._name(event, recorded)
        self.execute(
            "UPDATE {memories} SET type = $2, size = $3, stored_at = $4, status = 'stored', "
            "is_deleted = 0, deleted_at = NULL WHERE id = $1",
            *(recorded.id, event.memory_type, event.size),
            time_value(event.stored_at or recorded.recorded_at),
        )

    @on(MemoryRetrieved)
    def _retrieved(self, event: MemoryRetrieved, recorded: RecordedEvent) -> None:
        self._name(event, recorded)
        self.execute(
            "UPDATE {memories} SET access_count = coalesce($2, access_count + 1), "
            "last_accessed_at = $3 WHERE id = $1",
            *(recorded.id, event.access_count),
            time_value(event.retrieved_at or recorded.recorded_at),
        )

    @on(MemoryDeleted)
    def _deleted(self, event: MemoryDeleted, recorded: RecordedEvent) -> None:
        self._name(event, recorded)
        self._drop(recorded, "deleted", event.deleted_at)

    @on(MemoryExpired)
    def _expired(self, event: MemoryExpired, recorded: RecordedEvent) -> None:
        self._name(event, recorded)
        self._drop(recorded, "expired", event.expired_at)

    def _drop(self, recorded: RecordedEvent, status: str, moment: datetime | None) -> None:
        self.execute(
            "UPDATE {memories} SET status = $2, is_deleted = 1, deleted_at = $3 WHERE id = $1",
            *(recorded.id, status, time_value(moment or recorded.recorded_at)),
        )

    def _name(
        self,
        event: MemoryStored | MemoryRetrieved | MemoryDeleted | MemoryExpired,
        recorded: RecordedEvent,
    ) -> None:
        """Say that the memory of an event has a row, and where it lies if that was said."""
        swarm, name = split_member_id(recorded.id)
        self.execute(
            "INSERT INTO {memories} (id, first_position, swarm, name, namespace, key) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET "
            "namespace = coalesce(excluded.namespace, {memories}.namespace), "
            "key = coalesce(excluded.key, {memories}.key)",
            *(recorded.id, recorded.position, swarm, name, event.namespace, event.key),
        )


def _active(swarm: str | None) -> Selection:
    # Written out, since an index of active memories serves no query that might mean others.
    return _MEMORIES.in_swarm(swarm).where("status = 'stored'")
