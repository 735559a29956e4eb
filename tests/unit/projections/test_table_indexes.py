"""Every query of the tables is answered through an index, and holds no more than a page."""

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from tests.unit.projections.forms import FORMS, LIVES, Question, answer, questions, remember

from backstory import (
    NO_STREAM,
    Backstory,
    EventStore,
    Projection,
    SQLValue,
    StreamAppend,
    TableProjection,
    TableRows,
    fold_log,
)
from backstory._table_projection import bind
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import new_event
from backstory_aggregates.memory.events import MemoryStored
from backstory_projections import MemoryTable

pytestmark = pytest.mark.anyio

INDEXES: Final = {
    # Where no swarm is said, and where one is.
    "get_all_agents": ("agents__1_all", "agents__1_swarm"),
    "get_agents_by_status": ("agents__1_status", "agents__1_swarm_status"),
    "get_agents_by_domain": ("agents__1_domain", "agents__1_swarm_domain"),
    "get_agents_by_role": ("agents__1_role", "agents__1_swarm_role"),
    "get_active_agent_count": ("agents__1_active", "agents__1_active"),
    "get_completion_metrics": ("agents__1", "agents__1_swarm"),
    "get_health": ("agents__1", "agents__1_swarm"),
    "get_all_tasks": ("tasks__1_all", "tasks__1_swarm"),
    "get_tasks_by_status": ("tasks__1_status", "tasks__1_swarm_status"),
    "get_tasks_by_agent": ("workers__1_agent", ""),
    "get_tasks_by_type": ("tasks__1_type", "tasks__1_swarm_type"),
    "get_completed_task_count": ("tasks__1_status", "tasks__1_swarm_status"),
    "get_average_task_duration": ("tasks__1_status", "tasks__1_swarm_status"),
    "get_success_rate": ("tasks__1_status", "tasks__1_swarm_status"),
    "get_failure_rate": ("tasks__1_status", "tasks__1_swarm_status"),
    "count_by_status": ("tasks__1_status", "tasks__1_swarm_status"),
    "get_all_memories": ("memories__1_all", "memories__1_swarm"),
    "get_active_memories": ("memories__1_active", "memories__1_swarm_active"),
    "get_memories_by_namespace": ("memories__1_namespace", "memories__1_swarm_namespace"),
    "get_most_accessed_memories": ("memories__1_accesses", "memories__1_swarm_accesses"),
    "get_total_size_by_namespace": ("memories__1_namespace", "memories__1_swarm_namespace"),
    "get_usage_by_namespace": ("memories__1_namespace", "memories__1_swarm_namespace"),
    "get_hot_memories": ("memories__1_active", "memories__1_swarm_active"),
    "get_cold_memories": ("memories__1_active", "memories__1_swarm_active"),
    "get_all_swarms": ("swarms__1_all", ""),
    "get_swarms_by_status": ("swarms__1_status", ""),
}
"""What must be in the plan of each query; a row by its id is found by its key."""

WHOLE: Final = ("get_completion_metrics", "get_health")
"""What adds up all agents where no swarm is said, and so goes through all."""

ROW_COUNT: Final = 200_000
PAGE_BYTES_MAX: Final = 8_000_000


class Planner:
    """Answers the queries of a read model, and notes how SQLite goes about each."""

    def __init__(self, store: EventStore, table: TableProjection) -> None:
        self.plans: list[list[str]] = []
        self._store = store
        bind(table, self._answer)

    async def _answer(self, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
        plan = await self._store.query(f"EXPLAIN QUERY PLAN {sql}", parameters)
        self.plans.append([str(row[3]) for row in plan.rows])
        return await self._store.query(sql, parameters)


@pytest.mark.parametrize(("memory", "tables"), FORMS.items())
async def test_every_query_goes_through_its_index(
    memory: type[Projection], tables: type[TableProjection]
) -> None:
    async with InMemoryStore() as store, Backstory(store, projections=[tables]) as story:
        await remember(store, *LIVES)
        model, table = await fold_log(store, memory), await story.read_model(tables)
        planner = Planner(store, table)
        for question in questions(model):
            planner.plans.clear()

            await answer(table, question, 3)

            for plan in planner.plans:
                assert not faults(question, plan), (question, plan)
            wanted = index_of(question)
            assert any(f"{wanted} " in f"{line} " for plan in planner.plans for line in plan)


def faults(question: Question, plan: Sequence[str]) -> list[str]:
    """Return what in a plan reads more than it must."""
    is_whole = question.query in WHOLE and not question.named
    through_tables = [line for line in plan if "__1" in line]
    sorts = [line for line in plan if "TEMP B-TREE" in line]
    # Where rows are joined with what belongs to them, the lines of one page are sorted.
    sorts_max = any("LEFT-JOIN" in line for line in plan)
    return [
        *(line for line in through_tables if "INDEX" not in line and not is_whole),
        *(line for line in plan if "AUTOMATIC" in line),
        *sorts[sorts_max:],
    ]


def index_of(question: Question) -> str:
    """Return the index that a question is answered through."""
    if question.query not in INDEXES or "agent_id" in question.named:
        return "(id=?)"
    return INDEXES[question.query]["swarm" in question.named]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_many_rows_are_read_in_the_memory_of_a_page(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        for start in range(0, ROW_COUNT, 1_000):
            await store.append_many(
                [
                    StreamAppend(f"memory-s/{n}", [new_event(stored(n))], NO_STREAM)
                    for n in range(start, start + 1_000)
                ]
            )
        async with Backstory(store, projections=[MemoryTable]) as story:
            table = await story.read_model(MemoryTable, timeout_seconds=240)
            tracemalloc.start()

            count, last = 0, None
            while page := await table.get_all_memories(limit=1_000, after=last):
                assert [row.name for row in page] == [str(count + n) for n in range(len(page))]
                count, last = count + len(page), page[-1].id
            usage = await table.get_usage_by_namespace(swarm="s")

            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()

    assert count == ROW_COUNT
    assert {name: used.memory_count for name, used in usage.items()} == dict.fromkeys(
        ("0", "1", "2", "3"), ROW_COUNT // 4
    )
    assert peak < PAGE_BYTES_MAX


def stored(number: int) -> MemoryStored:
    return MemoryStored(namespace=str(number % 4), key=f"key {number}", size=number)
