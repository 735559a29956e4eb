"""What waits for a projector, or runs one, is cancelled at each place where it waits.

Afterwards the same call works at once, the read model is what the log says, and nothing is left.
An order that was cancelled has been given or not; given again, it is carried out.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counter, Noted, drain, new_event, noted
from tests.integration.test_cancellation import STEPS, WAITS_MAX, Operation, Step, Watched

from backstory import (
    ANY,
    Backstory,
    EventStore,
    InvalidInputError,
    Projection,
    RecordedEvent,
    TableProjection,
    on,
)

pytestmark = pytest.mark.anyio

BAD: set[str] = set()
"""The texts that cannot be handled now."""
# Behind a variable, where a fingerprint does not look: a handler that is mended is the same.
_bad: ContextVar[set[str]] = ContextVar("bad")
_bad.set(BAD)


def handle(text: str) -> None:
    if text in _bad.get():
        raise ZeroDivisionError(text)


class InMemory(Projection, name="texts", attempt_count_max=1):
    """Keeps the texts in memory."""

    texts: list[str] = []

    @on(Noted)
    def _noted(self, event: Noted) -> None:
        self.texts.append(event.text)
        handle(event.text)

    async def read_texts(self) -> list[str]:
        return sorted(self.texts)


class InTables(TableProjection, name="texts", attempt_count_max=1):
    """Keeps the texts in a table."""

    schema = ("CREATE TABLE {texts} (position BIGINT PRIMARY KEY, text TEXT)",)

    @on(Noted)
    def _noted(self, event: Noted, recorded: RecordedEvent) -> None:
        self.execute("INSERT INTO {texts} VALUES ($1, $2)", recorded.position, event.text)
        handle(event.text)

    async def read_texts(self) -> list[str]:
        rows = await self.read_rows("SELECT text FROM {texts}")
        return sorted(str(text) for (text,) in rows)


FORMS: dict[str, Any] = {"memory": InMemory, "tables": InTables}
PLACES = [
    ("in_memory", "memory"),
    *(("sqlite", "memory"), ("sqlite", "tables")),
    *(("postgres", "memory"), ("postgres", "tables")),
]

everywhere = pytest.mark.parametrize(("store", "form"), PLACES, indirect=["store"])


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> Step:
    return STEPS[request.param]


@pytest.fixture
def bad() -> Iterator[set[str]]:
    """Yield the texts that cannot be handled; none at first, and none afterwards."""
    yield BAD
    BAD.clear()


async def texts_in(story: Backstory, projection: Any) -> list[str]:
    with anyio.fail_after(DEADLINE_SECONDS):
        texts: list[str] = await (await story.read_model(projection)).read_texts()
    return texts


def calls_of(story: Backstory, projection: Any) -> dict[str, Callable[[], Operation]]:
    """Return calls that can be made again and again, each by its name."""
    orders = story.projections
    return {
        "read_model": lambda: partial(story.read_model, projection),
        "list_all": lambda: orders.list_all,
        "show": lambda: partial(orders.show, projection),
        "pause": lambda: partial(orders.pause, projection),
        "resume": lambda: partial(orders.resume, projection),
        "rebuild": lambda: partial(orders.rebuild, projection),
        "reset": lambda: partial(orders.reset, projection),
        "parked": lambda: partial(orders.parked, projection),
        "retry": lambda: partial(orders.retry, projection, "note-bad"),
    }


NAMES = (
    *("read_model", "list_all", "show", "pause", "resume"),
    *("rebuild", "reset", "parked", "retry"),
)


@everywhere
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.fault(28, without="the wait that is its caller's alone")
async def test_cancelled_call_to_a_projector_can_be_made_again(
    store: EventStore, bad: set[str], step: Step, form: str, name: str
) -> None:
    watched, projection = Watched(), FORMS[form]
    bad.add("bad")
    good: list[str] = []
    async with Backstory(store, projections=[projection]) as story:
        await store.append("note-bad", noted("bad"), expected_version=0)
        assert await texts_in(story, projection) == []  # it is parked
        for at in range(1, WAITS_MAX):
            await store.append(f"note-{at}", noted(str(at)), expected_version=0)
            good.append(str(at))
            call = calls_of(story, projection)[name]()

            is_cancelled = await step(call, at)

            with anyio.fail_after(DEADLINE_SECONDS):
                assert await call() is not False
                await story.projections.resume(projection)
                assert await texts_in(story, projection) == sorted(good)
                assert len(await story.projections.parked(projection)) == 1
            if not is_cancelled:
                break
        else:
            pytest.fail("it never ended undisturbed")

        bad.clear()
        assert await story.projections.retry(projection, "note-bad")
        assert await texts_in(story, projection) == sorted([*good, "bad"])
        assert (await story.projections.show(projection)).order_count == 0
    await watched.check()


@everywhere
@pytest.mark.fault(28, 18, without="the wait that is its caller's alone")
async def test_cancelled_discard_leaves_out_one_event_and_no_other(
    store: EventStore, bad: set[str], step: Step, form: str
) -> None:
    watched, projection = Watched(), FORMS[form]
    bad.add("bad")
    good: list[str] = []
    async with Backstory(store, projections=[projection]) as story:
        for at in range(1, WAITS_MAX):
            stream_id = f"note-{at}"
            await store.append(stream_id, noted("bad", str(at)), expected_version=0)
            assert await texts_in(story, projection) == sorted(good)
            discard = partial(story.projections.discard, projection, stream_id)

            is_cancelled = await step(discard, at)

            with anyio.fail_after(DEADLINE_SECONDS):
                with suppress(InvalidInputError):  # it was discarded all the same
                    await discard()
                good.append(str(at))
                while await story.projections.parked(projection):
                    await anyio.lowlevel.checkpoint()
                assert await texts_in(story, projection) == sorted(good)
            if not is_cancelled:
                break
        else:
            pytest.fail("it never ended undisturbed")
    await watched.check()


@everywhere
@pytest.mark.fault(28, without="the stack that ends what was begun")
async def test_cancelled_block_with_projections_and_commands_can_be_run_again(
    store: EventStore, bad: set[str], step: Step, form: str
) -> None:
    watched, projection = Watched(), FORMS[form]
    assert not bad
    await store.append("note-1", [new_event(Noted(text="1"))], expected_version=ANY)

    async def program() -> None:
        async with Backstory(store, projections=[projection]) as story:
            async with anyio.create_task_group() as group:
                for id in "aab":
                    group.start_soon(story.execute, Counter.count, id)
            await story.read_model(projection)
            assert await story.projections.rebuild(projection)

    for at in range(1, WAITS_MAX):
        is_cancelled = await step(program, at)

        await watched.check()
        async with Backstory(store, projections=[projection]) as story:
            assert await texts_in(story, projection) == ["1"]
            for id in "ab":
                total = await story.execute(Counter.look, id)
                assert len(await drain(store.read_stream(f"counter-{id}"))) == total
                assert await story.execute(Counter.count, id) == total + 1
        if not is_cancelled:
            break
    else:
        pytest.fail("it never ended undisturbed")
