"""While a page is handled, the next one is read; and nobody sees a difference but in time."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from tests.conftest import DEADLINE_SECONDS, Counted, drain, new_event

from backstory import (
    ANY,
    Backstory,
    EventFilter,
    EventStore,
    LogRead,
    Projection,
    RecordedEvent,
    StoreUnavailableError,
    StreamRead,
    TableProjection,
    on,
)
from backstory._pages import ReadAhead
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio

PAGE = 1_000
EVENT_COUNT = 4 * PAGE + 1

Pages = AsyncIterator[list[RecordedEvent]]
READS: dict[str, Callable[[EventStore], Pages]] = {
    "read_page": lambda store: store.read_log_pages(),
    "read_stream_page": lambda store: store.read_stream_pages("counter-1"),
}


@pytest.fixture(params=READS)
def verb(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def store() -> AsyncIterator[FaultyStore]:
    """Yield a store that reads ahead, says what it is asked, and holds five pages."""
    async with FaultyStore(InMemoryStore()) as store:
        store.capabilities = replace(store.capabilities, reads_ahead=True)
        await fill(store)
        yield store


async def fill(store: EventStore) -> None:
    """Append five pages of events to one stream."""
    for count in (*([PAGE] * 4), 1):
        events = [new_event(Counted()) for _ in range(count)]
        await store.append("counter-1", events, expected_version=ANY)


def reads_of(store: FaultyStore) -> list[int]:
    """Return behind what each page was asked for."""
    asked = [read for call in store.calls for read in call.arguments]
    return [
        read.after_position if isinstance(read, LogRead) else read.after_version
        for read in asked
        if isinstance(read, LogRead | StreamRead)
    ]


async def test_next_page_is_asked_for_from_the_second_on(store: FaultyStore, verb: str) -> None:
    asked: list[int] = []

    async for events in READS[verb](store):
        asked.append(len(reads_of(store)))
        assert events

    assert asked == [1, 3, 4, 5, 5]
    assert reads_of(store) == [0, PAGE, 2 * PAGE, 3 * PAGE, 4 * PAGE]


async def test_store_that_does_not_say_so_is_asked_for_one_page_at_a_time(
    store: FaultyStore, verb: str
) -> None:
    store.capabilities = replace(store.capabilities, reads_ahead=False)

    asked = [len(reads_of(store)) async for _ in READS[verb](store)]

    assert asked == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("limit", [1, PAGE, 2 * PAGE, 2 * PAGE + 1, EVENT_COUNT, EVENT_COUNT + 1])
@pytest.mark.parametrize("direction", ["forward", "backward"])
async def test_limit_and_direction_are_kept(store: FaultyStore, limit: int, direction: str) -> None:
    backward = direction == "backward"
    every = list(range(1, EVENT_COUNT + 1))
    expected = every[::-1][:limit] if backward else every[:limit]

    of_log = await drain(store.read_log(limit=limit, backward=backward))
    of_stream = await drain(store.read_stream("counter-1", limit=limit, backward=backward))

    assert [event.position for event in of_log] == expected
    assert [event.version for event in of_stream] == expected
    assert sum(_sizes(store)) <= 2 * limit, "no page holds more than is wanted"


def _sizes(store: FaultyStore) -> list[int]:
    asked = [read for call in store.calls for read in call.arguments]
    return [read.limit for read in asked if isinstance(read, LogRead | StreamRead)]


async def test_failure_ahead_is_tried_anew_when_the_page_is_wanted(
    store: FaultyStore, verb: Any
) -> None:
    store.fail(verb, at=3)

    events = [event async for page in READS[verb](store) for event in page]

    assert [event.position for event in events] == list(range(1, EVENT_COUNT + 1))
    assert reads_of(store).count(2 * PAGE) == 2


async def test_failure_that_lasts_is_told_behind_what_was_read(
    store: FaultyStore, verb: Any
) -> None:
    store.fail(verb, at=3, times=None)

    pages = READS[verb](store)

    assert len(await anext(pages)) == len(await anext(pages)) == PAGE
    with pytest.raises(StoreUnavailableError):
        await anext(pages)


async def test_failure_while_it_is_waited_for_is_told(store: FaultyStore, verb: Any) -> None:
    delay, pages = store.delay(verb, at=3), READS[verb](store)

    async def read_on() -> None:
        with pytest.raises(StoreUnavailableError):
            await anext(pages)

    await anext(pages)
    await anext(pages)
    async with anyio.create_task_group() as group:
        group.start_soon(read_on)
        await delay.wait_reached()
        await anyio.lowlevel.checkpoint()
        store.crash()


async def test_iteration_that_is_closed_ends_what_it_has_begun(store: FaultyStore) -> None:
    store.delay("read_page", at=3)  # and nobody lets it go
    before = asyncio.all_tasks()

    async with aclosing(store.read_log()) as events:
        for _ in range(PAGE + 1):
            await anext(events)
        assert asyncio.all_tasks() - before
    await anyio.lowlevel.checkpoint()

    assert asyncio.all_tasks() == before


async def test_iteration_that_is_given_up_leaves_nothing_behind(
    store: FaultyStore, verb: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store.delay(verb, at=3)  # and nobody lets it go
    before = asyncio.all_tasks()

    async for _ in (pages := READS[verb](store)):
        if len(reads_of(store)) == 3:
            break
    del pages
    gc.collect()

    with anyio.fail_after(DEADLINE_SECONDS):
        while asyncio.all_tasks() - before:
            await anyio.lowlevel.checkpoint()
    assert not caplog.records


async def test_failure_that_nobody_asks_for_is_not_logged(
    store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail("read_page")
    pages = ReadAhead(store.read_page, is_on=True)

    await pages.begin(log_read(0))
    await anyio.lowlevel.checkpoint()
    del pages
    gc.collect()

    assert not caplog.records


async def test_another_page_than_the_one_begun_is_read_anew(store: FaultyStore) -> None:
    pages = ReadAhead(store.read_page, is_on=True)

    await pages.begin(log_read(0))
    page = await pages.read(log_read(PAGE))

    assert page.events[0].position == PAGE + 1
    assert reads_of(store) == [0, PAGE]


def log_read(after_position: int) -> LogRead:
    return LogRead(after_position, None, EventFilter(), False, PAGE)


async def test_what_is_appended_meanwhile_is_read_in_its_order(store: FaultyStore) -> None:
    seen: list[int] = []

    async for page in store.read_log_pages():
        seen += [event.position for event in page]
        await store.append("counter-2", [new_event(Counted())], expected_version=ANY)

    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) >= EVENT_COUNT


class Total(Projection, name="read-ahead"):
    """Counts."""

    count: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.count += event.by


class Rows(TableProjection, name="read-ahead-rows"):
    """Counts in a table, so that each page is kept."""

    schema = ("CREATE TABLE {counted} (by INTEGER)",)

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.execute("INSERT INTO {counted} VALUES ($1)", event.by)


async def test_projection_asks_for_a_page_before_it_keeps_the_last(tmp_path: Path) -> None:
    async with FaultyStore(SQLiteStore(tmp_path / "story.db")) as store:
        store.capabilities = replace(store.capabilities, reads_ahead=True)
        await fill(store)
        async with Backstory(store, projections=[Rows]) as story:
            model = await story.read_model(Rows)
            assert await model.read_rows("SELECT count(*) FROM {counted}") == [(EVENT_COUNT,)]

    calls = [call.verb for call in store.calls if call.verb in ("read_page", "put_progress")]
    catching_up = calls[calls.index("read_page") :][:8]
    assert catching_up == ["read_page", *(["read_page", "put_progress"] * 4)][:8]


async def test_projection_meets_a_failure_ahead_by_trying_anew(
    store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail("read_page", at=2)

    async with Backstory(store, projections=[Total]) as story:
        assert (await story.read_model(Total)).count == EVENT_COUNT

    assert reads_of(store).count(PAGE) == 2
    assert "projector.waiting" not in caplog.messages
