"""`backstory.open`: the same calls without `async`, from whatever thread, and how they end."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.conftest import (
    DEADLINE_SECONDS,
    Counted,
    Counter,
    Noted,
    TooMuchError,
    noted,
    texts_of,
    unchecked,
)

import backstory
from backstory import (
    ANY,
    Aggregate,
    Backstory,
    BlockingBackstory,
    BlockingScope,
    ConfigurationError,
    Decision,
    DecodeError,
    EventFilter,
    InvalidInputError,
    Projection,
    Scope,
    StoreClosedError,
    derive_event_id,
    on,
    where,
)
from backstory import _blocking as module

ROOT = Path(__file__).parents[3]


class Totals(Projection):
    total: int = 0
    steps: list[int] = []

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by
        self.steps.append(event.by)


class Locking(Projection):
    lock: Any = None

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.lock = threading.Lock()


class Quitting(Projection):
    @on(Counted)
    def _counted(self, event: Counted) -> None:
        raise SystemExit(7)


class Caller(Aggregate, category="caller"):
    def call(self, function: Callable[[], object]) -> None:
        function()


class CountOnce(Decision):
    by: int = 1

    def query(self) -> EventFilter:
        return where(types=[Counted])

    def decide(self) -> int:
        self.emit(Counted(by=self.by), stream_id="counter-once")
        return self.by


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/story.db"


@pytest.fixture
def story(url: str) -> Iterator[BlockingBackstory]:
    threads = set(threading.enumerate())
    with backstory.open(url, projections=[Totals]) as story:
        yield story
    for thread in set(threading.enumerate()) - threads:
        thread.join(DEADLINE_SECONDS)  # one of the test's own may be about to end
    assert set(threading.enumerate()) <= threads


def append_notes(story: BlockingBackstory, *texts: str) -> None:
    story.run(lambda story: story.store.append("note-1", noted(*texts), expected_version=ANY))


def test_commands_read_models_and_the_past_are_had_without_async(story: BlockingBackstory) -> None:
    assert story.execute(Counter.count, "1", by=2) == 2
    counter = story.load(Counter, "1")
    counter.count(3)
    receipt = story.save(counter)

    assert receipt is not None
    assert story.head() == receipt.last_position == 2
    assert story.read_model(Totals).steps == [2, 3]
    assert story.read_model(Totals, at_position=1).steps == [2]
    assert story.load(Counter, "1", at_version=1).total == 2
    assert [recorded.data for recorded in story.replay()] == [Counted(by=2), Counted(by=3)]
    [first, _] = story.read_stream("counter-1")
    assert story.read_event(first.event_id) == first


TWINS = [
    (BlockingBackstory, Backstory, name)
    for name in vars(BlockingBackstory)
    if not name.startswith("_") and hasattr(Backstory, name)
] + [(BlockingScope, Scope, name) for name in ("execute", "decide")]


@pytest.mark.parametrize(("blocking", "twin", "name"), TWINS, ids=[name for *_, name in TWINS])
def test_each_call_takes_what_its_twin_takes(blocking: type, twin: type, name: str) -> None:
    ours, theirs = getattr(blocking, name), getattr(twin, name)

    assert parameters(ours) == parameters(theirs)


def test_open_takes_what_backstory_takes() -> None:
    _, *theirs = parameters(Backstory.__init__)

    assert parameters(backstory.open) == theirs


def test_every_call_has_a_twin() -> None:
    public = {name for name in vars(Backstory) if not name.startswith("_")}

    # What has coroutines of its own is reached by `run`.
    unblocked = {"repository", "store", "subscribe", "projections"}
    assert public - set(vars(BlockingBackstory)) == unblocked


def parameters(function: Callable[..., object]) -> list[tuple[object, ...]]:
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


@pytest.mark.parametrize("count", [1, 2, 3, 1_000])
@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"backward": True},
        {"limit": 4},
        {"limit": 3, "backward": True},
        {"limit": 0},
        {"where": where(actor="nobody")},
    ],
    ids=str,
)
def test_iterations_give_what_their_twins_give(
    story: BlockingBackstory, monkeypatch: pytest.MonkeyPatch, count: int, bounds: dict[str, Any]
) -> None:
    monkeypatch.setattr(module, "_CHUNK_EVENT_COUNT", count)
    append_notes(story, *"abcdefg")

    async def twins(story: Backstory) -> tuple[list[Any], list[Any]]:
        log = story.read_log(after_position=1, until_position=6, **bounds)
        stream = story.read_stream("note-1", after_version=1, until_version=6, **bounds)
        return [event async for event in log], [event async for event in stream]

    log, stream = story.run(twins)
    assert list(story.read_log(after_position=1, until_position=6, **bounds)) == log
    assert list(story.replay(after_position=1, until_position=6, **bounds)) == log
    assert list(story.read_stream("note-1", after_version=1, until_version=6, **bounds)) == stream


def test_events_are_asked_for_many_at_a_time(story: BlockingBackstory) -> None:
    append_notes(story, *"abcdefg")
    events = story.read_log()

    first = next(events)
    story.close()

    assert texts_of([first, *events]) == [*"abcdefg"]


def test_large_events_are_asked_for_few_at_a_time(story: BlockingBackstory) -> None:
    for _ in range(3):
        append_notes(story, "x" * 900_000, "y" * 900_000)
    events = story.read_log()

    next(events)
    story.close()

    with pytest.raises(StoreClosedError):
        list(islice(events, 5))


def test_iteration_that_is_left_early_holds_nothing(
    story: BlockingBackstory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_EVENT_COUNT", 2)
    append_notes(story, *"abcdefg")

    left = [story.read_log(), story.replay(backward=True), story.read_stream("note-1")]

    assert texts_of([next(events) for events in left]) == ["a", "g", "a"]
    assert story.run(iterations_under_way) == []


async def iterations_under_way(_: Backstory) -> list[str]:
    """Return the asynchronous generators that the loop would have to end."""
    loop: Any = asyncio.get_running_loop()
    names = [repr(generator) for generator in loop._asyncgens]
    return [name for name in names if "read_" in name]


def test_replay_decodes_before_it_hands_out(story: BlockingBackstory) -> None:
    damaged = unchecked(derive_event_id("y"), "test:counted", 1, b'{"by":"x"}')
    append_notes(story, "a")
    story.run(lambda story: story.store.append("note-1", [damaged], expected_version=ANY))

    events = story.replay()

    assert next(events).data == Noted(text="a")
    with pytest.raises(DecodeError, match="version 2 of stream 'note-1'"):
        next(events)
    assert len(list(story.read_log())) == 2


def test_read_model_is_a_copy_that_nobody_else_has(story: BlockingBackstory) -> None:
    story.execute(Counter.count, "1")
    early = story.read_model(Totals)
    early.steps.append(99)

    story.execute(Counter.count, "1")

    assert early.steps == [1, 99]
    assert story.read_model(Totals).steps == [1, 1]


def test_read_model_that_cannot_be_copied_is_refused() -> None:
    with backstory.open("memory://", projections=[Locking]) as story:
        story.execute(Counter.count, "1")

        with pytest.raises(ConfigurationError, match="read model of 'Locking' cannot be copied"):
            story.read_model(Locking)


def test_decisions_causes_and_correlations_are_had_without_async(story: BlockingBackstory) -> None:
    with story.using(correlation_id="c"):
        assert story.decide(CountOnce()) == 1
    [first] = story.read_log()
    story.using(caused_by=first).decide(CountOnce(by=2))
    story.execute(Counter.count, "2")

    [_, second, _] = story.read_log()
    assert list(story.read_causes(second.event_id)) == [first]
    assert list(story.read_effects(first.event_id)) == [second]
    assert story.read_model(Totals, correlation_id="c").steps == [1, 2]


def test_context_of_a_block_reaches_the_loop(story: BlockingBackstory) -> None:
    story.using(actor="ada").execute(Counter.count, "1")
    with story.using(actor="bob", tags=["x"]):
        story.execute(Counter.count, "1")
        story.using(tags=["y"]).execute(Counter.count, "1")
        counter = story.load(Counter, "1")
        counter.count()
        story.save(counter)
    story.execute(Counter.count, "1")

    said = [(event.metadata.actor, event.metadata.tags) for event in story.read_log()]
    bob = ("bob", ("x",))
    assert said == [("ada", ()), bob, ("bob", ("x", "y")), bob, (None, ())]


def test_block_holds_for_its_own_thread_only(story: BlockingBackstory) -> None:
    with story.using(actor="ada"), ThreadPoolExecutor() as others:
        others.submit(story.execute, Counter.count, "1").result()

    [recorded] = story.read_log()
    assert recorded.metadata.actor is None


def test_key_makes_a_command_happen_once(story: BlockingBackstory) -> None:
    once = story.using(idempotency_key="k")

    assert [once.execute(Counter.count, "1", 5) for _ in range(3)] == [5, 5, 5]
    assert story.head() == 1


def test_several_threads_may_call_at_once(story: BlockingBackstory) -> None:
    with ThreadPoolExecutor(8) as threads:
        for number in range(40):
            threads.submit(story.execute, Counter.count, str(number % 3))

    assert story.head() == 40
    assert story.read_model(Totals).total == 40


def test_stories_can_be_nested(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/story.db"

    with backstory.open(url) as outer, backstory.open(url) as inner:
        outer.execute(Counter.count, "1")
        inner.execute(Counter.count, "1")
        assert (outer.head(), inner.head()) == (2, 2)


@pytest.mark.anyio
async def test_it_works_where_a_loop_is_running(story: BlockingBackstory) -> None:
    story.execute(Counter.count, "1")

    assert story.read_model(Totals).total == 1


def test_error_comes_through_as_it_is_with_its_traceback(story: BlockingBackstory) -> None:
    with pytest.raises(TooMuchError, match="counter 1 is at 0") as caught:
        story.execute(Counter.count, "1", 2_000_000)

    *_, innermost = traceback.extract_tb(caught.value.__traceback__)
    assert (innermost.name, Path(innermost.filename).name) == ("count", "conftest.py")
    assert caught.value.__cause__ is None


def test_command_that_exits_leaves_the_story_open(story: BlockingBackstory) -> None:
    with pytest.raises(SystemExit) as caught:
        story.execute(Caller.call, "1", sys.exit)

    assert caught.value.code is None
    assert story.head() == 0


def test_command_cannot_wait_for_the_story_that_runs_it(story: BlockingBackstory) -> None:
    for call in (story.head, story.close, story.using, lambda: list(story.read_log())):
        with pytest.raises(ConfigurationError, match="would wait for itself"):
            story.execute(Caller.call, "1", call)

    assert story.head() == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot interrupt a thread that waits")
def test_interrupted_call_is_cancelled(story: BlockingBackstory) -> None:
    main = threading.get_ident()
    begun = threading.Event()
    ended: Future[None] = Future()

    async def wait(_: Backstory) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set_result(None)

    def interrupt() -> None:
        begun.wait(DEADLINE_SECONDS)
        signal.pthread_kill(main, signal.SIGINT)

    # A shell starts what it runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ThreadPoolExecutor() as other:
            other.submit(interrupt)
            with pytest.raises(KeyboardInterrupt):
                story.run(wait)
    finally:
        signal.signal(signal.SIGINT, before)

    ended.result(DEADLINE_SECONDS)
    assert story.head() == 0


def test_after_closing_nothing_works(story: BlockingBackstory) -> None:
    counter = story.load(Counter, "1")
    counter.count()
    scope = story.using(actor="ada")
    events = story.read_log()
    story.close()
    story.close()

    for call in (
        lambda: story.execute(Counter.count, "1"),
        lambda: scope.execute(Counter.count, "1"),
        lambda: story.load(Counter, "1"),
        lambda: story.save(counter),
        lambda: story.read_model(Totals),
        lambda: story.read_event(derive_event_id("x")),
        lambda: next(events),
        story.using,
        story.head,
        story.__enter__,
    ):
        with pytest.raises(StoreClosedError):
            call()


def test_closing_lets_calls_under_way_end(story: BlockingBackstory) -> None:
    released = threading.Event()

    async def count_when_released(story: Backstory) -> int:
        await anyio.to_thread.run_sync(released.wait, DEADLINE_SECONDS)
        return await story.execute(Counter.count, "1")

    with ThreadPoolExecutor() as others:
        counting = others.submit(story.run, count_when_released)
        while not counting.running():
            pass
        closing = [others.submit(story.close) for _ in range(2)]
        wait_until_refused(story)
        assert not any(future.done() for future in closing)
        released.set()
        assert counting.result(DEADLINE_SECONDS) == 1
        assert [future.result(DEADLINE_SECONDS) for future in closing] == [None, None]


def wait_until_refused(story: BlockingBackstory) -> None:
    with pytest.raises(StoreClosedError):
        for _ in iter(story.head, None):
            pass


def test_closing_saves_checkpoints(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/story.db"
    with backstory.open(url, projections=[Totals]) as story:
        story.execute(Counter.count, "1")
        story.read_model(Totals)

    with backstory.open(url) as story:
        checkpoint = story.run(lambda story: story.store.load_checkpoint("Totals"))
    assert checkpoint is not None
    assert checkpoint.position == 1


def test_error_in_the_block_leaves_it_as_it_is(url: str) -> None:
    with pytest.raises(TooMuchError, match="full"), backstory.open(url):
        raise TooMuchError("full")


@pytest.mark.parametrize(
    ("url", "arguments", "error"),
    [
        ("story.db", {}, "no store URL"),
        ("nosuch://x", {}, "no store for 'nosuch'"),
        ("memory://", {"projections": [Totals, Totals]}, "two projections"),
        ("memory://", {"attempt_count_max": 0}, "attempt_count_max"),
    ],
    ids=["text", "scheme", "projections", "attempts"],
)
def test_what_cannot_be_opened_is_refused_at_once(
    url: str, arguments: dict[str, Any], error: str
) -> None:
    threads = threading.active_count()

    with pytest.raises((ConfigurationError, InvalidInputError), match=error):
        backstory.open(url, **arguments)

    assert threading.active_count() == threads


def test_loop_that_a_handler_ended_leaves_nobody_waiting() -> None:
    story = backstory.open("memory://", projections=[Quitting])
    begun = threading.Event()

    async def wait(_: Backstory) -> None:
        begun.set()
        await anyio.sleep_forever()

    with ThreadPoolExecutor() as other:
        waiting = other.submit(story.run, wait)
        assert begun.wait(DEADLINE_SECONDS)
        with suppress(StoreClosedError):  # the handler may be faster than the answer
            story.execute(Counter.count, "1")
        with pytest.raises(StoreClosedError):
            waiting.result(DEADLINE_SECONDS)

    with pytest.raises(SystemExit):
        story.close()
    story.close()
    with pytest.raises(StoreClosedError):
        story.head()


def test_forgotten_story_is_closed_with_a_warning(url: str) -> None:
    story = backstory.open(url)
    [thread] = [one for one in threading.enumerate() if one.name == f"event loop of {url}"]

    stories = [story]
    del story
    with pytest.warns(ResourceWarning, match="forgotten while it was open"):
        stories.clear()

    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()


def test_star_import_leaves_pythons_open_alone() -> None:
    names: dict[str, Any] = {}

    exec("from backstory import *", names)  # noqa: S102 - what is to be tested

    assert "open" not in names
    assert names["BlockingBackstory"] is BlockingBackstory


PROGRAM = """
import contextlib, os, sys
import backstory
from tests.conftest import Counted, Counter

class Totals(backstory.Projection):
    total: int = 0

    @backstory.on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by

class Quitting(backstory.Projection):
    @backstory.on(Counted)
    def _counted(self, event: Counted) -> None:
        raise SystemExit(7)

story = backstory.open(sys.argv[1], projections=[Totals])
story.execute(Counter.count, "1")
story.read_model(Totals)
"""


def run_program(url: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a program that opens a story and does not close it."""
    roots = [ROOT, *(ROOT / root for root in ("framework", "aggregates", "projections"))]
    ran = subprocess.run(
        # Python warns of forks beside threads, and of calls that ended before they began; both are
        # what is tested.
        [sys.executable, "-W", "ignore", "-c", PROGRAM + "\n".join(more), url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots))},
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.mark.slow
def test_story_that_is_open_at_exit_is_closed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/story.db"

    ran = run_program(url)

    assert ran.stderr == ""
    assert not (tmp_path / "story.db-wal").exists()  # which the writer takes along when it closes
    with backstory.open(url) as story:
        assert story.run(lambda story: story.store.load_checkpoint("Totals")) is not None


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_process_is_told_to_open_its_own(tmp_path: Path) -> None:
    ran = run_program(
        f"sqlite:///{tmp_path}/story.db",
        "child = os.fork()",
        "if child == 0:",
        "    try:",
        "        story.head()",
        "    except backstory.ConfigurationError as error:",
        "        print(error)",
        "    story.close()",
        "    sys.exit(0)",
        "assert os.waitpid(child, 0)[1] == 0",
        "print(story.head())",
    )

    refused, head = ran.stdout.splitlines()
    assert "open one in each process" in refused
    assert (head, ran.stderr) == ("1", "")


@pytest.mark.slow
def test_calls_that_meet_the_end_of_the_loop_are_refused() -> None:
    ran = run_program(
        "memory://",
        "for _ in range(20):",
        "    doomed = backstory.open('memory://', projections=[Quitting])",
        "    try:",
        "        doomed.execute(Counter.count, '1')",
        "        while True:",
        "            doomed.head()",
        "    except backstory.StoreClosedError:",
        "        print('refused')",
        "    with contextlib.suppress(SystemExit):",
        "        doomed.close()",
    )

    assert ran.stdout.splitlines() == ["refused"] * 20
