"""Backstory: asyncio event sourcing for systems of AI agents.

Aggregates decide, and emit domain events into a versioned stream each; projections follow the log
and keep read models; everything can be replayed from any version. The names stand in the order in
which one meets them.
"""

# ruff: noqa: I001, RUF022 - the imports and __all__ are a table of contents, in teaching order

# Facts
from backstory._events import Event, Metadata, RawEvent
from backstory._upcasting import Upcaster
from backstory._recorded import NewEvent, RecordedEvent
from backstory._ids import IdSource, derive_event_id, stream_id_of
from backstory._clock import Clock

# Deciding and reading
from backstory._aggregate import Aggregate
from backstory._decision import Decision
from backstory._projection import OnFailure, Projection
from backstory._table_projection import TableProjection
from backstory._handlers import on

# The way in
from backstory._app import Backstory
from backstory._blocking import BlockingBackstory, BlockingScope
from backstory._repository import Repository, Scope
from backstory._snapshots import Snapshots
from backstory._filter import EventFilter, FilterItem, where
from backstory._subscription import Subscription, SubscriptionState
from backstory._projections import ProjectionInfo, Projections
from backstory._parking import ParkedEvent
from backstory._orders import Order, OrderKind, Orders
from backstory._registry import ProjectionRecord, ProjectionStatus, ProjectorState
from backstory._fold import fold_log

# Public as `backstory.open`, and not in __all__: so `from backstory import *` leaves Python's own
# `open` alone.
from backstory._blocking import open as open  # noqa: A004 - nobody imports the name by itself

# Stores
from backstory._store_url import StoreURL, store_of
from backstory._statistics import StoreStatistics
from backstory._store import (
    EventPage,
    EventStore,
    LogSeal,
    SealedEvent,
    StoreCapabilities,
    StreamInfo,
)
from backstory._migration import SchemaMigration
from backstory._pages import LogRead, Page, StreamRead
from backstory._versions import ANY, NO_STREAM, STREAM_EXISTS, ExpectedVersion
from backstory._commit import AppendCondition, Batch, Durability, Receipt, StreamAppend
from backstory._snapshot import Checkpoint, Snapshot
from backstory._progress import Note, Progress, SQLValue, TableChange, TableRows

# Errors
from backstory._errors import (
    BackstoryError,
    CheckpointMovedError,
    CodecError,
    ConditionConflictError,
    ConfigurationError,
    ConflictError,
    CorruptLogError,
    DecodeError,
    DomainError,
    DuplicateEventError,
    EncodeError,
    InvalidInputError,
    ProjectionBehindError,
    ProjectionError,
    ProjectionFailedError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
    StreamNotFoundError,
    TableStatementError,
    UnknownEventTypeError,
    VersionConflictError,
)

__all__ = [
    # Facts
    "Event",
    "Metadata",
    "RawEvent",
    "Upcaster",
    "NewEvent",
    "RecordedEvent",
    "IdSource",
    "derive_event_id",
    "stream_id_of",
    "Clock",
    # Deciding and reading
    "Aggregate",
    "Decision",
    "Projection",
    "TableProjection",
    "OnFailure",
    "on",
    # The way in
    "Backstory",
    "BlockingBackstory",
    "BlockingScope",
    "Repository",
    "Scope",
    "Snapshots",
    "EventFilter",
    "FilterItem",
    "where",
    "Subscription",
    "SubscriptionState",
    "Projections",
    "ProjectionInfo",
    "ProjectionStatus",
    "ProjectorState",
    "ParkedEvent",
    "Order",
    "OrderKind",
    "Orders",
    "ProjectionRecord",
    "fold_log",
    # Stores
    "StoreURL",
    "store_of",
    "EventPage",
    "EventStore",
    "StoreCapabilities",
    "StoreStatistics",
    "StreamInfo",
    "StreamRead",
    "SealedEvent",
    "LogSeal",
    "SchemaMigration",
    "LogRead",
    "Page",
    "ANY",
    "NO_STREAM",
    "STREAM_EXISTS",
    "ExpectedVersion",
    "Durability",
    "Receipt",
    "StreamAppend",
    "AppendCondition",
    "Batch",
    "Checkpoint",
    "Snapshot",
    "Progress",
    "Note",
    "TableChange",
    "TableRows",
    "SQLValue",
    # Errors
    "BackstoryError",
    "CheckpointMovedError",
    "CodecError",
    "ConditionConflictError",
    "ConfigurationError",
    "ConflictError",
    "CorruptLogError",
    "DecodeError",
    "DomainError",
    "DuplicateEventError",
    "EncodeError",
    "InvalidInputError",
    "ProjectionBehindError",
    "ProjectionError",
    "ProjectionFailedError",
    "StoreClosedError",
    "StoreError",
    "StoreUnavailableError",
    "StreamNotFoundError",
    "TableStatementError",
    "UnknownEventTypeError",
    "VersionConflictError",
]
