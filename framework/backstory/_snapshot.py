"""Snapshots and checkpoints: saved state, which is a cache and always safe to delete.

Each carries a fingerprint of the class that made it. It is compared before anything is decoded; one
that differs is ignored, and the state is folded from the events again.
"""

from typing import Final

from msgspec import Struct

SNAPSHOT_COUNT_MAX: Final = 10
"""A store keeps so many snapshots of a stream, the newest; a state that grows with its stream would
otherwise fill it."""


class Snapshot(Struct, frozen=True):
    """The state of one aggregate at one version."""

    stream_id: str
    """The aggregate's stream."""
    version: int
    """The last event that the state has seen."""
    fingerprint: str
    """What the state's class was like; a snapshot of another is ignored."""
    state_json: bytes
    """The state's fields, as JSON."""


class Checkpoint(Struct, frozen=True):
    """How far a projection has come, together with the read model it has there.

    The two are one record, so that neither can be kept without the other.
    """

    projection: str
    """The projection's name."""
    position: int
    """The last event that the read model has seen or passed over."""
    fingerprint: str
    """What the projection's class was like; a checkpoint of another is ignored."""
    model_json: bytes
    """The read model's fields, as JSON."""
