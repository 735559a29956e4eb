"""A small swarm under hundreds of orders of work, with faults and crashes, and what it does wrong.

Two agents take tasks from a board. The first version looks at the board, and then takes a task in
the agent's own stream: between the two another agent may have looked as well. The simulation runs
it with one seed after the other until it fails, and says with which; the same seed fails again. The
second version takes a task on condition that nobody else has, and passes every seed.

Output:
    Hasty failed: AssertionError: a task was taken twice
    its seed fails again, in the same way: True
    Careful passed 200 seeds
    with crashes True, lost answers True, delays True
"""

import anyio

from backstory import (
    ANY,
    Backstory,
    Decision,
    Event,
    EventFilter,
    NewEvent,
    Projection,
    RecordedEvent,
    derive_event_id,
    on,
    where,
)
from backstory.testing import Scenario, Simulation, SimulationFailedError, simulate

TASKS = ("sweep", "paint")


class TaskTaken(Event, type="board:task-taken"):
    task: str

    def event_tags(self) -> list[str]:
        return [f"task:{self.task}"]


class Board(Projection):
    taken: dict[str, str] = {}

    @on(TaskTaken)
    def _taken(self, event: TaskTaken, recorded: RecordedEvent) -> None:
        self.taken[event.task] = recorded.id


class Hasty(Scenario):
    projections = (Board,)

    async def run(self, story: Backstory) -> None:
        async with anyio.create_task_group() as agents:
            agents.start_soon(self.work, story, "ada")
            agents.start_soon(self.work, story, "bob")

    async def work(self, story: Backstory, agent: str) -> None:
        for task in TASKS:
            await self.take(story, agent, task)

    async def take(self, story: Backstory, agent: str, task: str) -> None:
        board = await story.read_model(Board)
        if task not in board.taken:
            id = derive_event_id(agent, task)  # the same after a crash, so that it is taken once
            event = NewEvent.of(TaskTaken(task=task), event_id=id)
            await story.store.append(f"agent-{agent}", [event], expected_version=ANY)

    async def check(self, story: Backstory) -> None:
        taken = [event.data async for event in story.read_log()]
        tasks = sorted(event.task for event in taken if isinstance(event, TaskTaken))
        if tasks != sorted(TASKS):
            raise AssertionError("a task was taken twice")


class Take(Decision):
    agent: str
    task: str
    is_taken: bool = False

    def query(self) -> EventFilter:
        return where(types=[TaskTaken], tags=[f"task:{self.task}"])

    @on(TaskTaken)
    def _taken(self, event: TaskTaken) -> None:
        self.is_taken = True

    def decide(self) -> None:
        if not self.is_taken:
            self.emit(TaskTaken(task=self.task), stream_id=f"agent-{self.agent}")


class Careful(Hasty):
    async def take(self, story: Backstory, agent: str, task: str) -> None:
        await story.decide(Take(agent=agent, task=task))


def first_failure() -> SimulationFailedError:
    try:
        simulate(Hasty)
    except SimulationFailedError as error:
        return error
    raise AssertionError("nothing was found")


# print(failure) says the seed too, the faults that it takes, and the last calls of the store.
failure = first_failure()
print(f"Hasty failed: {failure.reason}")

try:
    Simulation(Hasty, seed=failure.seed, plan=failure.plan).run()
except SimulationFailedError as again:
    print("its seed fails again, in the same way:", again.trace == failure.trace)

simulate(Careful, seeds=range(200))
print("Careful passed 200 seeds")

struck: set[str] = set()
for seed in range(50):
    simulation = Simulation(Careful, seed=seed)
    simulation.run()
    struck.update(simulation.struck.values())
print(f"with crashes {'crash' in struck}, lost answers {'lose_answer' in struck},", end=" ")
print(f"delays {'delay' in struck}")
