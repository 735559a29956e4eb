"""What the tests of aggregates share: histories, and runs as lines."""

import json
from collections.abc import AsyncIterable
from typing import Any, TypeVar

from backstory import Aggregate, Event, EventStore, RecordedEvent
from backstory._aggregate import book_of

A = TypeVar("A", bound=Aggregate)


def given(cls: type[A], *history: Event, id: str = "s/7") -> A:
    """Return an aggregate with a history."""
    aggregate = cls.blank(id)
    for event in history:
        aggregate.emit(event)
    book_of(aggregate).emitted.clear()
    return aggregate


def emitted(aggregate: Aggregate) -> list[Event]:
    """Return what the commands on an aggregate have emitted."""
    return [emitted.event for emitted in book_of(aggregate).emitted]


def line(n: int = 1, type: str = "agent.spawned", **values: Any) -> dict[str, Any]:
    """Return the values of a run line; agent `a`, task `t` or key `k` unless they are said."""
    own = {"agent": "a"} if type.startswith("agent") else {}
    own = {"task": "t"} if type.startswith("task") else own
    own = {"key": "k"} if type.startswith("memory") else own
    empty: dict[str, Any] = {"ts": None, "agent": None, "task": None, "key": None, "data": {}}
    return {"swarm": "s", "n": n, "type": type, **empty, **own, **values}


def to_bytes(*lines: dict[str, Any] | str) -> list[bytes]:
    """Return lines as a file holds them; a text stands for itself."""
    return [
        (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)).encode() + b"\n"
        for one in lines
    ]


async def read_all(store: EventStore) -> list[RecordedEvent]:
    """Return the log of a store."""
    return [recorded async for recorded in store.read_log()]


async def parse_all(lines: AsyncIterable[bytes]) -> list[Any]:
    """Return exported lines as values."""
    return [json.loads(text) async for text in lines]
