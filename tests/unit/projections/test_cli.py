"""`backstory show`, as a user calls it."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from backstory import Repository
from backstory.stores.sqlite import SQLiteStore
from backstory_aggregates import Agent, Memory, Swarm, Task
from backstory_projections.cli import show


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder whose store has two small swarms."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKSTORY_STORE", "sqlite:///story.db")
    anyio.run(live, tmp_path / "story.db")
    return tmp_path


async def live(path: Path) -> None:
    async with SQLiteStore(path) as store:
        repository = Repository(store)
        for swarm in ("s", "other"):
            agent, task = f"{swarm}/ada", f"{swarm}/t"
            await repository.execute(Swarm.initialize, swarm)
            await repository.execute(Agent.spawn, agent, role="writer")
            await repository.execute(Agent.start, agent)
            await repository.execute(Task.create, task, title="Write " + "on and " * 20)
            await repository.execute(Agent.assign_task, agent, task_id=task)
            await repository.execute(Task.start, task, agent_id=agent)
            await repository.execute(Task.complete, task, duration_seconds=1.5)
            await repository.execute(Memory.store, f"{swarm}/k", namespace="talk", size=3)
        await repository.execute(Swarm.terminate, "other")
        await repository.execute(Task.create, "s/[red]u", title="Trick\x1b[31m the terminal")


def call(*arguments: str) -> str:
    result = CliRunner().invoke(show, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in call(*arguments, "--json").splitlines()]


@pytest.mark.parametrize("what", ["swarms", "agents", "tasks", "memory"])
def test_everything_has_a_table(what: str) -> None:
    shown = call(what)

    assert "other" in shown
    assert "┃" in shown


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("swarms",), ["s", "other"]),
        (("swarms", "--swarm", "other"), ["other"]),
        (("swarms", "--status", "running"), ["s"]),
        (("agents",), ["s/ada", "other/ada"]),
        (("agents", "--swarm", "s"), ["s/ada"]),
        (("agents", "--agent", "ada"), ["s/ada", "other/ada"]),
        (("agents", "--agent", "other/ada"), ["other/ada"]),
        (("agents", "--status", "failed"), []),
        (("tasks", "--swarm", "s"), ["s/t", "s/[red]u"]),
        (("tasks", "--status", "completed", "--limit", "1"), ["s/t"]),
        (("tasks", "--agent", "ada"), ["s/t", "other/t"]),
        (("tasks", "--agent", "other/ada"), ["other/t"]),
        (("memory", "--namespace", "talk"), ["s/k", "other/k"]),
        (("memory", "--namespace", "plan"), []),
        (("memory", "--status", "stored", "--swarm", "s"), ["s/k"]),
    ],
)
def test_options_choose_the_rows(arguments: tuple[str, ...], names: list[str]) -> None:
    assert [row["id"] for row in rows(*arguments)] == names


def test_rows_are_shown_as_they_were_at_a_position() -> None:
    statuses = [rows("tasks", "--at-position", str(at))[0]["status"] for at in (4, 6, 7)]

    assert statuses == ["created", "started", "completed"]
    assert call("tasks", "--at-position", "3") == "There are no tasks.\n"


def test_json_has_every_field_of_a_row() -> None:
    (row,) = rows("tasks", "--swarm", "other")

    assert row["duration_seconds"] == 1.5
    assert list(row["agents"]) == ["other/ada"]
    assert row["title"].endswith("on and ")


def test_table_says_how_much_it_does_not_show() -> None:
    assert call("tasks", "--limit", "2").endswith("2 of 3 tasks\n")


def test_long_and_tricky_texts_do_no_harm_to_the_table() -> None:
    shown = call("tasks")

    assert "\x1b[31m" not in shown
    assert "[red]u" in shown
    assert "on and …" in shown or "…" in shown
    assert max(map(len, shown.splitlines())) < 250
