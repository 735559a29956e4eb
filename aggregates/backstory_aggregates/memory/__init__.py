"""Memories: what a swarm remembers."""

from backstory_aggregates.memory.aggregate import (
    Memory,
    MemoryNotStoredError,
    MemoryRefusedError,
)
from backstory_aggregates.memory.events import (
    MemoryDeleted,
    MemoryExpired,
    MemoryRetrieved,
    MemoryStored,
)

__all__ = [
    "Memory",
    "MemoryDeleted",
    "MemoryExpired",
    "MemoryNotStoredError",
    "MemoryRefusedError",
    "MemoryRetrieved",
    "MemoryStored",
]
