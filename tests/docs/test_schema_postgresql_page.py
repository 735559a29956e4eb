"""Every query that the page on the PostgreSQL schema shows gives an answer."""

import re
from pathlib import Path
from typing import Final

import pytest

from backstory import Backstory, Metadata, NewEvent
from backstory_aggregates import Agent, Task
from backstory_aggregates.task import TaskCreated

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "schema-postgresql.md"
QUERIES: Final = re.findall(
    r"^```sql\n(.*?);\n```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_queries_of_the_page_find_something(postgres_url: str) -> None:
    assert len(QUERIES) >= 5
    async with Backstory(postgres_url) as story:
        with story.using(actor="ada", correlation_id="request-7"):
            await story.execute(Agent.spawn, "ada", role="writer")
            await story.execute(Task.create, "write-docs", title="Write the docs")
            await story.execute(Task.start, "write-docs", agent_id="ada")
            await story.execute(Task.fail, "write-docs", error="out of ink")
        tagged = NewEvent.of(
            TaskCreated(title="Pay"),
            event_id="0192e4a0-7c1e-7d5a-8a3b-6f1c2d3e4f50",
            metadata=Metadata(tags=("billing", "urgent")),
        )
        await story.store.append("task-pay", [tagged], expected_version=0)

        for query in QUERIES:
            assert (await story.store.query_tables(query)).rows, query
