"""A process that replays a log, and prints the most memory that it ever had, in megabytes.

    python -m tests.benchmarks.replaying STORE EVENT_COUNT

It is started afresh for that.
"""

import re
import sys
from pathlib import Path

import anyio
from tests.benchmarks.meter import Measured

from backstory import Backstory
from backstory.stores.sqlite import SQLiteStore

_STATUS = Path("/proc/self/status")


async def replay(path: str, event_count: int) -> None:
    """Replay every event of a store."""
    async with SQLiteStore(path, read_only=True) as store, Backstory(store) as story:
        seen = 0
        async for recorded in story.replay(until_position=event_count):
            assert type(recorded.data) is Measured
            seen += 1
    assert seen == event_count


def peak_megabytes() -> float:
    """Return the most memory that this process has had resident."""
    if _STATUS.exists():
        # What getrusage says on Linux begins with what the parent had when it started us.
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text("ascii"))
        assert found is not None
        return int(found[1]) * 1_024 / 1_000_000
    import resource  # noqa: PLC0415 - not on every system

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1_024) / 1_000_000


if __name__ == "__main__":
    anyio.run(replay, sys.argv[1], int(sys.argv[2]))
    sys.stdout.write(f"{peak_megabytes()}\n")
