"""MemoryIndex: what is remembered, where, how large it is, and how often it is looked at."""

import heapq
from datetime import datetime

from msgspec import Struct

from backstory import Projection, RecordedEvent, on
from backstory_aggregates.memory.events import (
    MemoryDeleted,
    MemoryExpired,
    MemoryRetrieved,
    MemoryStored,
)
from backstory_aggregates.swarm.events import split_member_id


class MemoryRow(Struct, kw_only=True):
    """One memory: a key, and what became of it."""

    id: str
    """Its aggregate id."""
    swarm: str | None
    """Its swarm's name; None where it belongs to none."""
    name: str
    """Its id inside the swarm."""
    namespace: str | None = None
    """The part of memory that it lies in."""
    key: str | None = None
    """What it is called there."""
    type: str | None = None
    """Which sort of memory."""
    size: int | None = None
    """How large it is, in bytes; None where that was not said."""
    status: str = "unknown"
    """`stored`, `deleted` or `expired`; `unknown` where it was looked at and never stored."""
    access_count: int = 0
    """How often it was looked at."""
    stored_at: datetime | None = None
    """When it was last stored."""
    last_accessed_at: datetime | None = None
    """When it was last looked at."""
    deleted_at: datetime | None = None
    """When it was deleted or expired; None while it is there."""
    is_deleted: bool = False
    """Whether it was deleted or has expired, and was not stored since."""


class NamespaceUsage(Struct, frozen=True):
    """How a part of memory is used."""

    memory_count: int
    """The memories that it has had."""
    active_count: int
    """Those that are there."""
    total_size: int
    """How large those are together, in bytes, as far as that was said."""
    access_count: int
    """How often memories were looked at."""


class MemoryIndex(Projection, name="memory-index"):
    """Every memory. Queries return the live rows: read them, and change nothing.

    A memory is active when it was stored, and neither deleted nor expired since.
    """

    memories: dict[str, MemoryRow] = {}
    """The memories by id, in the order in which they first appeared."""

    def get_memory(self, memory_id: str) -> MemoryRow | None:
        """Return a memory, or None where no event has named it."""
        return self.memories.get(memory_id)

    def get_all_memories(self, *, swarm: str | None = None) -> list[MemoryRow]:
        """Return the memories of a swarm, or all, in the order in which they first appeared."""
        return [row for row in self.memories.values() if swarm in (None, row.swarm)]

    def get_active_memories(self, *, swarm: str | None = None) -> list[MemoryRow]:
        """Return the memories that are there."""
        return [row for row in self.get_all_memories(swarm=swarm) if row.status == "stored"]

    def get_memories_by_namespace(
        self, namespace: str | None, *, swarm: str | None = None
    ) -> list[MemoryRow]:
        """Return the active memories of a namespace; None for those that lie in none."""
        active = self.get_active_memories(swarm=swarm)
        return [row for row in active if row.namespace == namespace]

    def get_most_accessed_memories(
        self, limit: int = 10, *, swarm: str | None = None
    ) -> list[MemoryRow]:
        """Return at most `limit` active memories, the one that was looked at most often first."""
        active = self.get_active_memories(swarm=swarm)
        return heapq.nsmallest(limit, active, key=lambda row: (-row.access_count, row.id))

    def get_total_size_by_namespace(self, *, swarm: str | None = None) -> dict[str | None, int]:
        """Return how large the active memories of each namespace are together, in bytes.

        Memories that lie in no namespace are under None; those of unknown size count nothing.
        """
        usage = self.get_usage_by_namespace(swarm=swarm)
        return {namespace: used.total_size for namespace, used in usage.items()}

    def get_usage_by_namespace(
        self, *, swarm: str | None = None
    ) -> dict[str | None, NamespaceUsage]:
        """Return how each namespace is used; None stands for memories that lie in none."""
        rows: dict[str | None, list[MemoryRow]] = {}
        for row in self.get_all_memories(swarm=swarm):
            rows.setdefault(row.namespace, []).append(row)
        return {namespace: _usage(rows[namespace]) for namespace in rows}

    def get_hot_memories(self, since: datetime, *, swarm: str | None = None) -> list[MemoryRow]:
        """Return the active memories that were looked at since a time, which is included."""
        active = self.get_active_memories(swarm=swarm)
        return [row for row in active if row.last_accessed_at and row.last_accessed_at >= since]

    def get_cold_memories(self, since: datetime, *, swarm: str | None = None) -> list[MemoryRow]:
        """Return the active memories that were not looked at since a time."""
        active = self.get_active_memories(swarm=swarm)
        return [row for row in active if not row.last_accessed_at or row.last_accessed_at < since]

    @on(MemoryStored)
    def _stored(self, event: MemoryStored, recorded: RecordedEvent) -> None:
        row = self._row(event, recorded)
        row.type, row.size = event.memory_type, event.size
        row.stored_at = event.stored_at or recorded.recorded_at
        row.status, row.is_deleted, row.deleted_at = "stored", False, None

    @on(MemoryRetrieved)
    def _retrieved(self, event: MemoryRetrieved, recorded: RecordedEvent) -> None:
        row = self._row(event, recorded)
        count = row.access_count + 1
        row.access_count = count if event.access_count is None else event.access_count
        row.last_accessed_at = event.retrieved_at or recorded.recorded_at

    @on(MemoryDeleted)
    def _deleted(self, event: MemoryDeleted, recorded: RecordedEvent) -> None:
        row = self._row(event, recorded)
        row.deleted_at = event.deleted_at or recorded.recorded_at
        row.status, row.is_deleted = "deleted", True

    @on(MemoryExpired)
    def _expired(self, event: MemoryExpired, recorded: RecordedEvent) -> None:
        row = self._row(event, recorded)
        row.deleted_at = event.expired_at or recorded.recorded_at
        row.status, row.is_deleted = "expired", True

    def _row(
        self,
        event: MemoryStored | MemoryRetrieved | MemoryDeleted | MemoryExpired,
        recorded: RecordedEvent,
    ) -> MemoryRow:
        row = self.memories.get(recorded.id)
        if row is None:
            swarm, name = split_member_id(recorded.id)
            row = self.memories[recorded.id] = MemoryRow(id=recorded.id, swarm=swarm, name=name)
        row.namespace = row.namespace if event.namespace is None else event.namespace
        row.key = row.key if event.key is None else event.key
        return row


def _usage(rows: list[MemoryRow]) -> NamespaceUsage:
    active = [row for row in rows if row.status == "stored"]
    return NamespaceUsage(
        memory_count=len(rows),
        active_count=len(active),
        total_size=sum(row.size or 0 for row in active),
        access_count=sum(row.access_count for row in rows),
    )
