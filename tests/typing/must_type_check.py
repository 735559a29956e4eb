"""Programs as users write them; both type checkers must find nothing to say.

Not run: the checkers read it, and `assert_type` says what they must have inferred.
"""

from typing import Any, assert_type

import backstory
from backstory import (
    Aggregate,
    Backstory,
    BlockingBackstory,
    DomainError,
    Event,
    Projection,
    Receipt,
    RecordedEvent,
    Repository,
    on,
    where,
)


class TaskCreated(Event, type="typing:created"):
    title: str
    priority: int = 0


def _count_pages(data: dict[str, Any]) -> dict[str, Any]:
    return {"pages": len(data["chapters"])}


class TaskCompleted(
    Event,
    type="typing:completed",
    schema_version=2,
    aliases=("typing:done",),
    upcasters={1: _count_pages},
):
    pages: int


class TaskFailed(Event, type="typing:failed"):
    reason: str = ""


class Reviewed(TaskCompleted, type="typing:reviewed"):
    by: str


class Shared(Aggregate):
    title: str = ""

    def rename(self, title: str) -> str:
        self.title = title
        return title


class Task(Shared, category="typing", revision=2, snapshot_every=10):
    status: str = "new"
    steps: list[int] = []

    def create(self, title: str, *, priority: int = 0) -> None:
        if self.version > 0:
            raise DomainError(f"task {self.id} already exists")
        self.emit(TaskCreated(title=title, priority=priority))

    def complete(self, pages: int) -> int:
        self.emit(TaskCompleted(pages=pages))
        return len(self.steps)

    @on(TaskCreated)
    def _created(self, event: TaskCreated) -> None:
        self.title, self.status = event.title, "created"

    @on(TaskCompleted, TaskFailed)
    def _ended(self, event: TaskCompleted | TaskFailed) -> None:
        self.status = event.event_type


class Counts(Projection, name="counts", revision=3):
    counts: dict[str, int] = {}

    @on(TaskCreated, TaskCompleted, TaskFailed)
    def _count(
        self, event: TaskCreated | TaskCompleted | TaskFailed, recorded: RecordedEvent
    ) -> None:
        self.counts[recorded.type] = len(event.event_type)

    @on(Reviewed)
    def _reviewed(self, event: Reviewed) -> None:
        self.counts[event.by] = event.pages


async def program() -> None:
    async with Backstory("memory://", projections=[Counts]) as story:
        await story.execute(Task.create, "write-docs", title="Write the docs", priority=1)
        await story.execute(Task.create, "write-docs", "Write the docs")
        assert_type(await story.execute(Task.complete, "write-docs", pages=3), int)
        assert_type(await story.execute(Task.rename, "write-docs", "New"), str)
        scope = story.using(actor="ada", tags=["x"], idempotency_key="k", ticket=7)
        assert_type(await scope.execute(Task.complete, "write-docs", 3), int)
        with story.using(correlation_id="c"):
            assert_type(await story.load(Task, "write-docs", at_version=1), Task)
        model = await story.read_model(Counts)
        assert_type(model, Counts)
        assert_type(model.counts, dict[str, int])
        task = await story.load(Task, "write-docs")
        assert_type(task.status, str)
        assert_type(await story.save(task), Receipt | None)
        async for recorded in story.replay(after_position=0, where=where(types=[TaskCreated])):
            assert_type(recorded, RecordedEvent)
            if isinstance(recorded.data, TaskCreated):
                assert_type(recorded.data.title, str)
        async with story.subscribe() as subscription:
            assert_type(await anext(subscription), RecordedEvent)
        assert_type(story.repository, Repository)


def program_without_async() -> None:
    with backstory.open("memory://", projections=[Counts]) as story:
        assert_type(story, BlockingBackstory)
        story.execute(Task.create, "write-docs", title="Write the docs", priority=1)
        assert_type(story.execute(Task.complete, "write-docs", pages=3), int)
        scope = story.using(actor="ada", tags=["x"], idempotency_key="k", ticket=7)
        assert_type(scope.execute(Task.complete, "write-docs", 3), int)
        with story.using(correlation_id="c"):
            assert_type(story.load(Task, "write-docs", at_version=1), Task)
        assert_type(story.read_model(Counts), Counts)
        assert_type(story.save(story.load(Task, "write-docs")), Receipt | None)
        for recorded in story.replay(after_position=0, where=where(types=[TaskCreated])):
            assert_type(recorded, RecordedEvent)
        assert_type(story.run(lambda story: story.store.head()), int)
        assert_type(story.run(Backstory.load, Task, "write-docs"), Task)
