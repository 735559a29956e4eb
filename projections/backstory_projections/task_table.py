"""TaskTable: every task, what became of it, and who worked on it, in tables."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from backstory import RecordedEvent, TableProjection, on
from backstory_aggregates.agent.events import AgentTaskAssigned
from backstory_aggregates.swarm.events import split_member_id
from backstory_aggregates.task.events import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)
from backstory_projections._columns import json_value, time_value, values_of
from backstory_projections._durations import SECONDS_MAX, possible_seconds
from backstory_projections._selection import PageQuery, Selection, page_query
from backstory_projections.task_history import TaskRow

_TASKS: Final = Selection("tasks")
_WORKERS: Final = Selection("workers", "task_id")
_MICROSECOND_COUNT: Final = 1_000_000
"""Of a second."""


class TaskTable(TableProjection, name="task-table"):
    """Every task: `TaskHistory` in tables of the store.

    The rows are the same, in the order in which the tasks first appeared, and come in pages: at
    most `limit` rows, from 1 to 10,000, behind the one whose id is `after`.

    Its tables:

    - `tasks` has a row for each task; `duration_json` is what was said of how long it took,
      `measured_microseconds` what its times say where nothing was, and `duration_seconds` the one
      or the other, where it can be true;
    - `workers` has a row for each agent that a task was assigned to, or that started it;
      `first_position` is the task's.

    All queries raise `StoreUnavailableError` where the store does not answer, and those with pages
    `InvalidInputError` for a limit that is outside its limits or an id that no row has.
    """

    schema = (
        """
        CREATE TABLE {tasks} (
            id TEXT NOT NULL PRIMARY KEY,
            first_position BIGINT NOT NULL,
            swarm TEXT,
            name TEXT NOT NULL,
            type TEXT,
            title TEXT,
            description TEXT,
            status TEXT NOT NULL DEFAULT 'unknown',
            priority_json TEXT,
            assigned_agent TEXT,
            dependencies_json TEXT NOT NULL DEFAULT '[]',
            blocked_by_json TEXT NOT NULL DEFAULT '[]',
            created_at BIGINT,
            queued_at BIGINT,
            started_at BIGINT,
            said_started_at BIGINT,
            completed_at BIGINT,
            failed_at BIGINT,
            duration_json TEXT,
            measured_microseconds BIGINT,
            duration_seconds DOUBLE PRECISION,
            result_json TEXT,
            error TEXT,
            start_count BIGINT NOT NULL DEFAULT 0,
            retry_count BIGINT NOT NULL DEFAULT 0
        )
        """,
        "CREATE INDEX {tasks}_all ON {tasks} (first_position)",
        "CREATE INDEX {tasks}_swarm ON {tasks} (swarm, first_position)",
        "CREATE INDEX {tasks}_status ON {tasks} (status, first_position)",
        "CREATE INDEX {tasks}_swarm_status ON {tasks} (swarm, status, first_position)",
        "CREATE INDEX {tasks}_type ON {tasks} (type, first_position)",
        "CREATE INDEX {tasks}_swarm_type ON {tasks} (swarm, type, first_position)",
        """
        CREATE TABLE {workers} (
            task_id TEXT NOT NULL,
            first_position BIGINT NOT NULL,
            agent_id TEXT NOT NULL,
            position BIGINT NOT NULL,
            worked_at BIGINT NOT NULL,
            PRIMARY KEY (task_id, agent_id)
        )
        """,
        "CREATE INDEX {workers}_agent ON {workers} (agent_id, first_position, task_id)",
    )

    async def get_task(self, task_id: str) -> TaskRow | None:
        """Return a task, or None where no event of its own has named it."""
        rows = await self._rows(_TASKS.where("id = ?", task_id), 1, None)
        return rows[0] if rows else None

    async def get_all_tasks(
        self, *, swarm: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[TaskRow]:
        """Return a page of the tasks of a swarm, or of all."""
        return await self._rows(_TASKS.in_swarm(swarm), limit, after)

    async def get_tasks_by_status(
        self, status: str, *, swarm: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[TaskRow]:
        """Return a page of the tasks of which this last became."""
        return await self._rows(_TASKS.in_swarm(swarm).where("status = ?", status), limit, after)

    async def get_tasks_by_agent(
        self, agent_id: str, *, limit: int = 100, after: str | None = None
    ) -> list[TaskRow]:
        """Return a page of the tasks that an agent was assigned or has started."""
        workers = _WORKERS.where("agent_id = ?", agent_id)
        page = await page_query(self, workers, limit=limit, after=after)
        ids = f"SELECT task_id FROM ({page.sql}) AS page"  # noqa: S608 - words of ours
        sql = f"SELECT * FROM {{tasks}} WHERE id IN ({ids})"  # noqa: S608 - likewise
        return await self._read(PageQuery(sql, page.parameters))

    async def get_tasks_by_type(
        self, type: str, *, swarm: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[TaskRow]:
        """Return a page of the tasks of a sort."""
        return await self._rows(_TASKS.in_swarm(swarm).where("type = ?", type), limit, after)

    async def get_completed_task_count(self, *, swarm: str | None = None) -> int:
        """Return how many tasks are completed."""
        completed = _TASKS.in_swarm(swarm).where("status = 'completed'")
        ((count,),) = await self.read_rows(completed.select("count(*)"), *completed.parameters)
        return int(count)

    async def get_average_task_duration(self, *, swarm: str | None = None) -> float | None:
        """Return how many seconds a completed task took; None where that is known of none."""
        completed = _TASKS.in_swarm(swarm).where("status = 'completed'")
        average = completed.select("avg(duration_seconds)")
        ((seconds,),) = await self.read_rows(average, *completed.parameters)
        return None if seconds is None else float(seconds)

    async def get_success_rate(self, *, swarm: str | None = None) -> float | None:
        """Return the share of completed tasks in those that have ended; None where none has."""
        counts = await self.count_by_status(swarm=swarm)
        completed, failed = counts.get("completed", 0), counts.get("failed", 0)
        return completed / (completed + failed) if completed or failed else None

    async def get_failure_rate(self, *, swarm: str | None = None) -> float | None:
        """Return the share of failed tasks in those that have ended; None where none has."""
        success_rate = await self.get_success_rate(swarm=swarm)
        return None if success_rate is None else 1 - success_rate

    async def count_by_status(self, *, swarm: str | None = None) -> dict[str, int]:
        """Return how many tasks there are of each status that occurs."""
        tasks = _TASKS.in_swarm(swarm)
        counts = tasks.select("status, count(*)", "GROUP BY status")
        return {status: int(n) for status, n in await self.read_rows(counts, *tasks.parameters)}

    async def _rows(self, tasks: Selection, limit: int, after: str | None) -> list[TaskRow]:
        return await self._read(await page_query(self, tasks, limit=limit, after=after))

    async def _read(self, page: PageQuery) -> list[TaskRow]:
        # One query, so that a row and its workers are of one moment.
        lines = await self.read(
            dict[str, Any],
            "SELECT tasks.*, workers.agent_id, workers.worked_at "  # noqa: S608 - words of ours
            f"FROM ({page.sql}) AS tasks LEFT JOIN {{workers}} AS workers "
            "ON workers.task_id = tasks.id ORDER BY tasks.first_position, workers.position",
            *page.parameters,
        )
        return [_row(list(group)) for _, group in groupby(lines, itemgetter("id"))]

    @on(TaskCreated)
    def _created(self, event: TaskCreated, recorded: RecordedEvent) -> None:
        self._begin(recorded)
        self.execute(
            "UPDATE {tasks} SET type = $2, title = $3, description = $4, priority_json = $5, "
            "dependencies_json = $6, status = 'created', created_at = $7 WHERE id = $1",
            *(recorded.id, event.task_type, event.title, event.description),
            json_value(event.priority),
            json_value(event.dependencies or ()),
            _happened_at(event.created_at, recorded),
        )

    @on(TaskQueued)
    def _queued(self, event: TaskQueued, recorded: RecordedEvent) -> None:
        self._begin(recorded)
        self.execute(
            "UPDATE {tasks} SET priority_json = coalesce($2, priority_json), "
            "retry_count = retry_count + CASE WHEN status = 'failed' THEN 1 ELSE 0 END, "
            "status = 'queued', queued_at = $3 WHERE id = $1",
            recorded.id,
            json_value(event.priority),
            _happened_at(event.queued_at, recorded),
        )

    @on(TaskStarted)
    def _started(self, event: TaskStarted, recorded: RecordedEvent) -> None:
        self._begin(recorded)
        started_at = _happened_at(event.started_at, recorded)
        # When the store heard of a start says nothing about how long the work took.
        said_started_at = None if event.started_at is None else started_at
        self.execute(
            "UPDATE {tasks} SET start_count = start_count + 1, "
            "retry_count = retry_count + CASE WHEN status = 'failed' THEN 1 ELSE 0 END, "
            "blocked_by_json = '[]', status = 'started', started_at = $2, said_started_at = $3 "
            "WHERE id = $1",
            *(recorded.id, started_at, said_started_at),
        )
        if event.agent_id is not None:
            self._employ(recorded.id, event.agent_id, recorded.position, started_at)

    @on(TaskCompleted)
    def _completed(self, event: TaskCompleted, recorded: RecordedEvent) -> None:
        self._begin(recorded)
        self.execute(
            "UPDATE {tasks} SET status = 'completed', completed_at = $2, result_json = $3, "
            "error = NULL, blocked_by_json = '[]', duration_json = $4, duration_seconds = $5, "
            "measured_microseconds = NULL WHERE id = $1",
            *(recorded.id, _happened_at(event.completed_at, recorded)),
            json_value(event.result),
            json_value(event.duration_seconds),
            possible_seconds(event.duration_seconds),
        )
        if event.duration_seconds is None and event.completed_at is not None:
            self._measure(recorded.id, time_value(event.completed_at))
        self._forget_start(recorded.id)

    @on(TaskFailed)
    def _failed(self, event: TaskFailed, recorded: RecordedEvent) -> None:
        self._begin(recorded)
        self.execute(
            "UPDATE {tasks} SET status = 'failed', failed_at = $2, error = $3, "
            "retry_count = coalesce($4, retry_count) WHERE id = $1",
            *(recorded.id, _happened_at(event.failed_at, recorded)),
            *(event.error, event.retry_count),
        )
        self._forget_start(recorded.id)

    @on(TaskBlocked)
    def _blocked(self, event: TaskBlocked, recorded: RecordedEvent) -> None:
        self._begin(recorded)
        self.execute(
            "UPDATE {tasks} SET status = 'blocked', blocked_by_json = $2 WHERE id = $1",
            *(recorded.id, json_value(event.blocked_by or ())),
        )

    @on(AgentTaskAssigned)
    def _assigned(self, event: AgentTaskAssigned, recorded: RecordedEvent) -> None:
        if event.task_id is not None:
            assigned_at = _happened_at(event.assigned_at, recorded)
            self._employ(event.task_id, recorded.id, recorded.position, assigned_at)

    def _begin(self, recorded: RecordedEvent) -> None:
        """Say that the task of an event has a row."""
        swarm, name = split_member_id(recorded.id)
        self.execute(
            "INSERT INTO {tasks} (id, first_position, swarm, name) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (id) DO NOTHING",
            *(recorded.id, recorded.position, swarm, name),
        )

    def _employ(self, task_id: str, agent_id: str, position: int, worked_at: int) -> None:
        """Say that an agent works on a task, which is none yet where it is only spoken of."""
        self.execute("UPDATE {tasks} SET assigned_agent = $2 WHERE id = $1", task_id, agent_id)
        self.execute(
            "INSERT INTO {workers} (task_id, first_position, agent_id, position, worked_at) "
            "SELECT id, first_position, $2, $3, $4 FROM {tasks} WHERE id = $1 "
            "ON CONFLICT (task_id, agent_id) DO UPDATE SET worked_at = excluded.worked_at",
            *(task_id, agent_id, position, worked_at),
        )

    def _measure(self, task_id: str, completed_at: int) -> None:
        """Say how long a task took, where its start was said; recorded clocks may step back."""
        self.execute(
            "UPDATE {tasks} SET measured_microseconds = $2 - said_started_at, "
            "duration_seconds = CASE WHEN $2 - said_started_at <= $3 "
            "THEN ($2 - said_started_at) / 1000000.0 END "
            "WHERE id = $1 AND said_started_at <= $2",
            *(task_id, completed_at, int(SECONDS_MAX) * _MICROSECOND_COUNT),
        )

    def _forget_start(self, task_id: str) -> None:
        self.execute("UPDATE {tasks} SET said_started_at = NULL WHERE id = $1", task_id)


def _happened_at(moment: datetime | None, recorded: RecordedEvent) -> int:
    return time_value(moment or recorded.recorded_at)


def _row(lines: Sequence[Mapping[str, Any]]) -> TaskRow:
    """Return the row of lines, each of which has its columns and one of its workers."""
    values = values_of(lines[0])
    values["duration_seconds"] = values["duration"]
    if (measured := values["measured_microseconds"]) is not None:
        values["duration_seconds"] = measured / _MICROSECOND_COUNT
    row = msgspec.convert(values, TaskRow)
    for line in map(values_of, lines):
        if line["agent_id"] is not None:  # it is None for a task that nobody works on
            row.agents[line["agent_id"]] = line["worked_at"]
    return row
