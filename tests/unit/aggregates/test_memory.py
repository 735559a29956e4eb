"""Memories: there, looked at, gone."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.unit.aggregates.conftest import emitted, given

from backstory import Event
from backstory_aggregates.memory import (
    Memory,
    MemoryDeleted,
    MemoryExpired,
    MemoryNotStoredError,
    MemoryRetrieved,
    MemoryStored,
)

NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)
STORED = (MemoryStored(namespace="talk", key="k", memory_type="note", size=3),)
DELETED = (*STORED, MemoryDeleted())
EXPIRED = (*STORED, MemoryExpired())

COMMANDS: dict[str, Callable[[Memory], None]] = {
    "retrieve": lambda memory: memory.retrieve(),
    "delete": lambda memory: memory.delete(),
    "expire": lambda memory: memory.expire(),
}


@pytest.mark.parametrize("history", [(), STORED, DELETED, EXPIRED])
def test_memory_is_stored_at_any_time(history: tuple[Event, ...]) -> None:
    memory = given(Memory, *history)

    memory.store(namespace="plan", key="k", memory_type="note", size=9, stored_at=NOON)

    assert emitted(memory) == [
        MemoryStored(namespace="plan", key="k", memory_type="note", size=9, stored_at=NOON)
    ]
    assert (memory.status, memory.namespace, memory.size) == ("stored", "plan", 9)


def test_retrieve_counts_and_says_where() -> None:
    memory = given(Memory, *STORED)

    memory.retrieve()
    memory.retrieve(retrieved_at=NOON)

    assert emitted(memory)[-1] == MemoryRetrieved(
        namespace="talk", key="k", access_count=2, retrieved_at=NOON
    )
    assert memory.access_count == 2


def test_delete_and_expire_end_it() -> None:
    deleted, expired = given(Memory, *STORED), given(Memory, *STORED)

    deleted.delete(deleted_at=NOON)
    expired.expire(expires_at=NOON, expired_at=NOON)

    assert emitted(deleted) == [MemoryDeleted(namespace="talk", key="k", deleted_at=NOON)]
    assert emitted(expired) == [
        MemoryExpired(namespace="talk", key="k", expires_at=NOON, expired_at=NOON)
    ]
    assert (deleted.status, expired.status) == ("deleted", "expired")


@pytest.mark.parametrize(
    ("history", "found"),
    [((), "was never stored"), (DELETED, "is deleted"), (EXPIRED, "is expired")],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_memory_that_is_not_there_refuses(
    history: tuple[Event, ...], found: str, command: str
) -> None:
    memory = given(Memory, *history)

    with pytest.raises(MemoryNotStoredError, match=f"{found}, cannot {command} it"):
        COMMANDS[command](memory)

    assert emitted(memory) == []


def test_history_that_breaks_every_rule_is_folded_all_the_same() -> None:
    memory = given(
        Memory,
        MemoryDeleted(),
        MemoryRetrieved(),
        MemoryExpired(),
        MemoryRetrieved(access_count=40),
        MemoryRetrieved(),
        MemoryStored(),
        MemoryStored(key="again"),
    )

    assert (memory.version, memory.status, memory.key) == (7, "stored", "again")
    assert memory.access_count == 41
