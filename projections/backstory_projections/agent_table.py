"""AgentTable: every agent as it is now, in tables."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from backstory import RecordedEvent, TableProjection, on
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStatusChanged,
    AgentStopped,
    AgentTaskAssigned,
    AgentTaskCompleted,
)
from backstory_aggregates.swarm.events import split_member_id
from backstory_aggregates.task.events import TaskCompleted, TaskFailed
from backstory_projections._columns import json_value, time_value, values_of
from backstory_projections._durations import possible_seconds
from backstory_projections._selection import Selection, page_query
from backstory_projections.agent_state import AgentHealth, AgentRow, CompletionMetrics

_AGENTS = Selection("agents")


class AgentTable(TableProjection, name="agent-table"):
    """Every agent as it is now: `AgentState` in tables of the store.

    The rows are the same, in the order in which the agents first appeared, and come in pages: at
    most `limit` rows, from 1 to 10,000, behind the one whose id is `after`.

    Its tables:

    - `agents` has a row for each agent;
    - `work` has a row for each task that an agent has `open`, has `completed`, or that has `failed`
      while the agent had it; `position` is that of the event that said so.

    All queries raise `StoreUnavailableError` where the store does not answer, and those with pages
    `InvalidInputError` for a limit that is outside its limits or an id that no row has.
    """

    schema = (
        """
        CREATE TABLE {agents} (
            id TEXT NOT NULL PRIMARY KEY,
            first_position BIGINT NOT NULL,
            swarm TEXT,
            name TEXT NOT NULL,
            role TEXT,
            domain TEXT,
            capabilities_json TEXT NOT NULL DEFAULT '[]',
            status TEXT NOT NULL DEFAULT 'unknown',
            is_active SMALLINT NOT NULL DEFAULT 0,
            task_count BIGINT NOT NULL DEFAULT 0,
            completed_count BIGINT NOT NULL DEFAULT 0,
            failed_count BIGINT NOT NULL DEFAULT 0,
            total_task_duration_seconds DOUBLE PRECISION NOT NULL DEFAULT 0,
            timed_task_count BIGINT NOT NULL DEFAULT 0,
            error_count BIGINT NOT NULL DEFAULT 0,
            spawned_at BIGINT,
            started_at BIGINT,
            stopped_at BIGINT,
            last_activity_at BIGINT NOT NULL
        )
        """,
        "CREATE INDEX {agents}_all ON {agents} (first_position)",
        "CREATE INDEX {agents}_swarm ON {agents} (swarm, first_position)",
        "CREATE INDEX {agents}_status ON {agents} (status, first_position)",
        "CREATE INDEX {agents}_swarm_status ON {agents} (swarm, status, first_position)",
        "CREATE INDEX {agents}_domain ON {agents} (domain, first_position)",
        "CREATE INDEX {agents}_swarm_domain ON {agents} (swarm, domain, first_position)",
        "CREATE INDEX {agents}_role ON {agents} (role, first_position)",
        "CREATE INDEX {agents}_swarm_role ON {agents} (swarm, role, first_position)",
        # With one `is_active` beside the swarm, nobody has to look at the agents that rest.
        "CREATE INDEX {agents}_active ON {agents} (is_active, swarm)",
        """
        CREATE TABLE {work} (
            agent_id TEXT NOT NULL,
            position BIGINT NOT NULL,
            task_id TEXT NOT NULL,
            outcome TEXT NOT NULL,
            assigned_at BIGINT,
            PRIMARY KEY (agent_id, position)
        )
        """,
        "CREATE UNIQUE INDEX {work}_open ON {work} (task_id, agent_id) WHERE outcome = 'open'",
    )

    async def get_agent(self, agent_id: str) -> AgentRow | None:
        """Return an agent, or None where no event has named it."""
        rows = await self._rows(_AGENTS.where("id = ?", agent_id), 1, None)
        return rows[0] if rows else None

    async def get_all_agents(
        self, *, swarm: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[AgentRow]:
        """Return a page of the agents of a swarm, or of all."""
        return await self._rows(_AGENTS.in_swarm(swarm), limit, after)

    async def get_agents_by_status(
        self, status: str, *, swarm: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[AgentRow]:
        """Return a page of the agents with a status."""
        agents = _AGENTS.in_swarm(swarm).where("status = ?", status)
        return await self._rows(agents, limit, after)

    async def get_agents_by_domain(
        self, domain: str, *, swarm: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[AgentRow]:
        """Return a page of the agents that work in a domain."""
        agents = _AGENTS.in_swarm(swarm).where("domain = ?", domain)
        return await self._rows(agents, limit, after)

    async def get_agents_by_role(
        self, role: str, *, swarm: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[AgentRow]:
        """Return a page of the agents with a role."""
        return await self._rows(_AGENTS.in_swarm(swarm).where("role = ?", role), limit, after)

    async def get_active_agent_count(self, *, swarm: str | None = None) -> int:
        """Return how many agents work: were started, and have neither stopped nor failed since."""
        active = _AGENTS.in_swarm(swarm).where("is_active = 1")
        ((count,),) = await self.read_rows(active.select("count(*)"), *active.parameters)
        return int(count)

    async def get_completion_metrics(
        self, *, swarm: str | None = None, agent_id: str | None = None
    ) -> CompletionMetrics:
        """Return how much was completed: of one agent, of a swarm, or of all."""
        agents = _AGENTS.in_swarm(swarm)
        if agent_id is not None:
            agents = agents.where("id = ?", agent_id)
        sums = agents.select(
            "sum(task_count), sum(completed_count), sum(failed_count), sum(timed_task_count), "
            "sum(total_task_duration_seconds)"
        )
        (found,) = await self.read_rows(sums, *agents.parameters)
        assigned, completed, failed, timed = (int(count or 0) for count in found[:4])
        return CompletionMetrics(
            assigned_count=assigned,
            completed_count=completed,
            failed_count=failed,
            completion_rate=completed / assigned if assigned else None,
            average_duration_seconds=found[4] / timed if timed else None,
        )

    async def get_health(self, *, swarm: str | None = None) -> AgentHealth:
        """Return how the agents of a swarm, or all, are."""
        agents = _AGENTS.in_swarm(swarm)
        counts = agents.select(
            "count(*), sum(is_active), sum(CASE WHEN stopped_at IS NOT NULL THEN 1 ELSE 0 END), "
            "sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END), sum(error_count)"
        )
        (found,) = await self.read_rows(counts, *agents.parameters)
        return AgentHealth(*(int(count or 0) for count in found))

    async def _rows(self, agents: Selection, limit: int, after: str | None) -> list[AgentRow]:
        page = await page_query(self, agents, limit=limit, after=after)
        # One query, so that a row and its work are of one moment.
        lines = await self.read(
            dict[str, Any],
            "SELECT agents.*, work.task_id, work.outcome, work.assigned_at "  # noqa: S608 - words of ours
            f"FROM ({page.sql}) AS agents LEFT JOIN {{work}} AS work ON work.agent_id = agents.id "
            "ORDER BY agents.first_position, work.position",
            *page.parameters,
        )
        return [_row(list(group)) for _, group in groupby(lines, itemgetter("id"))]

    @on(AgentSpawned)
    def _spawned(self, event: AgentSpawned, recorded: RecordedEvent) -> None:
        spawned_at = self._touch(recorded, event.spawned_at)
        self.execute(
            "UPDATE {agents} SET role = $2, domain = $3, capabilities_json = $4, "
            "status = 'spawned', spawned_at = $5 WHERE id = $1",
            *(recorded.id, event.role, event.domain, json_value(event.capabilities or ())),
            spawned_at,
        )

    @on(AgentStarted)
    def _started(self, event: AgentStarted, recorded: RecordedEvent) -> None:
        started_at = self._touch(recorded, event.started_at)
        self.execute(
            "UPDATE {agents} SET status = 'active', is_active = 1, started_at = $2, "
            "stopped_at = NULL WHERE id = $1",
            *(recorded.id, started_at),
        )

    @on(AgentStopped)
    def _stopped(self, event: AgentStopped, recorded: RecordedEvent) -> None:
        stopped_at = self._touch(recorded, event.stopped_at)
        self.execute(
            "UPDATE {agents} SET status = 'stopped', is_active = 0, stopped_at = $2 WHERE id = $1",
            *(recorded.id, stopped_at),
        )

    @on(AgentFailed)
    def _failed(self, event: AgentFailed, recorded: RecordedEvent) -> None:
        self._touch(recorded, event.failed_at)
        self.execute(
            "UPDATE {agents} SET status = 'failed', is_active = 0, error_count = error_count + 1 "
            "WHERE id = $1",
            recorded.id,
        )

    @on(AgentStatusChanged)
    def _status_changed(self, event: AgentStatusChanged, recorded: RecordedEvent) -> None:
        self._touch(recorded, event.changed_at)
        if event.new_status is not None:
            self.execute(
                "UPDATE {agents} SET status = $2 WHERE id = $1", recorded.id, event.new_status
            )

    @on(AgentTaskAssigned)
    def _task_assigned(self, event: AgentTaskAssigned, recorded: RecordedEvent) -> None:
        assigned_at = self._touch(recorded, event.assigned_at)
        self.execute("UPDATE {agents} SET task_count = task_count + 1 WHERE id = $1", recorded.id)
        if event.task_id is not None:
            self._close(recorded.id, event.task_id)  # assigned again it is the last one
            self.execute(
                "INSERT INTO {work} (agent_id, position, task_id, outcome, assigned_at) "
                "VALUES ($1, $2, $3, 'open', $4)",
                *(recorded.id, recorded.position, event.task_id, assigned_at),
            )

    @on(AgentTaskCompleted)
    def _task_completed(self, event: AgentTaskCompleted, recorded: RecordedEvent) -> None:
        self._touch(recorded, event.completed_at)
        seconds = possible_seconds(event.duration_seconds)
        self.execute(
            "UPDATE {agents} SET "
            "total_task_duration_seconds = total_task_duration_seconds + $2, "
            "timed_task_count = timed_task_count + $3, completed_count = completed_count + $4 "
            "WHERE id = $1",
            *(recorded.id, seconds or 0.0, int(seconds is not None)),
            int(event.task_id is not None),
        )
        if event.task_id is not None:
            self._close(recorded.id, event.task_id)
            self.execute(
                "INSERT INTO {work} (agent_id, position, task_id, outcome) "
                "VALUES ($1, $2, $3, 'completed')",
                *(recorded.id, recorded.position, event.task_id),
            )

    @on(TaskCompleted)
    def _completed(self, _event: TaskCompleted, recorded: RecordedEvent) -> None:
        # Not everybody says that their part is done.
        self.execute("DELETE FROM {work} WHERE task_id = $1 AND outcome = 'open'", recorded.id)

    @on(TaskFailed)
    def _task_failed(self, _event: TaskFailed, recorded: RecordedEvent) -> None:
        self.execute(
            "UPDATE {agents} SET failed_count = failed_count + 1 WHERE id IN "
            "(SELECT agent_id FROM {work} WHERE task_id = $1 AND outcome = 'open')",
            recorded.id,
        )
        self.execute(
            "UPDATE {work} SET outcome = 'failed', position = $2 "
            "WHERE task_id = $1 AND outcome = 'open'",
            *(recorded.id, recorded.position),
        )

    def _close(self, agent_id: str, task_id: str) -> None:
        self.execute(
            "DELETE FROM {work} WHERE task_id = $1 AND agent_id = $2 AND outcome = 'open'",
            *(task_id, agent_id),
        )

    def _touch(self, recorded: RecordedEvent, moment: datetime | None) -> int:
        """Say that the agent of an event has a row, and was active; return when, as a column."""
        swarm, name = split_member_id(recorded.id)
        happened_at = time_value(moment or recorded.recorded_at)
        self.execute(
            "INSERT INTO {agents} (id, first_position, swarm, name, last_activity_at) "
            "VALUES ($1, $2, $3, $4, $5) "
            "ON CONFLICT (id) DO UPDATE SET last_activity_at = excluded.last_activity_at",
            *(recorded.id, recorded.position, swarm, name, happened_at),
        )
        return happened_at


def _row(lines: Sequence[Mapping[str, Any]]) -> AgentRow:
    """Return the row of lines, each of which has its columns and one piece of its work."""
    row = msgspec.convert(values_of(lines[0]), AgentRow)
    for line in map(values_of, lines):
        match line["outcome"]:
            case "open":
                row.current_task = line["task_id"]
                row.open_tasks[line["task_id"]] = line["assigned_at"]
            case "completed":
                row.completed_tasks.append(line["task_id"])
            case "failed":
                row.failed_tasks.append(line["task_id"])
            case _:  # an agent that was never assigned anything
                pass
    return row
