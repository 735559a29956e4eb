"""A writer is killed in the middle of its appends; what it had acknowledged is there."""

import random
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import drain, noted
from tests.faults.account import faults
from tests.integration.process import lines, start

from backstory import ANY, RecordedEvent
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

STRACE = shutil.which("strace")


@dataclass
class Round:
    """One writer, killed after so many acknowledgements."""

    seed: int
    number: int

    def kill_writer(self, path: Path) -> list[dict[str, Any]]:
        chance = random.Random(f"{self.seed} {self.number}")  # noqa: S311 - printed, to be repeated
        wanted = chance.randrange(60)
        name = f"{self.seed}-{self.number}"
        acknowledged: list[dict[str, Any]] = []
        with start("writer.py", path, name, 1_000, chance.choice([1, 4, 16]), 3) as process:
            for line in lines(process):
                acknowledged.append(line)
                if len(acknowledged) == wanted + 1:
                    process.kill()
        assert process.returncode == -signal.SIGKILL
        faults.count()
        return acknowledged


def check(log: list[RecordedEvent], acknowledged: list[dict[str, Any]]) -> None:
    """Check what the fault table asks for: I1 durable, I2 atomic, I4 stream order."""
    by_id = {recorded.event_id: recorded for recorded in log}
    assert len(by_id) == len(log)
    for said in acknowledged:
        found = [by_id[event_id] for event_id in said["event_ids"]]
        assert [event.stream_id for event in found] == [said["stream_id"]] * len(found)
        assert [found[0].version, found[-1].version] == said["versions"]
        assert [found[0].position, found[-1].position] == said["positions"]
        assert {event.data_json.decode() for event in found} == {said["data"]}
    versions: dict[str, int] = {}
    for recorded in log:
        versions[recorded.stream_id] = versions.get(recorded.stream_id, 0) + 1
        assert recorded.version == versions[recorded.stream_id]
    positions = [recorded.position for recorded in log]
    assert positions == sorted(set(positions))


async def check_file(path: Path, acknowledged: list[dict[str, Any]]) -> int:
    """Open the file as the next process would, check it, append to it; return its length."""
    async with SQLiteStore(path) as store:
        log = await drain(store.read_log())
        check(log, acknowledged)
        receipt = await store.append("after-1", noted("alive"), expected_version=ANY)
    assert receipt.first_position > (log[-1].position if log else 0)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return len(log)


def fresh_seed() -> int:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    return seed


@pytest.mark.fault(2, without="answers that wait for COMMIT")
async def test_acknowledged_appends_outlive_a_killed_writer(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "story.db", list[dict[str, Any]]()
    seed = fresh_seed()

    # The second writer opens what the first one left.
    for number in range(2):
        acknowledged += Round(seed, number).kill_writer(path)
        await check_file(path, acknowledged)

    assert acknowledged


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.fault(2, without="answers that wait for COMMIT")
async def test_twenty_killed_writers_lose_nothing(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "story.db", list[dict[str, Any]]()
    seed = fresh_seed()

    for number in range(20):
        acknowledged += Round(seed, number).kill_writer(path)
        # A batch that was under way may be there or not, for each of at most 16 callers.
        count = await check_file(path, acknowledged) - number
        said = sum(len(line["event_ids"]) for line in acknowledged)
        assert said <= count <= said + 16 * 3 * (number + 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(STRACE is None, reason="needs strace")
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
@pytest.mark.fault(1, without="answers that wait for COMMIT")
async def test_kill_at_every_system_call_of_an_append(tmp_path: Path, call: str) -> None:
    ended = False
    calls = 0

    while not ended and calls < 100:
        calls += 1
        path = tmp_path / f"{calls}.db"
        # The file is there already, so that the calls are those of opening, appending, closing.
        await check_file(path, [])
        kill = f"inject={call}:signal=KILL:when={calls}"
        under = (str(STRACE), "-f", "-qq", "-o", "/dev/null", "-e", kill)
        with start("writer.py", path, "strace", 2, 1, 1, under=under) as process:
            acknowledged = list(lines(process))
        ended = process.returncode == 0
        faults.count(not ended)
        assert ended or process.returncode == -signal.SIGKILL
        count = await check_file(path, acknowledged) - 1
        said = sum(len(line["event_ids"]) for line in acknowledged)
        assert said <= count <= said + 3

    assert ended
