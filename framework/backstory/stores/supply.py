"""What a store of one's own is built from: the judge of appends, and what it is asked with.

A `commit` fetches, inside one transaction of its engine, what `settle` wants to know, asks it, and
writes what it answers. So the rules of versions, conditions and repetitions are the same on every
store. All of this may change in minor releases until 1.0.
"""

from backstory._commit import (
    EMPTY_LOG,
    EMPTY_STREAM,
    CommittedEvent,
    LogHead,
    Settlement,
    StreamHead,
    event_hash,
    log_digest,
    settle,
)

__all__ = [
    "EMPTY_LOG",
    "EMPTY_STREAM",
    "CommittedEvent",
    "LogHead",
    "Settlement",
    "StreamHead",
    "event_hash",
    "log_digest",
    "settle",
]
