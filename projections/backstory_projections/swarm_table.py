"""SwarmTable: every swarm as it is now, in tables."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from backstory import Event, RecordedEvent, TableProjection, on
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStopped,
)
from backstory_aggregates.swarm.events import (
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmMilestoneReached,
    SwarmPhaseChanged,
    SwarmScaled,
    SwarmTerminated,
    split_member_id,
    swarm_id,
)
from backstory_aggregates.task.events import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)
from backstory_projections._columns import json_value, time_value, values_of
from backstory_projections._selection import Selection, page_query
from backstory_projections.swarm_state import Milestone, SwarmFault, SwarmRow

_SWARMS: Final = Selection("swarms")
_ERROR_COUNT_MAX: Final = 100


class SwarmTable(TableProjection, name="swarm-table"):
    """Every swarm: `SwarmState` in tables of the store.

    The rows are the same, in the order in which the swarms first appeared, and come in pages: at
    most `limit` rows, from 1 to 10,000, behind the one whose id is `after`.

    Its tables:

    - `swarms` has a row for each swarm;
    - `milestones` has a row for each milestone that a swarm has reached;
    - `errors` has a row for each of the last 100 errors that a swarm has met;
    - `members` has a row for each agent and each task of a swarm, by category and id, with its
      state: of an agent `active` or `idle`, of a task what last became of it;
    - `states` says how many members of a swarm are in each state, by category.

    All queries raise `StoreUnavailableError` where the store does not answer, and those with pages
    `InvalidInputError` for a limit that is outside its limits or an id that no row has.
    """

    schema = (
        """
        CREATE TABLE {swarms} (
            id TEXT NOT NULL PRIMARY KEY,
            first_position BIGINT NOT NULL,
            status TEXT NOT NULL DEFAULT 'unknown',
            topology TEXT,
            max_agents BIGINT,
            config_json TEXT NOT NULL DEFAULT '{}',
            phase TEXT,
            scaled_agent_count BIGINT,
            error_count BIGINT NOT NULL DEFAULT 0,
            initialized_at BIGINT,
            terminated_at BIGINT
        )
        """,
        "CREATE INDEX {swarms}_all ON {swarms} (first_position)",
        "CREATE INDEX {swarms}_status ON {swarms} (status, first_position)",
        """
        CREATE TABLE {milestones} (
            swarm_id TEXT NOT NULL,
            position BIGINT NOT NULL,
            milestone_id TEXT,
            name TEXT,
            reached_at BIGINT NOT NULL,
            PRIMARY KEY (swarm_id, position)
        )
        """,
        """
        CREATE TABLE {errors} (
            swarm_id TEXT NOT NULL,
            number BIGINT NOT NULL,
            error TEXT,
            agent_id TEXT,
            occurred_at BIGINT NOT NULL,
            PRIMARY KEY (swarm_id, number)
        )
        """,
        """
        CREATE TABLE {members} (
            category TEXT NOT NULL,
            id TEXT NOT NULL,
            state TEXT NOT NULL,
            PRIMARY KEY (category, id)
        )
        """,
        """
        CREATE TABLE {states} (
            swarm_id TEXT NOT NULL,
            category TEXT NOT NULL,
            state TEXT NOT NULL,
            member_count BIGINT NOT NULL,
            PRIMARY KEY (swarm_id, category, state)
        )
        """,
        # With the count in it; else SQLite makes such an index anew for each page of all swarms.
        "CREATE INDEX {states}_counts ON {states} (swarm_id, category, state, member_count)",
    )

    async def get_swarm(self, swarm: str) -> SwarmRow | None:
        """Return a swarm by its name, or None where no event has named it."""
        rows = await self._rows(_SWARMS.where("id = ?", swarm_id(swarm)), 1, None)
        return rows[0] if rows else None

    async def get_all_swarms(self, *, limit: int = 100, after: str | None = None) -> list[SwarmRow]:
        """Return a page of all swarms."""
        return await self._rows(_SWARMS, limit, after)

    async def get_swarms_by_status(
        self, status: str, *, limit: int = 100, after: str | None = None
    ) -> list[SwarmRow]:
        """Return a page of the swarms with a status."""
        return await self._rows(_SWARMS.where("status = ?", status), limit, after)

    async def _rows(self, swarms: Selection, limit: int, after: str | None) -> list[SwarmRow]:
        page = await page_query(self, swarms, limit=limit, after=after)
        # One query, so that a row and what belongs to it are of one moment. Each line has one
        # milestone, one error or one state: without the parts, each of one beside each of another.
        lines = await self.read(
            dict[str, Any],
            "SELECT swarms.*, milestones.milestone_id, milestones.name, milestones.reached_at, "  # noqa: S608 - words of ours
            "errors.number, errors.error, errors.agent_id, errors.occurred_at, "
            "states.category, states.state, states.member_count "
            f"FROM ({page.sql}) AS swarms "
            "CROSS JOIN (SELECT 1 AS part UNION ALL SELECT 2 UNION ALL SELECT 3) AS parts "
            "LEFT JOIN {milestones} AS milestones "
            "ON parts.part = 1 AND milestones.swarm_id = swarms.id "
            "LEFT JOIN {errors} AS errors ON parts.part = 2 AND errors.swarm_id = swarms.id "
            "LEFT JOIN {states} AS states ON parts.part = 3 AND states.swarm_id = swarms.id "
            "ORDER BY swarms.first_position, milestones.position, errors.number",
            *page.parameters,
        )
        return [_row(list(group)) for _, group in groupby(lines, itemgetter("id"))]

    @on(SwarmInitialized)
    def _initialized(self, event: SwarmInitialized, recorded: RecordedEvent) -> None:
        self._begin(recorded.id, recorded)
        self.execute(
            "UPDATE {swarms} SET topology = $2, max_agents = $3, config_json = $4, "
            "status = 'running', initialized_at = $5 WHERE id = $1",
            *(recorded.id, event.topology, event.max_agents, json_value(event.config or {})),
            _happened_at(event.initialized_at, recorded),
        )

    @on(SwarmScaled)
    def _scaled(self, event: SwarmScaled, recorded: RecordedEvent) -> None:
        self._begin(recorded.id, recorded)
        self.execute(
            "UPDATE {swarms} SET scaled_agent_count = coalesce($2, scaled_agent_count) "
            "WHERE id = $1",
            *(recorded.id, event.new_agent_count),
        )

    @on(SwarmPhaseChanged)
    def _phase_changed(self, event: SwarmPhaseChanged, recorded: RecordedEvent) -> None:
        self._begin(recorded.id, recorded)
        self.execute("UPDATE {swarms} SET phase = $2 WHERE id = $1", recorded.id, event.new_phase)

    @on(SwarmMilestoneReached)
    def _milestone_reached(self, event: SwarmMilestoneReached, recorded: RecordedEvent) -> None:
        self._begin(recorded.id, recorded)
        self.execute(
            "INSERT INTO {milestones} (swarm_id, position, milestone_id, name, reached_at) "
            "VALUES ($1, $2, $3, $4, $5)",
            *(recorded.id, recorded.position, event.milestone_id, event.name),
            _happened_at(event.reached_at, recorded),
        )

    @on(SwarmErrorOccurred)
    def _error_occurred(self, event: SwarmErrorOccurred, recorded: RecordedEvent) -> None:
        self._begin(recorded.id, recorded)
        self.execute("UPDATE {swarms} SET error_count = error_count + 1 WHERE id = $1", recorded.id)
        self.execute(
            "INSERT INTO {errors} (swarm_id, number, error, agent_id, occurred_at) "
            "SELECT id, error_count, $2, $3, $4 FROM {swarms} WHERE id = $1",
            *(recorded.id, event.error, recorded.metadata.actor),
            _happened_at(event.occurred_at, recorded),
        )
        self.execute(
            "DELETE FROM {errors} WHERE swarm_id = $1 AND number <= "
            "(SELECT error_count FROM {swarms} WHERE id = $1) - $2",
            *(recorded.id, _ERROR_COUNT_MAX),
        )

    @on(SwarmTerminated)
    def _terminated(self, event: SwarmTerminated, recorded: RecordedEvent) -> None:
        self._begin(recorded.id, recorded)
        self.execute(
            "UPDATE {swarms} SET status = 'terminated', terminated_at = $2 WHERE id = $1",
            *(recorded.id, _happened_at(event.terminated_at, recorded)),
        )

    @on(AgentStarted)
    def _agent_started(self, _event: AgentStarted, recorded: RecordedEvent) -> None:
        self._move(recorded, "active")

    @on(AgentSpawned, AgentStopped, AgentFailed)
    def _agent_rests(
        self, _event: AgentSpawned | AgentStopped | AgentFailed, recorded: RecordedEvent
    ) -> None:
        self._move(recorded, "idle")

    @on(TaskCreated, TaskQueued, TaskStarted, TaskBlocked, TaskCompleted, TaskFailed)
    def _task_moved(self, _event: Event, recorded: RecordedEvent) -> None:
        # The type says what became of the task: `task:completed`.
        self._move(recorded, recorded.type.partition(":")[2])

    def _move(self, recorded: RecordedEvent, state: str) -> None:
        """Count an agent or a task of a swarm as what it is now, and no longer as what it was."""
        swarm, _ = split_member_id(recorded.id)
        if swarm is None:
            return
        id, category = swarm_id(swarm), recorded.type.partition(":")[0]
        self._begin(id, recorded)
        self.execute(
            "UPDATE {states} SET member_count = member_count - 1 WHERE swarm_id = $1 "
            "AND category = $2 "
            "AND state = (SELECT state FROM {members} WHERE category = $2 AND id = $3)",
            *(id, category, recorded.id),
        )
        self.execute(
            "INSERT INTO {states} (swarm_id, category, state, member_count) "
            "VALUES ($1, $2, $3, 1) ON CONFLICT (swarm_id, category, state) "
            "DO UPDATE SET member_count = {states}.member_count + 1",
            *(id, category, state),
        )
        self.execute(
            "INSERT INTO {members} (category, id, state) VALUES ($1, $2, $3) "
            "ON CONFLICT (category, id) DO UPDATE SET state = excluded.state",
            *(category, recorded.id, state),
        )

    def _begin(self, id: str, recorded: RecordedEvent) -> None:
        """Say that a swarm has a row."""
        self.execute(
            "INSERT INTO {swarms} (id, first_position) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
            *(id, recorded.position),
        )


def _happened_at(moment: datetime | None, recorded: RecordedEvent) -> int:
    return time_value(moment or recorded.recorded_at)


def _row(lines: Sequence[Mapping[str, Any]]) -> SwarmRow:
    """Return the row of lines, each of which has its columns and one thing that belongs to it."""
    row = msgspec.convert(values_of(lines[0]), SwarmRow)
    for line in map(values_of, lines):
        if line["reached_at"] is not None:
            row.milestones.append(Milestone(line["milestone_id"], line["name"], line["reached_at"]))
        elif line["occurred_at"] is not None:
            row.errors.append(SwarmFault(line["error"], line["agent_id"], line["occurred_at"]))
        elif line["member_count"]:
            _count(row, line["category"], line["state"], line["member_count"])
    return row


def _count(row: SwarmRow, category: str, state: str, member_count: int) -> None:
    if category == "task":
        row.task_count += member_count
        row.tasks_by_status[state] = member_count
    else:
        row.agent_count += member_count
        row.active_agent_count += member_count if state == "active" else 0
