"""Mistakes that both type checkers must report, each on its own line, which says `# mistake`.

mypy does not look at the keywords of a class whose metaclass makes it; pyright does.

Not run, and left out of the checks of the whole project: test_typing.py runs the checkers over it.
"""

from backstory import (
    Aggregate,
    Backstory,
    BlockingBackstory,
    Event,
    NewEvent,
    Projection,
    RecordedEvent,
    on,
)
from backstory.actors import Actor, ActorSystem


class Created(Event, type="wrong:created"):
    title: str


class Completed(Event, type="wrong:completed"):
    pages: int


class Task(Aggregate, category="wrong"):
    title: str = ""

    def create(self, title: str, *, priority: int = 0) -> str:
        return title

    @on(Created)
    def _created(self, event: Created) -> None:
        self.title = event.title


class Counts(Projection):
    count: int = 0

    @on(Created)
    def _count(self, event: Created, recorded: RecordedEvent) -> None:
        self.count = recorded.version


async def calls(story: Backstory) -> object:
    await story.execute(Task.create, "write-docs", 3)  # mistake
    await story.execute(Task.create, "write-docs")  # mistake
    await story.execute(Task.create, "write-docs", "Write", 7)  # mistake
    await story.execute(Task.create, "write-docs", tilte="Write")  # mistake
    await story.execute(Task.create, 7, "Write")  # mistake
    await story.using(actor="ada").execute(Task.create, "write-docs")  # mistake
    await story.using(actor=7).execute(Task.create, "write-docs", "Write")  # mistake
    answer: int = await story.execute(Task.create, "write-docs", "Write")  # mistake
    await story.load(Task, 7)  # mistake
    await story.load(Counts, "write-docs")  # mistake
    await story.read_model(Task)  # mistake
    assert (await story.read_model(Counts)).counts  # mistake
    await story.store.append("task-1", [Created(title="a")], expected_version=0)  # mistake
    await story.store.append("task-1", [], 0)  # mistake
    NewEvent.of(Created(title="a"))  # mistake
    return answer


def calls_without_async(story: BlockingBackstory) -> object:
    story.execute(Task.create, "write-docs", 3)  # mistake
    story.execute(Task.create, "write-docs", tilte="Write")  # mistake
    story.using(actor="ada").execute(Task.create, "write-docs")  # mistake
    answer: int = story.execute(Task.create, "write-docs", "Write")  # mistake
    story.read_model(Task)  # mistake
    return answer


class Tally(Actor):
    async def add(self, number: int) -> int:
        return number


async def messages(system: ActorSystem) -> object:
    tally = system.spawn(Tally)
    await tally.ask(Tally.add, "one")  # mistake
    answer: str = await tally.ask(Tally.add, 1)  # mistake
    await tally.tell(Tally.add, count=1)  # mistake
    return answer


Created(title=3)  # mistake
Created("a")  # mistake
Created()  # mistake
Created(tilte="a")  # mistake
Created(title="a").title = "b"  # mistake
Task().version = 3  # mistake


class WrongKeyword(Event, tpye="wrong:keyword"):  # mistake, to pyright
    pass


class WrongCategory(Aggregate, categroy="wrong"):  # mistake, to pyright
    pass


class WrongName(Projection, nmae="wrong"):  # mistake, to pyright
    pass


class WrongHandler(Aggregate, category="handler"):
    @on(Created)  # mistake
    def _created(self, event: Completed) -> None: ...

    @on(Completed)  # mistake
    def _completed(self, event: Completed, recorded: RecordedEvent, more: int) -> None: ...

    @on(Task)  # mistake
    def _task(self, event: Created) -> None: ...
