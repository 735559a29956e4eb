"""A handler ends the process on one event of a real recording; mended, the totals are right."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.faults.account import faults
from tests.integration.process import start
from tests.integration.test_recorded_runs import Recording, recording

from backstory import where
from backstory.stores.sqlite import SQLiteStore
from backstory_aggregates.run_lines import import_run_lines
from backstory_aggregates.task.events import TaskStarted

__all__ = ["recording"]  # a fixture of its neighbour

pytestmark = pytest.mark.anyio

ENDED = 9


def run(path: Path, form: str, position: int) -> Any:
    """Run the program once; return what it says, or None when it was ended."""
    with start("deadly.py", path, form, position) as process:
        written, said = process.communicate(timeout=100)
    if process.returncode == ENDED:
        faults.count()
        return None
    assert process.returncode == 0, said.decode()
    return json.loads(written)


@pytest.mark.fault(18, "T19", without="the count of attempts over processes")
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("form", ["memory", "tables"])
async def test_one_deadly_event_holds_up_its_stream_alone(
    tmp_path: Path, recording: Recording, form: str
) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path) as store:
        await import_run_lines(store, recording.lines())
        starts = [event async for event in store.read_log(where=where(types=[TaskStarted]))]
    deadly = starts[len(starts) // 2]
    expected = recording.expected["tasks"]["by_status"]

    rounds = 1
    while (said := run(path, form, deadly.position)) is None:
        rounds += 1
        assert rounds < 12, "it is never parked"
    mended = run(path, form, 0)

    assert said["parked"] == [[deadly.stream_id, deadly.position]]
    assert sum(said["before"].values()) == sum(expected.values())
    assert said["before"] != expected
    assert mended["after"] == expected
