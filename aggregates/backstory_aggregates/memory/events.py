"""What happens to memories: the published language of `memory-…` streams.

Every event has `details` for whatever else was recorded, and says when it happened, as far as
anybody said so. When the store accepted it is `recorded_at`, and not the same.
"""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from backstory import Event

Moment = Annotated[datetime, Meta(tz=True)]
"""A time with a zone; one without would mean something else on every machine."""


class MemoryStored(Event, type="memory:stored"):
    """Something was put into memory, or put there anew."""

    namespace: str | None = None
    """The part of memory that it lies in."""
    key: str | None = None
    """What it is called there."""
    memory_type: str | None = None
    """Which sort of memory."""
    size: int | None = None
    """How large it is, in bytes."""
    stored_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class MemoryRetrieved(Event, type="memory:retrieved"):
    """A memory was looked at, or at least looked for."""

    namespace: str | None = None
    """The part of memory that it lies in."""
    key: str | None = None
    """What it is called there."""
    access_count: int | None = None
    """How often it has been looked at, this time included."""
    retrieved_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class MemoryDeleted(Event, type="memory:deleted"):
    """A memory was removed on purpose."""

    namespace: str | None = None
    """The part of memory that it lay in."""
    key: str | None = None
    """What it was called there."""
    deleted_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class MemoryExpired(Event, type="memory:expired"):
    """A memory's time was over."""

    namespace: str | None = None
    """The part of memory that it lay in."""
    key: str | None = None
    """What it was called there."""
    expires_at: Moment | None = None
    """When its time was to be over."""
    expired_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""
