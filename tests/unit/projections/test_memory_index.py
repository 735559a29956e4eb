"""MemoryIndex: what is remembered, where, how large it is, how often it is looked at."""

import pytest
from tests.unit.projections.conftest import fold, minutes

from backstory import Event
from backstory_aggregates.memory.events import (
    MemoryDeleted,
    MemoryExpired,
    MemoryRetrieved,
    MemoryStored,
)
from backstory_projections import MemoryIndex, MemoryRow, NamespaceUsage

pytestmark = pytest.mark.anyio


def memory(event: Event, id: str = "s/k") -> tuple[str, Event]:
    return f"memory-{id}", event


def row_of(index: MemoryIndex, memory_id: str = "s/k") -> MemoryRow:
    row = index.get_memory(memory_id)
    assert row is not None
    return row


async def test_life_of_a_memory_fills_its_row() -> None:
    index = await fold(
        MemoryIndex,
        memory(MemoryStored(namespace="talk", key="k", memory_type="note", size=3)),
        memory(MemoryRetrieved()),
        memory(MemoryRetrieved()),
        memory(MemoryDeleted()),
    )

    assert row_of(index) == MemoryRow(
        id="s/k",
        swarm="s",
        name="k",
        namespace="talk",
        key="k",
        type="note",
        size=3,
        status="deleted",
        access_count=2,
        stored_at=minutes(0),
        last_accessed_at=minutes(2),
        deleted_at=minutes(3),
        is_deleted=True,
    )


async def test_active_memories_are_stored_and_neither_deleted_nor_expired_since() -> None:
    index = await fold(
        MemoryIndex,
        *[memory(MemoryStored(), f"s/{name}") for name in "abcd"],
        memory(MemoryDeleted(), "s/a"),
        memory(MemoryExpired(), "s/b"),
        memory(MemoryDeleted(), "s/c"),
        memory(MemoryStored(), "s/c"),
        memory(MemoryStored(), "other/e"),
        memory(MemoryDeleted(), "s/never-stored"),
        memory(MemoryRetrieved(), "s/only-looked-for"),
    )

    assert [row.name for row in index.get_active_memories(swarm="s")] == ["c", "d"]
    assert len(index.get_active_memories()) == 3
    assert len(index.get_all_memories()) == 7
    assert row_of(index, "s/c").deleted_at is None
    assert (row_of(index, "s/b").status, row_of(index, "s/b").is_deleted) == ("expired", True)
    assert row_of(index, "s/never-stored").is_deleted
    assert row_of(index, "s/only-looked-for").status == "unknown"


async def test_said_access_count_goes_before_the_counted_one() -> None:
    index = await fold(
        MemoryIndex, memory(MemoryRetrieved(access_count=40)), memory(MemoryRetrieved())
    )

    assert row_of(index).access_count == 41


async def test_most_accessed_memories_come_first_and_ties_by_id() -> None:
    index = await fold(
        MemoryIndex,
        *[memory(MemoryStored(), f"s/{name}") for name in "dcba"],
        memory(MemoryRetrieved(), "s/c"),
        memory(MemoryRetrieved(), "s/b"),
        memory(MemoryRetrieved(), "s/b"),
        memory(MemoryRetrieved(access_count=9), "s/never-stored"),
        memory(MemoryStored(), "other/e"),
    )

    assert [row.name for row in index.get_most_accessed_memories(3)] == ["b", "c", "e"]
    assert [row.name for row in index.get_most_accessed_memories(9, swarm="s")] == list("bcad")
    assert index.get_most_accessed_memories(0) == []


async def test_namespaces_are_told_apart() -> None:
    index = await fold(
        MemoryIndex,
        memory(MemoryStored(namespace="talk", size=3), "s/a"),
        memory(MemoryStored(namespace="talk", size=4), "s/b"),
        memory(MemoryStored(namespace="talk", size=100), "s/c"),
        memory(MemoryDeleted(), "s/c"),
        memory(MemoryStored(namespace="plan"), "s/d"),
        memory(MemoryRetrieved(), "s/d"),
        memory(MemoryStored(size=7), "s/e"),
    )

    assert [row.name for row in index.get_memories_by_namespace("talk")] == ["a", "b"]
    assert [row.name for row in index.get_memories_by_namespace(None)] == ["e"]
    assert index.get_total_size_by_namespace() == {"talk": 7, "plan": 0, None: 7}
    assert index.get_total_size_by_namespace(swarm="other") == {}
    assert index.get_usage_by_namespace()["talk"] == NamespaceUsage(3, 2, 7, 0)
    assert index.get_usage_by_namespace()["plan"] == NamespaceUsage(1, 1, 0, 1)


async def test_hot_memories_were_looked_at_lately_and_cold_ones_not() -> None:
    index = await fold(
        MemoryIndex,
        *[memory(MemoryStored(), f"s/{name}") for name in "abc"],
        memory(MemoryRetrieved(retrieved_at=minutes(10)), "s/a"),
        memory(MemoryRetrieved(retrieved_at=minutes(9)), "s/b"),
    )

    assert [row.name for row in index.get_hot_memories(minutes(10))] == ["a"]
    assert [row.name for row in index.get_cold_memories(minutes(10))] == ["b", "c"]
    assert index.get_cold_memories(minutes(10), swarm="other") == []
