"""However long a recording is, importing and exporting it takes the memory of a few batches."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstory.stores.sqlite import SQLiteStore
from backstory_aggregates.run_lines import export_run_lines, import_run_lines

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LINE_COUNT = 12_000
VALUE = "x" * 4_000


def lines() -> Iterator[bytes]:
    """Iterate over 50 MB of lines, of which none is kept."""
    for n in range(1, LINE_COUNT + 1):
        line = {"swarm": "s", "n": n, "type": "memory.stored", "key": f"k{n}"}
        yield json.dumps({**line, "data": {"value": VALUE}}).encode()


async def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        tracemalloc.start()
        try:
            summary = await import_run_lines(store, lines())
            _, import_peak = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            size = sum([len(text) async for text in export_run_lines(store)])
            _, export_peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert summary.added_count == LINE_COUNT
    assert size > 48_000_000
    assert max(import_peak, export_peak) < 32_000_000
