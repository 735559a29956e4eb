"""A swarm of the domain that comes with Backstory, under the simulation."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, Concatenate, ParamSpec, TypeVar

import anyio
import pytest

from backstory import (
    Aggregate,
    Backstory,
    DomainError,
    Projection,
    StoreUnavailableError,
    where,
)
from backstory.testing import Scenario, simulate
from backstory_aggregates import Agent, Memory, Swarm, Task
from backstory_aggregates.task import TaskCompleted
from backstory_projections import AgentState, MemoryIndex, SwarmState, TaskHistory

A = TypeVar("A", bound=Aggregate)
P = ParamSpec("P")

TASKS = ("survey", "review", "report")
AGENTS = ("ada", "bob")


class SwarmAtWork(Scenario):
    """Two agents take the same tasks, each in an order of its own; whoever is first does one."""

    projections: ClassVar[Sequence[type[Projection]]] = (
        AgentState,
        MemoryIndex,
        SwarmState,
        TaskHistory,
    )

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()

    async def run(self, story: Backstory) -> None:
        await self.order(story, "initialize", Swarm.initialize, "s", max_agents=len(AGENTS))
        for task in TASKS:
            await self.order(story, f"create {task}", Task.create, task, title=task)
        async with anyio.create_task_group() as agents:
            agents.start_soon(self.work, story, "ada", TASKS)
            agents.start_soon(self.work, story, "bob", TASKS[::-1])
        history = await story.read_model(TaskHistory)
        assert history.count_by_status() == {"completed": len(TASKS)}
        await self.order(story, "terminate", Swarm.terminate, "s")

    async def work(self, story: Backstory, agent: str, tasks: Sequence[str]) -> None:
        await self.order(story, f"{agent} spawns", Agent.spawn, agent, role="worker")
        await self.order(story, f"{agent} starts", Agent.start, agent)
        for task in tasks:
            await self.do(story, agent, task)

    async def do(self, story: Backstory, agent: str, task: str) -> None:
        name = f"{agent} {task}"
        await self.order(story, f"{name} assign", Agent.assign_task, agent, task_id=task)
        await self.order(story, f"{name} start", Task.start, task, agent_id=agent)
        if await self.order(story, f"{name} complete", Task.complete, task, result=agent):
            await self.order(story, f"{name} store", Memory.store, task, namespace=agent)
            await self.order(story, f"{name} done", Agent.complete_task, agent, task_id=task)

    async def order(
        self,
        story: Backstory,
        key: str,
        command: Callable[Concatenate[A, P], object],
        id: str,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> bool:
        """Tell whether a command was done, once the store has said so."""
        request = story.using(idempotency_key=key, tags=[key])
        while True:
            try:
                await request.execute(command, id, *args, **kwargs)
            except StoreUnavailableError:
                continue
            except DomainError:
                self.refused.add(key)
                return False
            self.acknowledged.add(key)
            return True

    async def check(self, story: Backstory) -> None:
        done = Counter([tag async for event in story.read_log() for tag in event.metadata.tags])
        assert done == dict.fromkeys(self.acknowledged, 1)
        assert not self.acknowledged & self.refused

        completed = [event.id async for event in story.read_log(where=where(types=[TaskCompleted]))]
        assert sorted(completed) == sorted(TASKS)

        agents = [await story.load(Agent, agent) for agent in AGENTS]
        assert sum(agent.completed_task_count for agent in agents) == len(TASKS)
        assert (await story.load(Swarm, "s")).status == "terminated"


def test_no_task_is_done_twice() -> None:
    simulate(SwarmAtWork, seeds=range(4))


@pytest.mark.slow
def test_no_task_is_done_twice_under_any_seed() -> None:
    simulate(SwarmAtWork, seeds=range(100))
