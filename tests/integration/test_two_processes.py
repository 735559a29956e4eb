"""Several processes share one file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS, drain, noted
from tests.faults.account import faults
from tests.integration.process import finish, start

from backstory import ANY, EventStore, RecordedEvent, Subscription
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


async def follow(subscription: Subscription, count: int) -> list[RecordedEvent]:
    """Return the next events of a subscription."""
    with anyio.fail_after(DEADLINE_SECONDS):
        return [await anext(subscription) for _ in range(count)]


async def run(process: Any) -> list[Any]:
    return await anyio.to_thread.run_sync(finish, process)


def check(log: list[RecordedEvent], acknowledged: list[dict[str, Any]]) -> None:
    """Check that every acknowledged event is there, once, and no version has two winners."""
    by_id = {recorded.event_id: recorded for recorded in log}
    assert len(by_id) == len(log)
    for said in acknowledged:
        places = [(by_id[id].stream_id, by_id[id].version) for id in said["event_ids"]]
        first, last = said["versions"]
        assert places == [(said["stream_id"], version) for version in range(first, last + 1)]
    streams: dict[str, int] = {}
    for recorded in log:
        streams[recorded.stream_id] = streams.get(recorded.stream_id, 0) + 1
        assert recorded.version == streams[recorded.stream_id]


async def test_subscription_sees_what_another_process_appends(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path) as store, store.subscribe() as subscription:
        await store.append("own-1", noted("before"), expected_version=ANY)

        acknowledged = await run(start("writer.py", path, "other", 40, 2, 2))
        await store.append("own-1", noted("after"), expected_version=ANY)

        count = 2 + sum(len(said["event_ids"]) for said in acknowledged)
        seen = await follow(subscription, count)
        assert seen == await drain(store.read_log())
        check(seen[1:-1], acknowledged)


async def test_subscription_follows_while_others_append(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path) as store, store.subscribe() as subscription:
        acknowledged = await run(start("writer.py", path, "a", 30, 2, 2))
        count = sum(len(said["event_ids"]) for said in acknowledged)

        assert await follow(subscription, count) == await drain(store.read_log())
        async with anyio.create_task_group() as group:
            group.start_soon(append_elsewhere_when_live, path, subscription)

            # Nothing is appended here that could wake it.
            (seen,) = await follow(subscription, 1)
            assert seen.stream_id == "hot-0"


async def append_elsewhere_when_live(path: Path, subscription: Subscription) -> None:
    with anyio.fail_after(DEADLINE_SECONDS):
        while not subscription.is_live:
            await anyio.lowlevel.checkpoint()
    await run(start("writer.py", path, "b", 1, 1, 1))


@pytest.mark.parametrize(
    ("processes", "appends"),
    [
        (2, 100),
        pytest.param(2, 2_000, marks=pytest.mark.slow),
        pytest.param(8, 300, marks=pytest.mark.slow),
    ],
)
@pytest.mark.fault(10, 33, "T32", without="BEGIN IMMEDIATE, and the turn")
async def test_processes_share_streams_without_an_error(
    tmp_path: Path, processes: int, appends: int
) -> None:
    path = tmp_path / "story.db"
    acknowledged: list[dict[str, Any]] = []

    async def write(number: int) -> None:
        acknowledged.extend(await run(start("writer.py", path, f"w{number}", appends, 1, 2)))

    with anyio.fail_after(100):
        async with anyio.create_task_group() as group:
            for number in range(processes):
                group.start_soon(write, number)
                faults.count()

    assert len(acknowledged) == processes * appends
    async with SQLiteStore(path) as store:
        log = await drain(store.read_log())
    assert len(log) == sum(len(said["event_ids"]) for said in acknowledged)
    check(log, acknowledged)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
@pytest.mark.fault(33, "T32", without="the turn around the migrations, and their second look")
async def test_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / f"{attempt}.db"
        processes = [start("writer.py", path, f"w{number}", 1, 1, 1) for number in range(6)]
        faults.count(len(processes))
        for process in processes:
            assert len(await run(process)) == 1
        async with SQLiteStore(path) as store:
            assert len({stream.stream_id async for stream in store.read_streams()}) == 1


async def test_stores_of_one_process_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "story.db"

    async def write(store: EventStore, name: str) -> None:
        for number in range(50):
            await store.append("hot-1", noted(f"{name} {number}"), expected_version=ANY)

    async with SQLiteStore(path) as one, SQLiteStore(path) as other:
        async with other.subscribe() as subscription, anyio.create_task_group() as group:
            group.start_soon(write, one, "one")
            group.start_soon(write, other, "other")
            seen = await follow(subscription, 100)
            assert [event.version for event in seen] == list(range(1, 101))

        assert await drain(one.read_log()) == await drain(other.read_log())
