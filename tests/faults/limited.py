"""Uses an SQLite store while the system gives less than it wants; then it gets enough, and goes on.

    limited.py PATH file-size|files|memory AMOUNT

It appends until it is refused, a few times over, and reads; then the limit is lifted, and it
appends once more, with the same store. At the end it writes one line that says how it went.
"""

import json
import resource
import sys
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio

from backstory import ANY, BackstoryError, Event, EventStore, NewEvent
from backstory.stores.sqlite import SQLiteStore

APPEND_COUNT = {"file-size": 500, "files": 100, "memory": 40}
SIZE = {"file-size": 2_000, "files": 2_000, "memory": 900_000}
REFUSED_COUNT_MAX = 6
"""More than there are connections to read with: none may be lost to an error."""


class Filled(Event, type="fault:filled"):
    """Something took space."""

    padding: str


@contextmanager
def limit(kind: int, amount: int) -> Generator[None]:
    """Lower a limit of this process, and lift it again."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@contextmanager
def limited(kind: str, amount: int, path: Path) -> Generator[None]:
    """Let this process have little of something."""
    with ExitStack() as limits:
        match kind:
            case "file-size":
                size = max(file.stat().st_size for file in path.parent.iterdir())
                limits.enter_context(limit(resource.RLIMIT_FSIZE, size + amount))
            case "files":
                limits.enter_context(limit(resource.RLIMIT_NOFILE, amount))
                for _ in range(amount):
                    try:
                        limits.enter_context(path.open("rb"))
                    except OSError:
                        break
            case _:
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                size = pages * resource.getpagesize() + amount
                limits.enter_context(limit(resource.RLIMIT_AS, size))
        yield


def new(size: int) -> list[NewEvent]:
    return [NewEvent.of(Filled(padding="x" * size), event_id=uuid.uuid4()) for _ in range(3)]


async def strain(store: EventStore, batches: list[list[NewEvent]], refused: list[str]) -> int:
    """Append and read until it is refused a few times; return how many events were acknowledged."""
    count = 0
    for events in batches:
        try:
            await store.append("full-1", events, expected_version=ANY)
            count += 3
            _ = [recorded async for recorded in store.read_log()]
        except (BackstoryError, MemoryError) as error:
            refused.append(type(error).__name__)
            if len(refused) == REFUSED_COUNT_MAX:
                break
    return count


async def main(arguments: list[str]) -> None:
    path, kind, amount = Path(arguments[0]), arguments[1], int(arguments[2])
    refused: list[str] = []
    async with SQLiteStore(path) as store:
        await store.append("full-1", new(10), expected_version=0)
        await store.head()
        # Made beforehand: msgspec 0.22 crashes when it decodes and there is no memory.
        batches = [new(SIZE[kind]) for _ in range(APPEND_COUNT[kind])]
        with limited(kind, amount, path):
            acknowledged = await strain(store, batches, refused)
        before = await store.head()
        await store.append("full-1", new(10)[:1], expected_version=before)
        after = len([recorded async for recorded in store.read_log()])
    said: dict[str, Any] = {
        "refused": len(refused),
        "errors": sorted(set(refused)),
        "acknowledged": acknowledged + 3,
        "after": after,
    }
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
