"""A worker: the hands of one agent.

It learns from the log what its agent was assigned, does it, and records what came of it. What it
records while it works has the event `task:started` as its cause, so that the log can tell of each
finding who made it, in which attempt.
"""

from contextlib import suppress

import anyio

from audit import UnreadableError
from backstory import RecordedEvent, stream_id_of, where
from backstory_aggregates import Agent, AgentError, Task, TaskError
from backstory_aggregates.agent import AgentFailed, AgentSpawned, AgentStopped, AgentTaskAssigned
from streams import last_recorded
from work import Workplace, do


async def employ(workplace: Workplace, *, run: str) -> None:
    """Give each agent that is spawned in this run a worker, until cancelled."""
    spawned = where(types=[AgentSpawned], tags=[run])
    async with (
        anyio.create_task_group() as group,
        workplace.story.subscribe(where=spawned) as arrivals,
    ):
        async for recorded in arrivals:
            group.start_soon(Worker(workplace, recorded).run)


class Worker:
    """The hands of one agent."""

    def __init__(self, workplace: Workplace, spawned: RecordedEvent) -> None:
        """Make a worker; `run` lets it work.

        Args:
            workplace: Where.
            spawned: The event that brought the agent into being.
        """
        self._workplace = workplace
        self._story = workplace.story
        self._spawned = spawned
        self._agent = spawned.id

    async def run(self) -> None:
        """Start the agent, and do what it is assigned until it is stopped or declared lost."""
        try:
            await self._start()
            await self._obey()
        except (AgentError, TaskError) as refusal:
            # Another process took this one for dead: it has declared the agent lost, or given its
            # task to somebody else. Whichever it was, the agent is of no more use.
            with suppress(AgentError):
                await self._fail(refusal)

    async def _start(self) -> None:
        with self._story.using(actor=self._agent, caused_by=self._spawned):
            await self._story.execute(Agent.start, self._agent)

    async def _fail(self, refusal: Exception) -> None:
        last = await last_recorded(self._story, self._spawned.stream_id)
        with self._story.using(actor=self._agent, caused_by=last, tags=[self._agent]):
            await self._story.execute(Agent.fail, self._agent, error=str(refusal))

    async def _obey(self) -> None:
        orders = where(types=[AgentTaskAssigned, AgentStopped, AgentFailed], tags=[self._agent])
        async with self._story.subscribe(
            after_position=self._spawned.position, where=orders
        ) as subscription:
            async for order in subscription:
                if not isinstance(order.data, AgentTaskAssigned):
                    return
                await self._work(order.data.task_id or "", order)

    async def _work(self, task: str, order: RecordedEvent) -> None:
        with self._story.using(actor=self._agent, caused_by=order):
            await self._story.execute(Task.start, task, agent_id=self._agent)
        started = await last_recorded(self._story, stream_id_of(Task.category, task))
        with self._story.using(actor=self._agent, caused_by=started):
            try:
                seconds = await self._complete(task, started)
            except (UnreadableError, OSError) as error:
                await self._story.execute(Task.fail, task, error=str(error))
                return
        completed = await last_recorded(self._story, started.stream_id)
        with self._story.using(actor=self._agent, caused_by=completed):
            await self._story.execute(
                Agent.complete_task, self._agent, task_id=task, duration_seconds=seconds
            )

    async def _complete(self, task: str, started: RecordedEvent) -> float:
        since = anyio.current_time()
        result = await do(self._workplace, started)
        seconds = round(anyio.current_time() - since, 6)
        with anyio.move_on_after(self._workplace.pace_seconds):
            await self._workplace.hurry.wait()
        await self._story.execute(Task.complete, task, result=result, duration_seconds=seconds)
        return seconds
