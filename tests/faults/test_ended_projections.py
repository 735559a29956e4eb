"""A program ends while its projectors fold and build anew, and while commands are under way.

By a signal, by its loop, because the block is left, or because somebody closes the store. What was
answered is there, and each event is in the read model once, when the next program reads it.
"""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS, drain, noted
from tests.faults.account import faults
from tests.faults.child import start
from tests.faults.folding import FORMS, HEARTS, Beaten, Heart
from tests.integration.process import lines
from tests.integration.test_cancellation import Watched, no_threads_left

from backstory import (
    ANY,
    Backstory,
    ConfigurationError,
    EventStore,
    ProjectionError,
    ProjectorState,
    StoreClosedError,
    StoreError,
    where,
)
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

__all__ = ["no_threads_left"]

PLACES = [
    ("in_memory", "memory"),
    *(("sqlite", "memory"), ("sqlite", "tables")),
    *(("postgres", "memory"), ("postgres", "tables")),
]
everywhere = pytest.mark.parametrize(("store", "form"), PLACES, indirect=["store"])
in_file = pytest.mark.parametrize("form", FORMS)


async def check(store: EventStore, form: str) -> int:
    """Hold what the next program reads to the log; return how long that is."""
    # Behind whatever a cancelled command has left to the store to do.
    await store.append("note-1", noted("the end"), expected_version=ANY)
    beats = store.read_log(where=where(types=[Beaten]))
    log = [recorded.position for recorded in await drain(beats)]
    async with Backstory(store, projections=[FORMS[form]]) as story:
        with anyio.fail_after(DEADLINE_SECONDS):
            model = await story.read_model(FORMS[form])
            assert await model.read_positions() == log
            assert await story.projections.rebuild(FORMS[form])
            assert await (await story.read_model(FORMS[form])).read_positions() == log
    return len(log)


def end_by_signal(path: Path, form: str, way: str, number: int, after: int) -> tuple[int, Any]:
    """Send a signal to a program after so many lines; return its exit code, and what it said."""
    said: dict[str, int] = {}
    with start("folding.py", path, form, way) as process:
        for count, (heart, beats) in enumerate(lines(process), start=1):
            assert beats == said.get(heart, 0) + 1 or heart not in said
            said[heart] = beats
            if count == after:
                process.send_signal(number)
        code = process.wait(DEADLINE_SECONDS)
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    assert "Traceback" not in errors or number == signal.SIGINT, errors
    return code, said


ENDINGS = {
    "SIGTERM": ("killed", signal.SIGTERM, -signal.SIGTERM),
    "SIGKILL": ("killed", signal.SIGKILL, -signal.SIGKILL),
    "SIGINT": ("killed", signal.SIGINT, -signal.SIGINT),
    "SIGTERM that is handled": ("graceful", signal.SIGTERM, 0),
}


@pytest.mark.slow
@in_file
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.fault(29, 19, 20, "T7", without="the position that a start goes on from")
async def test_signal_in_the_middle_of_folding_loses_and_doubles_nothing(
    tmp_path: Path, form: str, ending: str
) -> None:
    path, chance = tmp_path / "story.db", random.Random(f"{form} {ending}")  # noqa: S311 - a fixed sample
    way, number, expected = ENDINGS[ending]

    for _ in range(4):
        after = chance.randint(1, 60)
        code, said = await anyio.to_thread.run_sync(end_by_signal, path, form, way, number, after)
        faults.count()

        assert code == expected
        async with SQLiteStore(path) as store:
            await check(store, form)
            for heart in HEARTS:
                versions = [one.version for one in await drain(store.read_stream(f"heart-{heart}"))]
                assert versions == list(range(1, len(versions) + 1))
                # At most the one that was under way is there without having been answered.
                assert heart not in said or said[heart] <= len(versions) <= said[heart] + 1


async def beat(story: Backstory, heart: str, answers: list[object]) -> None:
    try:
        answers.append(await story.execute(Heart.beat, heart))
    except StoreError as error:
        answers.append(error)


async def read(story: Backstory, form: str, answers: list[object]) -> None:
    try:
        answers.append(await story.read_model(FORMS[form]))
    except (ProjectionError, StoreError) as error:
        answers.append(error)


@everywhere
@pytest.mark.fault(29, without="the word to those who wait for a projector that ends")
async def test_block_that_is_left_in_the_middle_answers_everybody(
    store: EventStore, form: str
) -> None:
    watched = Watched()
    for turns in range(0, 60, 3):
        answers: list[object] = []
        story = Backstory(store, projections=[FORMS[form]])
        with anyio.fail_after(DEADLINE_SECONDS):
            async with anyio.create_task_group() as outside, story:
                await story.read_model(FORMS[form])
                assert not await story.projections.rebuild(FORMS[form], timeout_seconds=0)
                for heart in HEARTS * 4:
                    outside.start_soon(beat, story, heart, answers)
                    outside.start_soon(read, story, form, answers)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                faults.count()

        assert len(answers) == 8 * len(HEARTS)
        await check(store, form)
    await watched.check()


@everywhere
@pytest.mark.fault(29, without="the last move of a projector that is cancelled")
async def test_block_that_is_cancelled_in_the_middle_answers_everybody(
    store: EventStore, form: str
) -> None:
    watched = Watched()
    for turns in range(0, 60, 3):
        answers: list[object] = []
        story = Backstory(store, projections=[FORMS[form]])
        with anyio.fail_after(DEADLINE_SECONDS):
            async with anyio.create_task_group() as outside:
                with anyio.CancelScope() as scope:
                    async with story:
                        for heart in HEARTS * 4:
                            outside.start_soon(beat, story, heart, answers)
                            outside.start_soon(read, story, form, answers)
                        for _ in range(turns):
                            await anyio.lowlevel.checkpoint()
                        faults.count()
                        scope.cancel()
                        await anyio.lowlevel.checkpoint()

        assert len(answers) == 8 * len(HEARTS)
        await check(store, form)
    await watched.check()


@everywhere
@pytest.mark.fault(29, without="the projector that gives up when its store is closed")
async def test_store_that_is_closed_under_a_block_ends_what_runs_on_it(
    store: EventStore, form: str
) -> None:
    watched, answers = Watched(), list[object]()
    with anyio.fail_after(DEADLINE_SECONDS):
        async with Backstory(store, projections=[FORMS[form]]) as story:
            await beat(story, "a", [])
            await story.read_model(FORMS[form])
            async with anyio.create_task_group() as group:
                for heart in HEARTS * 4:
                    group.start_soon(beat, story, heart, answers)
                    group.start_soon(read, story, form, answers)
                await anyio.lowlevel.checkpoint()
                faults.count()
                await store.aclose()
            for _ in range(2):
                await beat(story, "a", answers)
                await read(story, form, answers)
            while story.projections.status(FORMS[form]).state is not ProjectorState.FAILED:
                await anyio.lowlevel.checkpoint()

    assert len(answers) == 8 * len(HEARTS) + 4
    assert all(isinstance(answer, StoreClosedError) for answer in answers[-4:])
    await watched.check()


def uses_of(story: Backstory, form: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return what a program asks of a Backstory, each by its name."""

    async def projections() -> None:
        await story.projections.list_all()

    async def using() -> None:
        await story.using(actor="late").execute(Heart.beat, "a")

    async def save() -> None:
        heart = Heart.blank("a")
        heart.beat()
        await story.save(heart)

    return {
        "execute": lambda: story.execute(Heart.beat, "a"),
        "using": using,
        "load": lambda: story.load(Heart, "a"),
        "save": save,
        "read_model": lambda: story.read_model(FORMS[form]),
        "projections": projections,
    }


@everywhere
@pytest.mark.fault(29, without="the check whether the block is open")
async def test_use_after_the_block_is_refused_and_leaving_twice_is_harmless(
    store: EventStore, form: str
) -> None:
    story = Backstory(store, projections=[FORMS[form]])
    async with story:
        await story.execute(Heart.beat, "a")
        orders = story.projections
    for _ in range(2):
        await story.__aexit__(None, None, None)

    for use in uses_of(story, form).values():
        faults.count()
        with pytest.raises(StoreClosedError, match="this Backstory"):
            await use()
    # What was taken out of the block speaks to the store, which is open; nobody runs it here.
    assert not await orders.rebuild(FORMS[form])
    assert await check(store, form) == 1


# anyio wraps what a task runs: of a task that asyncio cancels before its first step, it is dropped.
@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning")
@pytest.mark.usefixtures("no_threads_left")
@in_file
@pytest.mark.parametrize("way", ["main returns", "main is interrupted"])
@pytest.mark.fault(29, without="the closing of the store that the block has opened")
async def test_loop_that_ends_in_the_middle_leaves_a_whole_store(
    tmp_path: Path, form: str, way: str
) -> None:
    path = tmp_path / "story.db"

    def run(turns: int) -> None:
        async def use(begun: asyncio.Event) -> None:
            async with Backstory(f"sqlite:///{path}", projections=[FORMS[form]]) as story:
                begun.set()
                await rebuild_and_beat(story, form)

        async def main() -> None:
            begun = asyncio.Event()
            tasks.append(asyncio.create_task(use(begun)))
            await begun.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            if way == "main is interrupted":
                raise KeyboardInterrupt

        tasks: list[asyncio.Task[None]] = []
        if way == "main returns":
            asyncio.run(main())
        else:
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(main())

    for turns in range(0, 40, 4):
        await anyio.to_thread.run_sync(run, turns)
        faults.count()
        async with SQLiteStore(path) as store:
            await check(store, form)


async def rebuild_and_beat(story: Backstory, form: str) -> None:
    """Do this and that without an end."""
    while True:
        await story.execute(Heart.beat, "a")
        await story.projections.rebuild(FORMS[form], timeout_seconds=0)


async def count_refusals(story: Backstory, form: str) -> int:
    """Return how many uses of a Backstory are refused because the process was forked."""
    refused = 0
    for use in uses_of(story, form).values():
        try:
            await use()
        except ConfigurationError as error:
            refused += "before this process was forked" in str(error)
    return refused


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@in_file
@pytest.mark.fault(29, without="the look at the process")
async def test_forked_child_can_do_nothing_and_the_parent_goes_on(
    tmp_path: Path, form: str
) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        async with Backstory(store, projections=[FORMS[form]]) as story:
            await story.execute(Heart.beat, "a")
            await story.read_model(FORMS[form])

            child = os.fork()
            faults.count()
            if not child:  # which has a loop of its own; the parent's threads are not here
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(DEADLINE_SECONDS)
                os._exit(anyio.run(count_refusals, story, form))
            _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once

            assert os.waitstatus_to_exitcode(status) == len(uses_of(story, form))
            assert await story.execute(Heart.beat, "a") == 2
        assert await check(store, form) == 2
