"""Opens an SQLite store while there are ever more file descriptors, until it succeeds.

    opening.py PATH COUNT_MAX

Writes one line: how often it was refused and by which errors, and how many descriptors are open at
the end that were not before.
"""

import json
import os
import resource
import sys
import uuid

import anyio

from backstory import ANY, BackstoryError, Event, NewEvent
from backstory.stores.sqlite import SQLiteStore


class Opened(Event, type="fault:opened"):
    """It was opened."""


def free() -> int:
    """Return how many descriptors are open."""
    return len(os.listdir("/dev/fd")) - 1  # noqa: PTH208 - one of them is that of the listing


async def use(path: str) -> None:
    async with SQLiteStore(path) as store:
        event = NewEvent.of(Opened(), event_id=uuid.uuid4())
        await store.append("open-1", [event], expected_version=ANY)


async def main(path: str, count_max: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before, errors = free(), list[str]()
    for count in range(count_max):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + count, hard))
        try:
            await use(path)
        except (BackstoryError, MemoryError) as error:
            errors.append(type(error).__name__)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await use(path)
    said = {"refused": len(errors), "errors": sorted(set(errors)), "leaked": free() - before}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
