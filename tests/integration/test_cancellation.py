"""Every operation is cancelled at every place where it waits.

The stepper drives a coroutine by hand and counts how often it waits; at the k-th time it cancels,
for k = 1, 2, … until the operation ends undisturbed. Afterwards an append has happened once or not
at all, nothing is left behind, and the next operation works at once.
"""

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.conftest import (
    DEADLINE_SECONDS,
    STORES,
    Counted,
    Noted,
    drain,
    new_event,
    noted,
    texts_of,
)
from tests.faults.account import faults

from backstory import (
    ANY,
    Aggregate,
    Backstory,
    Checkpoint,
    EventStore,
    NewEvent,
    Projection,
    Repository,
    Snapshot,
    StoreClosedError,
    StoreUnavailableError,
    StreamAppend,
    on,
    where,
)
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.sqlite._turn import WriteTurn

pytestmark = pytest.mark.anyio

WAITS_MAX = 200
"""No operation waits so often; a test that comes so far has not ended."""


class Stepper:
    """A coroutine that is cancelled when it waits for the k-th time, or also at each one after."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        *,
        at: int,
        cancel: Callable[[], object],
        again: bool = False,
    ) -> None:
        self._coroutine = coroutine
        self._at = at
        self._cancel = cancel
        self._again = again
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._coroutine.__await__()
        thrown: BaseException | None = None
        while True:
            try:
                waited = next(inner) if thrown is None else inner.throw(thrown)
            except StopIteration as end:
                return end.value
            thrown = None
            self.waits += 1
            if self.waits == self._at or (self._again and self.waits == self._at + 1):
                self._cancel()
                faults.count()
            try:
                yield waited
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is passed on
                thrown = error


Operation = Callable[[], Coroutine[Any, Any, Any]]


async def step_by_scope(operation: Operation, at: int) -> bool:
    """Cancel an operation through anyio at its k-th wait; return whether it was cancelled."""
    with anyio.CancelScope() as scope:
        await Stepper(operation(), at=at, cancel=scope.cancel)
    return scope.cancelled_caught


async def step_natively(operation: Operation, at: int, *, again: bool = False) -> bool:
    """Cancel an operation through asyncio at its k-th wait; return whether it was cancelled."""

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        await Stepper(operation(), at=at, cancel=task.cancel, again=again)

    try:
        await asyncio.create_task(run())
    except asyncio.CancelledError:
        return True
    return False


async def step_twice(operation: Operation, at: int) -> bool:
    """Cancel an operation through asyncio at its k-th wait and at the one after."""
    return await step_natively(operation, at, again=True)


Step = Callable[[Operation, int], Awaitable[bool]]
STEPS: dict[str, Step] = {
    "anyio": step_by_scope,
    "asyncio": step_natively,
    "asyncio twice": step_twice,
}


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> Step:
    return STEPS[request.param]


class Tally(Aggregate, category="tally", snapshot_every=1):
    total: int = 0

    def count(self) -> int:
        self.emit(Counted())
        return self.total

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


async def settle_down(condition: Callable[[], bool]) -> None:
    """Wait until what was begun in the background has ended."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while not condition():
            await anyio.to_thread.run_sync(time.sleep, 0)  # a turn for the threads


LASTING = {"pinging of the owning session"}
"""What begins with a store's first use, and ends with the store."""


def names_of_tasks() -> list[str]:
    names = (task.get_name() for task in asyncio.all_tasks() if not task.done())
    return sorted(name for name in names if name not in LASTING)


class Watched:
    """What must be afterwards as it was before: the tasks, and the threads but for readers."""

    def __init__(self) -> None:
        self.tasks = names_of_tasks()
        self.threads = threading.active_count()

    async def check(self) -> None:
        def is_as_before() -> bool:
            return len(names_of_tasks()) <= len(self.tasks) and (
                threading.active_count() <= self.threads + 4
            )

        gc.collect()  # what was thrown away without being closed says so now
        await settle_down(is_as_before)


@pytest.mark.fault(28, "T31", without="the receipt of a repetition")
async def test_cancelled_append_happens_once_or_not_at_all(store: EventStore, step: Step) -> None:
    watched = Watched()

    for at in range(1, WAITS_MAX):
        stream_id, events = f"task-{at}", noted("a", "b")
        is_cancelled = await step(partial(store.append, stream_id, events, expected_version=0), at)

        found = texts_of(await drain(store.read_stream(stream_id)))
        assert found in ([], ["a", "b"])
        again = await store.append(stream_id, events, expected_version=0)
        assert (again.first_version, again.last_version) == (1, 2)
        assert texts_of(await drain(store.read_stream(stream_id))) == ["a", "b"]
        if not is_cancelled:
            break
    else:
        pytest.fail("it never ended undisturbed")

    await watched.check()


@pytest.mark.fault(28, "T31", without="the one commit for all streams of an append")
async def test_cancelled_commit_of_two_streams_is_whole(store: EventStore, step: Step) -> None:
    for at in range(1, WAITS_MAX):
        appends = [StreamAppend(f"{name}-{at}", noted(name), 0) for name in ("one", "two")]
        is_cancelled = await step(partial(store.append_many, appends), at)

        # In one read: what was under way when its caller left may be committed between two.
        of_both = where(streams=[part.stream_id for part in appends])
        assert texts_of(await drain(store.read_log(where=of_both))) in ([], ["one", "two"])
        if not is_cancelled:
            break
    else:
        pytest.fail("it never ended undisturbed")


@pytest.mark.fault(28, "T31", without="the look whether a caller is still there")
async def test_cancelled_append_leaves_its_neighbours_alone(store: EventStore, step: Step) -> None:
    for at in range(1, WAITS_MAX):
        cancelled: list[bool] = []

        async def interrupted(at: int = at, cancelled: list[bool] = cancelled) -> None:
            cancelled.append(
                await step(lambda: store.append(f"gone-{at}", noted("x"), expected_version=0), at)
            )

        async def neighbour(number: int, at: int = at) -> None:
            receipt = await store.append(f"task-{at}-{number}", noted("a"), expected_version=0)
            assert receipt.last_version == 1

        with anyio.fail_after(DEADLINE_SECONDS):
            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(neighbour, number)
                group.start_soon(interrupted)
                for number in range(3, 6):
                    group.start_soon(neighbour, number)
        if cancelled == [False]:
            break
    else:
        pytest.fail("it never ended undisturbed")


def reads_of(store: EventStore, event: NewEvent) -> dict[str, Operation]:
    """Return every operation that writes no event of the stream, by its name."""

    async def read_streams() -> None:
        assert len([stream async for stream in store.read_streams("task")]) == 1

    async def subscribe() -> None:
        async with store.subscribe() as subscription:
            assert (await anext(subscription)).event_id == event.event_id

    async def wait_beyond() -> None:
        head = await store.head()
        async with anyio.create_task_group() as group:
            group.start_soon(store.wait_beyond, head)
            await store.append("note-1", noted("a"), expected_version=ANY)

    return {
        "read_stream": lambda: drain(store.read_stream("task-1")),
        "read_log": lambda: drain(store.read_log(where=where(types=[Noted]), backward=True)),
        "read_log_page": store.read_log_page,
        "read_event": lambda: store.read_event(event.event_id),
        "read_streams": read_streams,
        "subscribe": subscribe,
        "head": store.head,
        "wait_beyond": wait_beyond,
        "save_snapshot": lambda: store.save_snapshot(Snapshot("task-1", 1, "f", b"{}")),
        "load_snapshot": lambda: store.load_snapshot("task-1", fingerprint="f"),
        "delete_snapshots": store.delete_snapshots,
        "save_checkpoint": lambda: store.save_checkpoint(Checkpoint("Counts", 1, "f", b"{}")),
        "load_checkpoint": lambda: store.load_checkpoint("Counts"),
        "delete_checkpoint": lambda: store.delete_checkpoint("Counts"),
        "load": lambda: Repository(store).load(Tally, "1"),
    }


@pytest.mark.parametrize("name", reads_of(STORES["in_memory"](Path(), None), new_event()))
@pytest.mark.fault(28, "T31", without="the return of a reader whose caller is gone")
async def test_cancelled_operation_can_be_made_again(
    store: EventStore, step: Step, name: str
) -> None:
    event = new_event()
    await store.append("task-1", [event], expected_version=0)
    watched = Watched()

    for at in range(1, WAITS_MAX):
        operation = reads_of(store, event)[name]
        is_cancelled = await step(operation, at)
        with anyio.fail_after(DEADLINE_SECONDS):
            await operation()
        if not is_cancelled:
            break
    else:
        pytest.fail("it never ended undisturbed")

    await watched.check()
    assert (await store.append("task-1", noted("a"), expected_version=1)).last_version == 2


@pytest.mark.fault(28, "T31", without="the return of a reader whose caller is gone")
async def test_cancelled_long_read_leaves_nothing_behind(store: EventStore, step: Step) -> None:
    count = 3 * 1_000
    for _ in range(count // 500):
        await store.append("task-1", [new_event() for _ in range(500)], expected_version=ANY)
    watched = Watched()

    for at in range(1, WAITS_MAX):
        is_cancelled = await step(lambda: drain(store.read_log()), at)
        if not is_cancelled:
            break
    else:
        pytest.fail("it never ended undisturbed")

    await watched.check()
    assert len(await drain(store.read_log())) == count


@pytest.mark.fault(28, "T31", without="the look for what a key has recorded")
async def test_cancelled_command_takes_effect_once_or_not(store: EventStore, step: Step) -> None:
    repository = Repository(store)
    expected = 0

    for at in range(1, WAITS_MAX):
        key = f"key {at}"
        is_cancelled = await step(
            partial(repository.using(idempotency_key=key).execute, Tally.count, "1"), at
        )

        expected += 1
        assert (await repository.load(Tally, "1")).total in (expected - 1, expected)
        assert await repository.using(idempotency_key=key).execute(Tally.count, "1") == expected
        assert (await repository.load(Tally, "1")).total == expected
        if not is_cancelled:
            break
    else:
        pytest.fail("it never ended undisturbed")

    events = await drain(store.read_stream("tally-1"))
    assert [event.version for event in events] == list(range(1, expected + 1))


@pytest.mark.fault(28, "T31", without="the wait before an event is taken, and none behind it")
async def test_cancelled_wait_for_the_next_event_loses_none(store: EventStore, step: Step) -> None:
    async with store.subscribe() as subscription:
        seen: list[str] = []
        for at in range(1, WAITS_MAX):
            await store.append("task-1", noted(str(at)), expected_version=ANY)

            async def take() -> None:
                seen.extend(texts_of([await anext(subscription)]))

            if not await step(take, at):
                break
        else:
            pytest.fail("it never ended undisturbed")
        while len(seen) < at:
            seen += texts_of([await anext(subscription)])

    assert seen == [str(number) for number in range(1, at + 1)]


@pytest.fixture
async def no_threads_left() -> AsyncIterator[None]:
    """Check that every thread that a test began has ended."""
    before = threading.active_count()
    yield
    gc.collect()
    await settle_down(lambda: threading.active_count() <= before)


@pytest.mark.usefixtures("no_threads_left")
async def test_cancelled_while_a_broken_connection_is_closed_leaves_the_turn_free(
    tmp_path: Path, step: Step
) -> None:
    path = tmp_path / "story.db"
    other = WriteTurn(path, store="other", timeout_seconds=DEADLINE_SECONDS)

    async def fail(store: SQLiteStore) -> None:
        # Not to be stored as text: the transaction fails, and its connection is thrown away.
        with pytest.raises(StoreUnavailableError):
            await store.save_snapshot(Snapshot("task-1", 1, "f\ud800", b"{}"))

    async with SQLiteStore(path) as store:
        for at in range(1, WAITS_MAX):
            is_cancelled = await step(partial(fail, store), at)

            # Another process can write, whether this one writes again or not.
            await anyio.to_thread.run_sync(other.take, "write")
            other.give_back()
            if not is_cancelled:
                break
        else:
            pytest.fail("it never ended undisturbed")
    other.close()


@pytest.mark.usefixtures("no_threads_left")
@pytest.mark.fault(28, "T31", without="the closing after an opening that was cancelled")
async def test_cancelled_opening_leaves_nothing_open(tmp_path: Path, step: Step) -> None:
    before = threading.active_count()

    for at in range(1, WAITS_MAX):
        store = SQLiteStore(tmp_path / "story.db")
        is_cancelled = await step(store.open, at)

        if not is_cancelled:
            await store.aclose()
            break
        await settle_down(lambda: threading.active_count() <= before)
        with pytest.raises(StoreClosedError):
            await store.head()
        async with store:
            await store.append("task-1", noted("a"), expected_version=ANY)
    else:
        pytest.fail("it never ended undisturbed")


@pytest.mark.usefixtures("no_threads_left")
@pytest.mark.fault(28, "T31", without="the shield around the closing")
async def test_cancelled_closing_closes_all_the_same(tmp_path: Path, step: Step) -> None:
    before = threading.active_count()

    for at in range(1, WAITS_MAX):
        store = SQLiteStore(tmp_path / "story.db")
        await store.open()
        appended: list[object] = []

        async def append(store: SQLiteStore = store, appended: list[object] = appended) -> None:
            try:
                appended.append(await store.append("task-1", noted("a"), expected_version=ANY))
            except StoreClosedError as error:
                appended.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(append)
            await drain(store.read_log())
            is_cancelled = await step(store.aclose, at)
            with anyio.fail_after(DEADLINE_SECONDS):
                await store.aclose()

        assert len(appended) == 3
        await settle_down(lambda: threading.active_count() <= before)
        if not is_cancelled:  # pyright: ignore[reportPossiblyUnboundVariable]  # the group swallows nothing
            break
    else:
        pytest.fail("it never ended undisturbed")


class Totals(Projection):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


@pytest.mark.usefixtures("no_threads_left")
@pytest.mark.fault(28, "T31", without="the shield around the closing")
async def test_cancelled_program_can_be_run_again(tmp_path: Path, step: Step) -> None:
    path = tmp_path / "story.db"

    async def program() -> None:
        async with Backstory(f"sqlite:///{path}", projections=[Totals]) as story:
            await story.execute(Tally.count, "1")
            assert (await story.read_model(Totals)).total >= 1

    for at in range(1, WAITS_MAX):
        is_cancelled = await step(program, at)

        async with Backstory(f"sqlite:///{path}", projections=[Totals]) as story:
            total = (await story.read_model(Totals)).total
            assert total == (await story.load(Tally, "1")).total <= at
        if not is_cancelled:
            break
    else:
        pytest.fail("it never ended undisturbed")


@pytest.mark.usefixtures("no_threads_left")
@pytest.mark.fault(29, without="the wait that outlives the writer's own cancellation")
async def test_shutdown_of_the_loop_closes_the_store(tmp_path: Path) -> None:
    # As when main returns while a background task holds the store: the loop cancels every task at
    # once, the store's own among them.
    opened = asyncio.Event()

    async def serve() -> None:
        async with SQLiteStore(tmp_path / "story.db") as store:
            await store.append("task-1", noted("a"), expected_version=ANY)
            opened.set()
            await asyncio.Event().wait()

    def run() -> None:
        async def main() -> None:
            serving.append(asyncio.create_task(serve()))
            await opened.wait()

        serving: list[asyncio.Task[None]] = []
        asyncio.run(main())

    await anyio.to_thread.run_sync(run)
    faults.count()

    async with SQLiteStore(tmp_path / "story.db") as store:
        assert (await store.append("task-1", noted("b"), expected_version=1)).last_version == 2
