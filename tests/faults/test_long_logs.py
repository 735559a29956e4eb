"""A million events in one stream, and many streams: memory and pages stay as they were."""

from pathlib import Path

import pytest
from tests.faults.account import faults
from tests.faults.child import finish, needs_limits

pytestmark = [needs_limits, pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]

MEMORY_BYTES_MAX = 200_000_000

PAGE_RATIO_MAX = 10
"""How much longer the last pages may take than the first: a machine may be busy, but not growth."""


@pytest.mark.fault(22, without="the bound of a page that the index answers")
async def test_stream_of_a_million_events_is_read_in_constant_memory(tmp_path: Path) -> None:
    (said,) = await finish(
        "lengthy.py", tmp_path / "story.db", "stream", 1_000_000, deadline_seconds=500
    )

    faults.count(said["events"])
    assert said["events"] == said["read"] == said["read_backward"] == 1_000_000
    assert said["memory_bytes"] < MEMORY_BYTES_MAX
    assert said["last_page_seconds"] < PAGE_RATIO_MAX * said["first_page_seconds"]
    assert said["tail_events"] <= 100
    assert said["load_seconds"] < PAGE_RATIO_MAX * said["first_page_seconds"]


@pytest.mark.fault(22, without="the place from which the next page of streams goes on")
async def test_many_streams_are_listed_in_constant_memory(tmp_path: Path) -> None:
    (said,) = await finish(
        "lengthy.py", tmp_path / "story.db", "streams", 200_000, deadline_seconds=500
    )

    faults.count(said["events"])
    assert said["events"] == said["read"] == 200_000
    assert said["memory_bytes"] < MEMORY_BYTES_MAX
    assert said["last_page_seconds"] < PAGE_RATIO_MAX * said["first_page_seconds"]
