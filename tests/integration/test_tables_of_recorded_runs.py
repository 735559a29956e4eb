"""Recordings of real agent systems fill the tables as they fill the read models in memory.

Beside this checkout lie the recordings and what was counted in them without us; see
`test_recorded_runs.py`.
"""

from collections import Counter
from typing import Any, Final

import pytest
from tests.integration.test_recorded_runs import (
    Recording,
    recording,
    sum_of,
    totals_of_agents,
    totals_of_tasks,
)
from tests.unit.projections.forms import FORMS, Question, answer, assert_same

from backstory import Backstory, EventStore, Projection, TableProjection, fold_log
from backstory.stores.in_memory import InMemoryStore
from backstory_aggregates.run_lines import import_run_lines
from backstory_projections import AgentTable, MemoryTable, SwarmTable, TaskTable

pytestmark = pytest.mark.anyio

__all__ = ["recording"]  # a fixture, which pytest finds by its name

_PAGE_ROW_COUNT: Final = 97


async def rows_of(table: TableProjection, query: str, *arguments: object) -> list[Any]:
    """Return the rows of all pages of a query."""
    rows = await answer(table, Question(query, arguments), _PAGE_ROW_COUNT)
    return list(rows)


async def totals_of_tables(story: Backstory) -> dict[str, Any]:
    """Return the totals that the four read models give, read page by page."""
    agents = await rows_of(await story.read_model(AgentTable), "get_all_agents")
    tasks = await rows_of(await story.read_model(TaskTable), "get_all_tasks")
    live = await rows_of(await story.read_model(MemoryTable), "get_active_memories")
    swarms = await story.read_model(SwarmTable)
    return {
        "swarms": {
            "total": len(await rows_of(swarms, "get_all_swarms")),
            "terminated": len(await rows_of(swarms, "get_swarms_by_status", "terminated")),
        },
        "agents": totals_of_agents(
            (row.swarm, row.name, row.task_count, len(row.completed_tasks)) for row in agents
        ),
        "tasks": totals_of_tasks((row.swarm, row.name, row.status) for row in tasks),
        "memory": {
            "live": len(live),
            "sha256_swarm_key": sum_of((row.swarm, row.name) for row in live),
        },
    }


async def test_tables_give_every_total(store: EventStore, recording: Recording) -> None:
    await import_run_lines(store, recording.lines())

    async with Backstory(store, projections=[*FORMS.values()]) as story:
        found = await totals_of_tables(story)

    assert recording.expected.items() >= found.items()


async def test_tables_give_every_total_without_their_rows(
    store: EventStore, recording: Recording
) -> None:
    expected = recording.expected
    await import_run_lines(store, recording.lines())

    async with Backstory(store, projections=[*FORMS.values()]) as story:
        agents, tasks = await story.read_model(AgentTable), await story.read_model(TaskTable)
        memories = await story.read_model(MemoryTable)
        metrics = await agents.get_completion_metrics()
        usage = await memories.get_usage_by_namespace()

        assert (await agents.get_health()).agent_count == expected["agents"]["total"]
        assert metrics.assigned_count == expected["agents"]["tasks_assigned"]
        assert metrics.completed_count == expected["agents"]["tasks_completed"]
        assert await tasks.count_by_status() == expected["tasks"]["by_status"]
        assert sum(used.active_count for used in usage.values()) == expected["memory"]["live"]


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "tables"), FORMS.items())
async def test_both_forms_answer_every_question_alike_at_any_position(
    recording: Recording, memory: type[Projection], tables: type[TableProjection]
) -> None:
    async with InMemoryStore() as store:
        await import_run_lines(store, recording.lines())
        head = await store.head()

        for position in (1, 100, head // 3, head):
            model = await fold_log(store, memory, until_position=position)
            table = await fold_log(store, tables, until_position=position)
            await assert_same(model, table, page_row_count=_PAGE_ROW_COUNT)


async def test_swarms_count_what_their_tasks_became(
    store: EventStore, recording: Recording
) -> None:
    await import_run_lines(store, recording.lines())

    async with Backstory(store, projections=[SwarmTable]) as story:
        swarms = await (await story.read_model(SwarmTable)).get_all_swarms()

    by_status: Counter[str] = Counter()
    for row in swarms:
        by_status.update(row.tasks_by_status)
    assert by_status == recording.expected["tasks"]["by_status"]
    assert sum(row.agent_count for row in swarms) == recording.expected["agents"]["total"]
