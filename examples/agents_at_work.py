"""The domain that comes with Backstory: an agent's life, a task's work, what is remembered.

Output:
    agent ada is active, did 1 task in 4.0 s
    agents in research: ['ada']
    task survey is completed by ada: 3 sources
    task review waits for ['survey']
    memory in notes: 120 bytes, read 2 times
    success rate 100 %, tasks by status {'completed': 1, 'blocked': 1}
"""

import anyio

from backstory import Backstory
from backstory_aggregates import Agent, Memory, Task
from backstory_projections import AgentState, MemoryIndex, TaskHistory


async def work(story: Backstory) -> None:
    await story.execute(Agent.spawn, "ada", role="researcher", domain="research")
    await story.execute(Agent.start, "ada")

    await story.execute(Task.create, "survey", title="Survey the field", task_type="research")
    await story.execute(Task.create, "review", title="Review the survey", dependencies=["survey"])
    await story.execute(Task.block, "review", blocked_by=["survey"])

    ada = story.using(actor="ada")
    await ada.execute(Agent.assign_task, "ada", task_id="survey")
    await ada.execute(Task.start, "survey", agent_id="ada")
    await ada.execute(Memory.store, "m-1", namespace="notes", key="sources", size=120)
    await ada.execute(Memory.retrieve, "m-1")
    await ada.execute(Memory.retrieve, "m-1")
    await ada.execute(Task.complete, "survey", result="3 sources", duration_seconds=4.0)
    await ada.execute(Agent.complete_task, "ada", task_id="survey", duration_seconds=4.0)


async def main() -> None:
    async with Backstory("memory://", projections=[AgentState, TaskHistory, MemoryIndex]) as story:
        await work(story)

        agents = await story.read_model(AgentState)
        if (ada := agents.get_agent("ada")) is not None:
            seconds, count = ada.average_task_duration_seconds, len(ada.completed_tasks)
            print(f"agent ada is {ada.status}, did {count} task in {seconds} s")
        print("agents in research:", [row.id for row in agents.get_agents_by_domain("research")])

        tasks = await story.read_model(TaskHistory)
        for row in tasks.get_tasks_by_agent("ada"):
            print(f"task {row.id} is {row.status} by {row.assigned_agent}: {row.result}")
        for row in tasks.get_tasks_by_status("blocked"):
            print(f"task {row.id} waits for {list(row.blocked_by)}")

        memories = await story.read_model(MemoryIndex)
        for memory in memories.get_memories_by_namespace("notes"):
            size, count = memory.size, memory.access_count
            print(f"memory in {memory.namespace}: {size} bytes, read {count} times")
        rate = 100 * (tasks.get_success_rate() or 0)
        print(f"success rate {rate:.0f} %, tasks by status {tasks.count_by_status()}")


anyio.run(main)
