"""A program ends while it uses a store: by a signal, by its loop, or because somebody closes it."""

import asyncio
import random
import signal
import threading
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS, drain, noted
from tests.faults.account import faults
from tests.faults.child import start
from tests.integration.process import lines

from backstory import (
    ANY,
    EventStore,
    Receipt,
    StoreClosedError,
    StoreUnavailableError,
)
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


def interrupt(path: Path, way: str, number: signal.Signals, after: int) -> tuple[int, list[int]]:
    """Send a signal to a program after so many lines; return its exit code, and its lines."""
    beats: list[int] = []
    with start("interrupted.py", path, way) as process:
        for line in lines(process):
            beats.append(line)
            if len(beats) == after:
                process.send_signal(number)
        code = process.wait(DEADLINE_SECONDS)
    return code, beats


@pytest.mark.slow
@pytest.mark.fault(29, without="answers that wait for COMMIT")
@pytest.mark.parametrize("way", ["async", "blocking"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signal_ends_the_program_and_loses_nothing(
    tmp_path: Path, way: str, number: signal.Signals
) -> None:
    path = tmp_path / "story.db"
    chance = random.Random(way)  # noqa: S311 - a fixed sample
    said: list[int] = []

    for _ in range(4):
        after = chance.randint(1, 40)
        code, beats = await anyio.to_thread.run_sync(interrupt, path, way, number, after)
        faults.count()
        # Python ends a program that was interrupted by the signal itself.
        assert code == -number
        said += beats
        async with SQLiteStore(path) as store:
            versions = [event.version for event in await drain(store.read_stream("heart-1"))]
        assert versions == list(range(1, len(versions) + 1))
        assert said[-1] <= len(versions) <= said[-1] + 1
        said[-1] = len(versions)


@pytest.mark.fault(29, without="the wait for the writer to end by itself")
async def test_closing_under_appends_answers_each_of_them(tmp_path: Path) -> None:
    for turns in range(12):
        store = SQLiteStore(tmp_path / f"{turns}.db")
        await store.open()
        answers: list[object] = []

        async def append(
            number: int, store: EventStore = store, answers: list[object] = answers
        ) -> None:
            try:
                answer: object = await store.append(
                    f"task-{number}", noted("a", "b"), expected_version=0
                )
            except StoreClosedError as error:
                answer = error
            answers.append(answer)

        with anyio.fail_after(DEADLINE_SECONDS):
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(append, number)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                faults.count()
                await store.aclose()

        assert len(answers) == 20
        receipts = [answer for answer in answers if isinstance(answer, Receipt)]
        async with SQLiteStore(tmp_path / f"{turns}.db") as again:
            assert len(await drain(again.read_log())) == 2 * len(receipts)


@pytest.mark.fault(29, without="the check whether the store is open")
async def test_use_after_closing_is_refused_by_every_call(store: EventStore) -> None:
    await store.append("task-1", noted("a"), expected_version=0)
    await store.aclose()
    await store.aclose()

    for call in (
        lambda: store.append("task-1", noted("a"), expected_version=ANY),
        lambda: drain(store.read_log()),
        lambda: drain(store.read_stream("task-1")),
        lambda: drain(store.read_effects("x")),
        store.statistics,
        store.head,
        store.delete_snapshots,
        lambda: store.load_checkpoint("Counts"),
        lambda: store.try_own("Counts"),
        lambda: store.wait_beyond(0),
    ):
        faults.count()
        with pytest.raises(StoreClosedError):
            await call()


@pytest.mark.fault(29, without="the wake-up of those who wait when the store is closed")
async def test_subscribers_end_when_the_store_is_closed(store: EventStore) -> None:
    ended: list[type[Exception]] = []

    async def follow() -> None:
        try:
            async with store.subscribe() as subscription:
                async for _ in subscription:
                    pass
        except StoreClosedError as error:
            ended.append(type(error))

    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            faults.count(20)
            await store.aclose()

    assert ended == [StoreClosedError] * 20


@pytest.mark.fault(29, without="the closing of the writing connection")
async def test_loop_that_is_stopped_in_the_middle_leaves_a_whole_store(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    threads = threading.active_count()

    def run(turns: int) -> None:
        async def main() -> None:
            async with SQLiteStore(path) as store:
                append = asyncio.create_task(
                    store.append("task-1", noted("a", "b"), expected_version=ANY)
                )
                for _ in range(turns):
                    await asyncio.sleep(0)
                append.cancel()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())

    for turns in range(10):
        faults.count()
        await anyio.to_thread.run_sync(run, turns)

    with anyio.fail_after(DEADLINE_SECONDS):
        while threading.active_count() > threads + 1:
            await anyio.to_thread.run_sync(time.sleep, 0)  # a turn for the threads
    async with SQLiteStore(path) as store:
        versions = [event.version for event in await drain(store.read_log())]
        assert versions == list(range(1, len(versions) + 1))
        assert len(versions) % 2 == 0
        assert (await store.append("task-1", noted("c"), expected_version=ANY)).last_version


@pytest.mark.slow
@pytest.mark.fault(29, 33, without="the time limit of the turn")
async def test_process_that_stands_still_in_its_turn_holds_others_up_no_longer_than_said(
    tmp_path: Path,
) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path, busy_timeout_seconds=0.5) as store:
        with start("holding.py", path) as process:
            assert next(lines(process)) == "held"
            faults.count()
            with anyio.fail_after(DEADLINE_SECONDS):
                with pytest.raises(StoreUnavailableError, match="other processes wrote for"):
                    await store.append("task-1", noted("a"), expected_version=ANY)
                assert await store.head() == 0
            process.kill()

        receipt = await store.append("task-1", noted("a"), expected_version=0)

    assert receipt.last_version == 1
