"""Runs TaskHistory over a store, with a handler that ends the process on one event.

    deadly.py PATH FORM POSITION

FORM is `memory` or `tables`; POSITION is that of the event, 0 for none. When all is folded, what is
parked is retried unless something is deadly, and the counts are written as one line of JSON.
"""

import json
import os
import sys
from contextvars import ContextVar
from typing import Any

import anyio

from backstory import Backstory, RecordedEvent, on
from backstory_aggregates.task.events import TaskStarted
from backstory_projections import TaskHistory, TaskTable

# Where a fingerprint does not look: the mended program is to go on from the same checkpoint.
deadly: ContextVar[int] = ContextVar("deadly")


class DeadlyHistory(TaskHistory, name="tasks"):
    @on(TaskStarted)
    def _started(self, event: TaskStarted, recorded: RecordedEvent) -> None:
        super()._started(event, recorded)
        if recorded.position == deadly.get():
            os._exit(9)

    async def counts(self) -> dict[str, int]:
        return self.count_by_status()


class DeadlyTable(TaskTable, name="tasks"):
    schema = TaskTable.schema

    @on(TaskStarted)
    def _started(self, event: TaskStarted, recorded: RecordedEvent) -> None:
        super()._started(event, recorded)
        if recorded.position == deadly.get():
            os._exit(9)

    async def counts(self) -> dict[str, int]:
        return await self.count_by_status()


async def main(path: str, form: str, position: str) -> None:
    deadly.set(int(position))
    cls: Any = DeadlyTable if form == "tables" else DeadlyHistory
    async with Backstory(f"sqlite:///{path}", projections=[cls]) as story:
        model = await story.read_model(cls, timeout_seconds=100)
        parked = await story.projections.parked(cls)
        before = await model.counts()
        if not deadly.get():
            for one in parked:
                assert await story.projections.retry(cls, one.stream_id)
            model = await story.read_model(cls, timeout_seconds=100)
        said = {
            "parked": [[one.stream_id, one.position] for one in parked],
            "before": before,
            "after": await model.counts(),
        }
        sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
