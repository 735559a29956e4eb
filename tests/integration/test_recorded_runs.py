"""Recordings of real agent systems give the totals that were counted without us, and come back.

They are no part of this checkout: they are looked for beside it, in `../shared/data`. Their README
says what a line is, and how the sums over the totals are made.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backstory import Backstory, EventStore, Projection, fold_log
from backstory._projection import project
from backstory_aggregates.run_lines import export_run_lines, import_run_lines, read_run_lines
from backstory_projections import AgentState, MemoryIndex, SwarmState, TaskHistory

pytestmark = pytest.mark.anyio

PROJECTIONS: tuple[type[Projection], ...] = (AgentState, TaskHistory, MemoryIndex, SwarmState)


class Recording:
    """One recording, and what was counted in it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runs.jsonl"
        self.expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())

    def lines(self) -> Iterator[bytes]:
        """Iterate over the lines as bytes."""
        with self.path.open("rb") as file:
            yield from read_run_lines(file)

    def values(self) -> Iterator[dict[str, Any]]:
        """Iterate over the lines as values."""
        return map(json.loads, self.lines())


@pytest.fixture(params=["avalon", "tau_airline"])
def recording(request: pytest.FixtureRequest) -> Recording:
    """Return each recording in turn."""
    folder = request.config.rootpath.parent / "shared" / "data" / request.param
    if not folder.is_dir():
        pytest.skip(f"the recording {request.param!r} is not beside this checkout")
    return Recording(folder)


def sum_of(rows: Iterable[tuple[object, ...]]) -> str:
    """Return the sha256 over sorted rows."""
    texts = sorted("\t".join(map(str, row)) for row in rows)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def exactly(value: object) -> str:
    """Return a JSON value as text that tells 1, 1.0 and true apart, and knows no order of keys."""
    return json.dumps(value, sort_keys=True)


def totals_of_lines(lines: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Count the totals in lines, with nothing of ours."""
    agents: dict[tuple[str, str], list[int]] = {}
    tasks: dict[tuple[str, str], str] = {}
    live: set[tuple[str, str]] = set()
    types: Counter[str] = Counter()
    for line in lines:
        types[line["type"]] += 1
        subject, _, what = line["type"].partition(".")
        if subject == "agent":
            counts = agents.setdefault((line["swarm"], line["agent"]), [0, 0])
            counts[0] += what == "task_assigned"
            counts[1] += what == "task_completed"
        elif subject == "task":
            tasks[line["swarm"], line["task"]] = what
        elif what == "stored":
            live.add((line["swarm"], line["key"]))
        elif what in ("deleted", "expired"):
            live.discard((line["swarm"], line["key"]))
    return {
        "by_type": dict(types),
        "agents": totals_of_agents((*agent, *counts) for agent, counts in agents.items()),
        "tasks": totals_of_tasks((*task, status) for task, status in tasks.items()),
        "memory": {"live": len(live), "sha256_swarm_key": sum_of(live)},
    }


def totals_of_agents(rows: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    listed = list(rows)
    return {
        "total": len(listed),
        "tasks_assigned": sum(row[2] for row in listed),
        "tasks_completed": sum(row[3] for row in listed),
        "sha256_swarm_agent_assigned_completed": sum_of(listed),
    }


def totals_of_tasks(rows: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    listed = list(rows)
    return {
        "total": len(listed),
        "by_status": dict(Counter(row[2] for row in listed)),
        "sha256_swarm_task_status": sum_of(listed),
    }


async def totals_of_read_models(store: EventStore) -> dict[str, Any]:
    """Return the totals that the four read models give."""
    agents = (await fold_log(store, AgentState)).get_all_agents()
    tasks = (await fold_log(store, TaskHistory)).get_all_tasks()
    live = (await fold_log(store, MemoryIndex)).get_active_memories()
    swarms = await fold_log(store, SwarmState)
    return {
        "swarms": {
            "total": len(swarms.get_all_swarms()),
            "terminated": len(swarms.get_swarms_by_status("terminated")),
        },
        "agents": totals_of_agents(
            (row.swarm, row.name, row.task_count, len(row.completed_tasks)) for row in agents
        ),
        "tasks": totals_of_tasks((row.swarm, row.name, row.status) for row in tasks),
        "memory": {
            "live": len(live),
            "sha256_swarm_key": sum_of((row.swarm, row.name) for row in live),
        },
    }


async def test_import_gives_every_total_and_every_line_back(
    store: EventStore, recording: Recording
) -> None:
    expected = recording.expected

    summary = await import_run_lines(store, recording.lines())
    exported = [json.loads(text) async for text in export_run_lines(store)]

    assert summary.line_count == summary.added_count == expected["events_total"]
    assert expected.items() >= (await totals_of_read_models(store)).items()
    assert expected.items() >= totals_of_lines(exported).items()
    assert list(map(exactly, exported)) == list(map(exactly, recording.values()))


async def test_second_import_adds_nothing(store: EventStore, recording: Recording) -> None:
    await import_run_lines(store, recording.lines())
    head = await store.head()

    summary = await import_run_lines(store, recording.lines())

    assert summary.added_count == 0
    assert summary.present_count == recording.expected["events_total"]
    assert await store.head() == head


async def test_read_model_of_any_position_is_the_fold_of_what_came_before(
    store: EventStore, recording: Recording
) -> None:
    await import_run_lines(store, recording.lines())
    models = [projection() for projection in PROJECTIONS]
    head = await store.head()
    positions = {1, 2, 3, *range(100, head, head // 12), head - 1, head}

    async with Backstory(store) as story:
        async for recorded in store.read_log():
            for model in models:
                project(model, recorded)
            if recorded.position in positions:
                for model in models:
                    past = await story.read_model(type(model), at_position=recorded.position)
                    assert past == model


async def test_read_models_come_back_from_a_checkpoint_equal(
    store: EventStore, recording: Recording
) -> None:
    await import_run_lines(store, recording.lines())

    for projection in PROJECTIONS:
        model = await fold_log(store, projection)

        assert msgspec.json.decode(msgspec.json.encode(model), type=projection) == model


async def test_swarms_say_how_their_games_ended(store: EventStore, recording: Recording) -> None:
    if "games_won_by_good" not in recording.expected:
        pytest.skip("nobody plays in this recording")
    await import_run_lines(store, recording.lines())

    winners: Counter[str] = Counter()
    async for text in export_run_lines(store):
        winners[json.loads(text)["data"].get("winner")] += 1
    state = await fold_log(store, SwarmState)

    assert winners["good"] == recording.expected["games_won_by_good"]
    assert winners["evil"] == recording.expected["games_won_by_evil"]
    assert sum(len(row.milestones) for row in state.get_all_swarms()) == 60
