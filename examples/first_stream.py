"""A task's life, its read model, and its past."""

import anyio

from backstory import Aggregate, Backstory, DomainError, Event, Projection, RecordedEvent, on


class TaskCreated(Event, type="task:created"):
    title: str


class TaskCompleted(Event, type="task:completed"):
    pages: int


class Task(Aggregate, category="task"):
    title: str = ""
    status: str = "new"

    def create(self, title: str) -> None:
        if self.version > 0:
            raise DomainError(f"task {self.id} already exists")
        self.emit(TaskCreated(title=title))

    def complete(self, pages: int) -> None:
        if self.status != "created":
            raise DomainError(f"task {self.id} is {self.status}, cannot complete")
        self.emit(TaskCompleted(pages=pages))

    @on(TaskCreated)
    def _created(self, event: TaskCreated) -> None:
        self.title, self.status = event.title, "created"

    @on(TaskCompleted)
    def _completed(self, event: TaskCompleted) -> None:
        self.status = "completed"


class EventCounts(Projection):
    counts: dict[str, int] = {}

    @on(TaskCreated, TaskCompleted)
    def _count(self, event: Event, recorded: RecordedEvent) -> None:
        self.counts[recorded.type] = self.counts.get(recorded.type, 0) + 1


async def main() -> None:
    # or sqlite:///story.db, which is kept in a file, or postgresql://…
    async with Backstory("memory://", projections=[EventCounts]) as story:
        await story.execute(Task.create, "write-docs", title="Write the docs")
        await story.execute(Task.complete, "write-docs", pages=3)

        model = await story.read_model(EventCounts)  # has seen our own last append
        print(model.counts)

        async for recorded in story.replay(after_position=0):  # from any position
            print(recorded.position, recorded.stream_id, recorded.version, recorded.type)

        past = await story.load(Task, "write-docs", at_version=1)  # time travel
        print(past.status)


anyio.run(main)
