"""`backstory show`: swarms, agents, tasks and memories, as they are or as they were."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import click
from msgspec import Struct

from backstory import Projection, fold_log
from backstory.cli import (
    EPILOG,
    json_option,
    open_store,
    print_json,
    print_line,
    print_table,
    run,
    store_option,
)
from backstory_aggregates.swarm.events import split_member_id
from backstory_projections.agent_state import AgentState
from backstory_projections.memory_index import MemoryIndex
from backstory_projections.swarm_state import SwarmState
from backstory_projections.task_history import TaskHistory

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Projection)

_TABLE_ROW_COUNT: Final = 100
_CELL_WIDTH: Final = 60

Columns = Mapping[str, Callable[[Any], object]]
"""The heads of a table's columns, and what stands below them for a row."""

_SWARM_COLUMNS: Final[Columns] = {
    "swarm": lambda row: row.id,
    "status": lambda row: row.status,
    "phase": lambda row: row.phase,
    "agents": lambda row: row.agent_count,
    "active": lambda row: row.active_agent_count,
    "tasks": lambda row: row.task_count,
    "completed": lambda row: row.tasks_by_status.get("completed", 0),
    "failed": lambda row: row.tasks_by_status.get("failed", 0),
    "milestones": lambda row: len(row.milestones),
    "errors": lambda row: row.error_count,
}
_AGENT_COLUMNS: Final[Columns] = {
    "swarm": lambda row: row.swarm,
    "agent": lambda row: row.name,
    "role": lambda row: row.role,
    "status": lambda row: row.status,
    "tasks": lambda row: row.task_count,
    "completed": lambda row: len(row.completed_tasks),
    "failed": lambda row: len(row.failed_tasks),
    "errors": lambda row: row.error_count,
    "current task": lambda row: _name(row.current_task),
    "last activity": lambda row: f"{row.last_activity_at:%Y-%m-%d %H:%M:%S}",
}
_TASK_COLUMNS: Final[Columns] = {
    "swarm": lambda row: row.swarm,
    "task": lambda row: row.name,
    "type": lambda row: row.type,
    "title": lambda row: row.title or row.description,
    "status": lambda row: row.status,
    "agent": lambda row: _name(row.assigned_agent),
    "starts": lambda row: row.start_count,
    "retries": lambda row: row.retry_count,
    "seconds": lambda row: row.duration_seconds,
    "error": lambda row: row.error,
}
_MEMORY_COLUMNS: Final[Columns] = {
    "swarm": lambda row: row.swarm,
    "memory": lambda row: row.name,
    "namespace": lambda row: row.namespace,
    "type": lambda row: row.type,
    "status": lambda row: row.status,
    "bytes": lambda row: row.size,
    "accesses": lambda row: row.access_count,
    "last access": lambda row: (
        f"{row.last_accessed_at:%Y-%m-%d %H:%M:%S}" if row.last_accessed_at else None
    ),
}


def _options(command: F) -> F:
    """Give a command the options that all of them have."""
    for option in (
        json_option,
        store_option,
        click.option("--limit", type=click.IntRange(1), help="At most so many rows."),
        click.option("--at-position", type=click.IntRange(0), help="As it was at this position."),
        click.option("--status", metavar="WORD", help="Only with this status."),
    ):
        command = option(command)
    return command


_swarm_option = click.option("--swarm", metavar="NAME", help="Only of this swarm.")


@click.group(short_help="Show swarms, agents, tasks and memories.", epilog=EPILOG)
def show() -> None:
    """Show what the events of a store add up to, now or at any position.

    Rows stand in the order in which they first appeared. A table shows 100 of them unless --limit
    says otherwise; with --json each row is a line with all its fields, and all are printed.

    \b
    Examples:
      backstory show tasks --status failed
      backstory show agents --at-position 1000
    """  # noqa: D301 - \b keeps click from wrapping


@show.command(epilog=EPILOG)
@_swarm_option
@_options
def swarms(
    *,
    swarm: str | None,
    status: str | None,
    at_position: int | None,
    limit: int | None,
    store: str,
    as_json: bool,
) -> None:
    """Show the swarms: phase, agents, tasks, milestones, errors.

    \b
    Examples:
      backstory show swarms
      backstory show swarms --status running --json
    """  # noqa: D301 - \b keeps click from wrapping
    model = _read(store, SwarmState, at_position)
    rows = model.get_all_swarms() if status is None else model.get_swarms_by_status(status)
    rows = [row for row in rows if swarm in (None, row.id)]
    _print("swarms", _SWARM_COLUMNS, rows, limit=limit, as_json=as_json)


@show.command(epilog=EPILOG)
@_swarm_option
@click.option("--agent", metavar="ID", help="Only this agent.")
@_options
def agents(
    *,
    swarm: str | None,
    agent: str | None,
    status: str | None,
    at_position: int | None,
    limit: int | None,
    store: str,
    as_json: bool,
) -> None:
    """Show the agents: what they are, and what they did.

    An agent is named by its id inside the swarm, or by its whole id.

    \b
    Examples:
      backstory show agents --swarm audit
      backstory show agents --agent audit/ada --json
    """  # noqa: D301 - \b keeps click from wrapping
    model = _read(store, AgentState, at_position)
    rows = model.get_all_agents(swarm=swarm)
    rows = [row for row in rows if status in (None, row.status)]
    rows = [row for row in rows if agent in (None, row.id, row.name)]
    _print("agents", _AGENT_COLUMNS, rows, limit=limit, as_json=as_json)


@show.command(epilog=EPILOG)
@_swarm_option
@click.option("--agent", metavar="ID", help="Only what this agent was assigned or has started.")
@_options
def tasks(
    *,
    swarm: str | None,
    agent: str | None,
    status: str | None,
    at_position: int | None,
    limit: int | None,
    store: str,
    as_json: bool,
) -> None:
    """Show the tasks: what became of them, and who worked on them.

    An agent is named by its id inside the swarm, or by its whole id.

    \b
    Examples:
      backstory show tasks --agent ada
      backstory show tasks --status failed --at-position 1000
    """  # noqa: D301 - \b keeps click from wrapping
    model = _read(store, TaskHistory, at_position)
    rows = model.get_all_tasks(swarm=swarm)
    rows = [row for row in rows if status in (None, row.status)]
    if agent is not None:
        rows = [row for row in rows if any(agent in (id, _name(id)) for id in row.agents)]
    _print("tasks", _TASK_COLUMNS, rows, limit=limit, as_json=as_json)


@show.command(epilog=EPILOG)
@_swarm_option
@click.option("--namespace", metavar="NAME", help="Only in this namespace.")
@_options
def memory(
    *,
    swarm: str | None,
    namespace: str | None,
    status: str | None,
    at_position: int | None,
    limit: int | None,
    store: str,
    as_json: bool,
) -> None:
    """Show the memories: where they lie, whether they are there, how often they are looked at.

    \b
    Examples:
      backstory show memory --namespace talk
      backstory show memory --status stored --json
    """  # noqa: D301 - \b keeps click from wrapping
    model = _read(store, MemoryIndex, at_position)
    rows = model.get_all_memories(swarm=swarm)
    rows = [row for row in rows if status in (None, row.status)]
    rows = [row for row in rows if namespace in (None, row.namespace)]
    _print("memories", _MEMORY_COLUMNS, rows, limit=limit, as_json=as_json)


def _read(url: str, projection: type[M], at_position: int | None) -> M:
    return run(partial(_fold, url, projection, at_position))


async def _fold(url: str, projection: type[M], at_position: int | None) -> M:
    async with open_store(url, read_only=True) as store:
        return await fold_log(store, projection, until_position=at_position)


def _print(
    title: str, columns: Columns, rows: Sequence[Struct], *, limit: int | None, as_json: bool
) -> None:
    if as_json:
        for row in rows[:limit]:
            print_json(row)
        return
    shown = rows[: limit or _TABLE_ROW_COUNT]
    cells = [[_short(cell(row)) for cell in columns.values()] for row in shown]
    print_table(title, list(columns), cells, empty=f"There are no {title}.")
    if len(shown) < len(rows):
        print_line(f"{len(shown):,} of {len(rows):,} {title}")


def _short(value: object) -> object:
    if isinstance(value, str) and len(value) > _CELL_WIDTH:
        return value[: _CELL_WIDTH - 1] + "…"
    return value


def _name(aggregate_id: str | None) -> str | None:
    return None if aggregate_id is None else split_member_id(aggregate_id)[1]
