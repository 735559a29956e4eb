"""Snapshots and checkpoints: saved state, which is a cache and always safe to delete.

Each carries a fingerprint of the class that made it. It is compared before anything is decoded; one
that differs is ignored, and the state is folded from the events again.
"""

import hashlib
from typing import Any, Final, cast

import msgspec
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


def fingerprint_of(cls: type[Any]) -> str:
    """Return what saved states of a class must agree with: its fields' names, types and defaults,
    the types it handles, and its `revision`.

    It does not see a change inside a handler; that is what `revision` is for.
    """  # noqa: D205 - the sentence is longer than a line
    shape = [
        (field.name, _shape(field.type), _name(field.default), _name(field.default_factory))
        for field in msgspec.structs.fields(cls)
    ]
    text = repr((cls.__qualname__, cls.revision, shape, sorted(cls.handlers)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _name(value: object) -> object:
    """Return what is the same for a value in every process, where its repr is not."""
    if callable(value):
        # By its name: the repr of a function holds its address.
        module = getattr(value, "__module__", "")
        return f"{module}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    if isinstance(value, set | frozenset):
        # In one order: that of a set changes with the hashes of the process.
        return sorted(repr(_name(item)) for item in cast("set[object]", value))
    return repr(value)


def _shape(annotation: Any) -> str:
    # The schema goes into nested structs, so that a change two levels down is noticed too.
    try:
        return repr(msgspec.json.schema(annotation))
    except TypeError:
        return repr(annotation)
