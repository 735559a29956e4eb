"""The memory: something that was put away under a key, and may be gone.

    new ── store ──▶ stored ── delete ──▶ deleted
                     │ ▲  ▲                  │
                     │ └──┴──── store ───────┤
                     └── expire ──▶ expired ─┘

Storing again is allowed at any time: it replaces what was there.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from backstory import Aggregate, DomainError, on
from backstory_aggregates.memory.events import (
    MemoryDeleted,
    MemoryExpired,
    MemoryRetrieved,
    MemoryStored,
)

MemoryStatus = Literal["new", "stored", "deleted", "expired"]
"""Whether a memory is there."""


class MemoryRefusedError(DomainError):
    """A memory refused a command."""


class MemoryNotStoredError(MemoryRefusedError):
    """The memory is not there, or no longer."""

    def __init__(self, *, memory_id: str, status: str, command: str) -> None:
        found = "was never stored" if status == "new" else f"is {status}"
        super().__init__(f"memory {memory_id!r} {found}, cannot {command} it; store it first")
        self.memory_id = memory_id
        """The memory."""
        self.status = status
        """What became of it."""
        self.command = command
        """What was asked of it."""


class Memory(Aggregate, category="memory"):
    """Something that a swarm remembers."""

    namespace: str | None = None
    """The part of memory that it lies in."""
    key: str | None = None
    """What it is called there."""
    memory_type: str | None = None
    """Which sort of memory."""
    size: int | None = None
    """How large it is, in bytes."""
    status: MemoryStatus = "new"
    """Whether it is there."""
    access_count: int = 0
    """How often it was retrieved."""

    def store(
        self,
        *,
        namespace: str | None = None,
        key: str | None = None,
        memory_type: str | None = None,
        size: int | None = None,
        stored_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Put it into memory, in place of what is there.

        Args:
            namespace: The part of memory that it lies in.
            key: What it is called there.
            memory_type: Which sort of memory.
            size: How large it is, in bytes.
            stored_at: When.
            details: Whatever else there is to say, such as its value.
        """
        self.emit(
            MemoryStored(
                namespace=namespace,
                key=key,
                memory_type=memory_type,
                size=size,
                stored_at=stored_at,
                details=dict(details or {}),
            )
        )

    def retrieve(
        self, *, retrieved_at: datetime | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        """Look at it.

        Raises:
            MemoryNotStoredError: It is not there.
        """
        self._check_stored("retrieve")
        self.emit(
            MemoryRetrieved(
                namespace=self.namespace,
                key=self.key,
                access_count=self.access_count + 1,
                retrieved_at=retrieved_at,
                details=dict(details or {}),
            )
        )

    def delete(
        self, *, deleted_at: datetime | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        """Remove it.

        Raises:
            MemoryNotStoredError: It is not there.
        """
        self._check_stored("delete")
        self.emit(
            MemoryDeleted(
                namespace=self.namespace,
                key=self.key,
                deleted_at=deleted_at,
                details=dict(details or {}),
            )
        )

    def expire(
        self,
        *,
        expires_at: datetime | None = None,
        expired_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that its time is over.

        Args:
            expires_at: When its time was to be over.
            expired_at: When it was.
            details: Whatever else there is to say.

        Raises:
            MemoryNotStoredError: It is not there.
        """
        self._check_stored("expire")
        self.emit(
            MemoryExpired(
                namespace=self.namespace,
                key=self.key,
                expires_at=expires_at,
                expired_at=expired_at,
                details=dict(details or {}),
            )
        )

    def _check_stored(self, command: str) -> None:
        if self.status != "stored":
            raise MemoryNotStoredError(memory_id=self.id, status=self.status, command=command)

    @on(MemoryStored)
    def _stored(self, event: MemoryStored) -> None:
        self.namespace, self.key = event.namespace, event.key
        self.memory_type, self.size = event.memory_type, event.size
        self.status = "stored"

    @on(MemoryRetrieved)
    def _retrieved(self, event: MemoryRetrieved) -> None:
        count = self.access_count + 1
        self.access_count = count if event.access_count is None else event.access_count

    @on(MemoryDeleted)
    def _deleted(self, event: MemoryDeleted) -> None:
        self.status = "deleted"

    @on(MemoryExpired)
    def _expired(self, event: MemoryExpired) -> None:
        self.status = "expired"
