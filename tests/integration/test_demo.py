"""The demonstration does its work once, whatever interrupts it, and can say why it did anything."""

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import pytest
from anyio.abc import Process
from msgspec import Struct

from backstory import Event, RecordedEvent, store_of, where
from backstory_aggregates import split_member_id
from backstory_aggregates.agent import AgentFailed, AgentSpawned, AgentStarted, AgentStopped
from backstory_aggregates.memory import MemoryStored
from backstory_aggregates.swarm import (
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmPhaseChanged,
    SwarmTerminated,
)
from backstory_aggregates.task import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)

pytestmark = pytest.mark.anyio

ROOT: Final = Path(__file__).parents[2]
DEADLINE_SECONDS: Final = 60
CHAIN: Final = [f"link_{number:02}.py" for number in range(12)]
BROKEN, USER, USER_OF_USER = "broken.py", "user_of_broken.py", "user_of_user.py"
CIRCLE: Final = [f"round_{number}.py" for number in range(10)]
FILES: Final = [*CHAIN, *CIRCLE, BROKEN, USER, USER_OF_USER]
TASKS: Final = sorted([*FILES, "survey", "report"])


class Past(Struct, frozen=True):
    """Everything that is in a store."""

    events: list[RecordedEvent]

    def of(self, *events: type[Event]) -> list[RecordedEvent]:
        """Return the events of some classes, in their order."""
        types = [event.event_type for event in events]
        return [recorded for recorded in self.events if recorded.type in types]

    def about(self, name: str) -> list[RecordedEvent]:
        """Return what happened to the member of a swarm that has this name."""
        return [recorded for recorded in self.events if name_of(recorded) == name]

    def findings(self) -> Counter[tuple[str, str]]:
        """Return what was remembered: each memory's name with its value, and how often."""
        stored = self.of(MemoryStored)
        return Counter((name_of(recorded), recorded.data_json.decode()) for recorded in stored)


def name_of(recorded: RecordedEvent) -> str:
    return split_member_id(recorded.id)[1]


def names_of(events: Sequence[RecordedEvent]) -> list[str]:
    return [name_of(recorded) for recorded in events]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of source code: a chain of imports, a circle, and a file that is broken."""
    folder = tmp_path_factory.mktemp("source")
    for number, name in enumerate(CHAIN):
        line = f"from {CHAIN[number - 1][:-3]} import work\n" if number else ""
        (folder / name).write_text(f"{line}\ndef work(found=[]):\n    return found\n")
    for number, name in enumerate(CIRCLE):
        (folder / name).write_text(f'"""Round."""\n\nimport {CIRCLE[number - 1][:-3]}\n')
    (folder / BROKEN).write_text("def work(:\n")
    (folder / USER).write_text('"""Uses."""\n\nfrom broken import work\n')
    (folder / USER_OF_USER).write_text('"""Uses \\d."""\n\nfrom user_of_broken import work\n')
    return folder


@pytest.fixture
def url(url_of: Callable[[str], str]) -> str:
    """Return the URL of a store that is not there yet, of each kind in turn."""
    return url_of("swarm")


@asynccontextmanager
async def demo(*arguments: str | Path) -> AsyncGenerator[Process]:
    """Run the demonstration; it is killed if it runs longer than the block."""
    roots = (str(ROOT / root) for root in ("framework", "aggregates", "projections"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "PYTHONUTF8": "1"}
    program = [sys.executable, "-W", "error", str(ROOT / "examples" / "swarm" / "main.py")]
    with anyio.fail_after(DEADLINE_SECONDS):
        async with await anyio.open_process(
            [*program, *map(str, arguments)], env=environment
        ) as process:
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()


async def output_of(process: Process) -> tuple[int, str]:
    """Return the exit code of a process that ends by itself, and what it printed."""
    assert process.stdout is not None
    printed = b"".join([chunk async for chunk in process.stdout])
    return await process.wait(), printed.decode()


async def run_demo(*arguments: str | Path) -> str:
    """Run the demonstration to its end, and return what it printed."""
    async with demo(*arguments) as process:
        code, printed = await output_of(process)
    assert code == 0, printed
    return printed


async def read_past(url: str) -> Past:
    async with store_of(url, read_only=True) as store:
        return Past([recorded async for recorded in store.read_log()])


async def wait_for(url: str, count: int, *, event: type[Event] | None = None) -> None:
    """Return when so many events have been appended from now on, or the swarm has ended."""
    wanted = where(types=() if event is None else (event, SwarmTerminated))
    async with store_of(url, read_only=True) as store:
        head = await store.head()
        async with store.subscribe(after_position=head, where=wanted) as subscription:
            for _ in range(count):
                if (await anext(subscription)).type == SwarmTerminated.event_type:
                    return


async def create_store(url: str) -> None:
    """Create an empty store, so that there is one to look at before the demonstration begins."""
    async with store_of(url):
        pass


async def audited(folder: Path, url: str) -> Past:
    """Run the demonstration to its end, and return what it left."""
    await run_demo(folder, "--store", url)
    return await read_past(url)


@pytest.fixture(scope="module")
def past(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Past:
    """Return what one run that nobody disturbed has left."""
    return anyio.run(audited, folder, f"sqlite:///{tmp_path_factory.mktemp('store') / 'swarm.db'}")


def test_every_file_is_completed_once_or_has_failed_for_good(past: Past) -> None:
    assert sorted(names_of(past.of(TaskCreated))) == TASKS
    assert sorted([*names_of(past.of(TaskCompleted)), BROKEN]) == TASKS
    assert names_of(past.of(TaskFailed)) == [BROKEN, BROKEN]


def test_a_failed_task_is_tried_again_by_another_agent(past: Past) -> None:
    starts = [event.data for event in past.about(BROKEN) if event.type == TaskStarted.event_type]
    agents = {start.agent_id for start in starts if isinstance(start, TaskStarted)}
    assert len(starts) == len(agents) == 2


def test_what_depends_on_a_failed_task_is_blocked_and_goes_on(past: Past) -> None:
    steps = [event.type for event in past.about(USER)]
    lifecycle = (TaskCreated, TaskBlocked, TaskQueued, TaskStarted, TaskCompleted)
    assert steps == [event.event_type for event in lifecycle]
    assert names_of(past.of(TaskBlocked)) == [USER]
    assert f"unchecked-import:{USER}:3:unchecked-import" in names_of(past.of(MemoryStored))


def test_a_task_starts_when_what_it_depends_on_is_settled(past: Past) -> None:
    settled = {name_of(event): event.position for event in past.of(TaskCompleted, TaskFailed)}
    started = {name_of(event): event.position for event in past.of(TaskStarted)}
    for event in past.of(TaskCreated):
        if isinstance(created := event.data, TaskCreated):
            for dependency in created.dependencies or ():
                first = split_member_id(dependency)[1]
                assert settled[first] < started[name_of(event)]


def test_every_event_but_the_first_has_a_cause_before_it(past: Past) -> None:
    first, *others = past.events
    seen = {first.event_id}
    assert first.type == SwarmInitialized.event_type
    for event in others:
        assert event.metadata.causation_id in seen
        assert event.metadata.correlation_id == first.metadata.correlation_id
        assert event.metadata.actor
        seen.add(event.event_id)


def test_agents_all_start_and_stop(past: Past) -> None:
    agents = sorted(names_of(past.of(AgentSpawned)))
    assert len(agents) > 1
    assert sorted(names_of(past.of(AgentStarted))) == agents
    assert sorted(names_of(past.of(AgentStopped))) == agents


@pytest.mark.slow
async def test_a_second_run_adds_nothing(folder: Path, url: str) -> None:
    before = await audited(folder, url)

    printed = await run_demo(folder, "--store", url)

    assert await read_past(url) == before
    assert "already" in printed
    assert "Findings by rule" in printed


@pytest.mark.slow
async def test_fresh_begins_another_swarm_in_the_same_store(folder: Path, url: str) -> None:
    before = await audited(folder, url)

    await run_demo(folder, "--store", url, "--fresh")

    past = await read_past(url)
    assert past.events[: len(before.events)] == before.events
    assert [event.id for event in past.of(SwarmInitialized)] == ["audit-1", "audit-2"]
    assert past.findings() == Counter(dict.fromkeys(before.findings(), 2))


@pytest.mark.slow
async def test_interrupted_it_stops_its_agents_and_goes_on_later(folder: Path, url: str) -> None:
    await create_store(url)
    async with demo(folder, "--store", url, "--pace", "0.05") as process:
        await wait_for(url, 4, event=TaskCompleted)
        process.send_signal(signal.SIGINT)
        code, printed = await output_of(process)
    paused = await read_past(url)

    past = await audited(folder, url)

    assert code == 130
    assert "the same command goes on with it" in printed
    assert len(paused.of(AgentStopped)) == len(paused.of(AgentSpawned))
    assert len(past.of(SwarmPhaseChanged)) == 5
    assert not past.of(AgentFailed, SwarmErrorOccurred)
    assert Counter(names_of(past.of(TaskStarted)))[BROKEN] == 2
    assert_everything_is_done_once(past)


@pytest.mark.slow
async def test_a_second_process_takes_the_swarm_over(folder: Path, url: str) -> None:
    await create_store(url)
    async with demo(folder, "--store", url, "--pace", "0.2") as process:
        await wait_for(url, 4, event=TaskCompleted)
        past = await audited(folder, url)
        code, printed = await output_of(process)

    assert code == 1
    assert "Another process coordinates" in printed
    assert_everything_is_done_once(past)


@pytest.mark.slow
@pytest.mark.parametrize("round_number", range(3))
async def test_killed_at_any_moment_it_goes_on(
    folder: Path, url: str, past: Past, round_number: int
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"round {round_number}, seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    await create_store(url)
    killed: list[Past] = []

    for _ in range(3):
        async with demo(folder, "--store", url) as process:
            await wait_for(url, chance.randint(1, len(past.events) // 3))
            process.kill()
        killed.append(await read_past(url))
    whole = await audited(folder, url)

    for before in killed:
        assert_what_was_under_way_started_again(before, whole)
    assert_agents_are_lost_or_stopped(whole)
    assert_everything_is_done_once(whole)
    assert whole.findings() == past.findings()


def assert_everything_is_done_once(past: Past) -> None:
    assert sorted(names_of(past.of(TaskCreated))) == TASKS
    assert sorted([*names_of(past.of(TaskCompleted)), BROKEN]) == TASKS
    assert set(past.findings().values()) == {1}


def assert_what_was_under_way_started_again(before: Past, past: Past) -> None:
    moved = before.of(TaskQueued, TaskStarted, TaskCompleted, TaskFailed, TaskBlocked)
    last = {name_of(event): event for event in moved}
    for name, event in last.items():
        if event.type == TaskStarted.event_type:
            later = [each for each in past.about(name) if each.position > event.position]
            assert TaskStarted.event_type in [each.type for each in later]


def assert_agents_are_lost_or_stopped(past: Past) -> None:
    ended = [*names_of(past.of(AgentFailed)), *names_of(past.of(AgentStopped))]
    assert sorted(ended) == sorted(names_of(past.of(AgentSpawned)))
