"""What a store holds, in numbers."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct


class StoreStatistics(Struct, frozen=True, kw_only=True):
    """What a store holds, in numbers that agree with each other."""

    event_count: int
    """Events."""
    stream_count: int
    """Streams."""
    head: int
    """The last position of the log; 0 when it is empty."""
    oldest: datetime | None
    """When the first event of the log was recorded; None when there is none."""
    newest: datetime | None
    """When the last event of the log was recorded; None when there is none."""
    events_by_type: Mapping[str, int]
    """Events of each type, the types in order."""
    events_by_category: Mapping[str, int]
    """Events of each category, the categories in order."""
    streams_by_category: Mapping[str, int]
    """Streams of each category, likewise."""
    snapshot_count: int
    """Snapshots that are kept."""
    checkpoint_count: int
    """Checkpoints that are kept."""
    size_bytes: int
    """What all of it takes: on the disk, or, for a store in memory, the data and metadata."""
