"""The coordinator: looks at the board, decides what is next, and has it recorded.

`decide` is a pure function of the board. What it decides is recorded with the event that it was
decided because of, and changes the board, so that it is not decided again. When nothing is left to
decide the coordinator waits until the log has grown. There is nothing else to it, and nothing that
a crash could lose: a coordinator that begins in the middle finds on the board what the one before
had found there.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
from msgspec import Struct

from backstory import Backstory, Scope, where
from backstory_aggregates import Agent, AgentError, Swarm, Task, TaskError, member_id
from board import AUDIT, PAUSED, REPORT, SURVEY, Board, Cause, SwarmBoard

OPERATOR: Final = "operator"
"""The actor of what a person did: begin, interrupt and start again. It has no cause in the log."""
_FIRST_AGENT_COUNT: Final = 2  # a task that failed wants a second opinion
_MILESTONES: Final = {25: "a quarter", 50: "half", 75: "three quarters", 100: "all"}


class Decision(Struct, frozen=True):
    """Something to have recorded."""

    cause: Cause
    """The event that it is decided because of."""
    carry_out: Callable[[Scope], Awaitable[None]]
    tags: tuple[str, ...] = ()
    """Whom to wake: a worker subscribes to the events that carry its agent's id."""


async def begin(story: Backstory, *, folder: str, max_agents: int) -> str:
    """Initialize a swarm for a folder, and return its id."""
    board = await story.read_model(Board)
    swarm = f"audit-{len(board.swarms) + 1}"
    await story.using(actor=OPERATOR).execute(
        Swarm.initialize,
        swarm,
        topology="star",
        max_agents=max_agents,
        config={"folder": folder},
    )
    return swarm


async def resume(story: Backstory, swarm: str) -> None:
    """Take a swarm over from the process that coordinated it.

    That one was interrupted, or ended without a word. Whether it has ended cannot be known from
    the log. If it has not, it will see that it was relieved; its agents are lost in any case.
    """
    board = (await story.read_model(Board)).swarms[swarm]
    phase, phase_before, agents = board.phase, board.phase_before, sorted(board.agents)
    by_hand = story.using(actor=OPERATOR, correlation_id=board.correlation_id)
    if phase == PAUSED:
        await by_hand.execute(Swarm.change_phase, swarm, new_phase=phase_before or SURVEY)
    else:
        error = "the process that coordinated the swarm has ended without a word"
        await by_hand.execute(Swarm.report_error, swarm, error=error, context={"agents": agents})


async def interrupt(story: Backstory, swarm: str) -> None:
    """Let the agents finish what they have in hand, and stop.

    Raises:
        SwarmError: The swarm has ended.
    """
    board = (await story.read_model(Board)).swarms[swarm]
    by_hand = story.using(actor=OPERATOR, correlation_id=board.correlation_id)
    await by_hand.execute(Swarm.change_phase, swarm, new_phase=PAUSED)


async def coordinate(
    story: Backstory, swarm: str, *, run: str, show: Callable[[SwarmBoard], None]
) -> None:
    """Coordinate a swarm until it is terminated, has paused, or is coordinated by somebody else.

    Args:
        story: Runs the projection `Board`.
        swarm: One that this process has begun or resumed.
        run: The tag that all events of this process have.
        show: Is shown the board whenever it has changed.
    """
    act = partial(_carry_out, story, coordinator_id(swarm))
    interesting = where(categories=["agent", "swarm", "task"])
    head = await story.store.head()
    async with story.subscribe(after_position=head, where=interesting) as changes:
        while True:
            board = (await story.read_model(Board)).swarms[swarm]
            show(board)
            if board.is_terminated or board.is_paused or board.run != run:
                return
            decisions = list(decide(swarm, board))
            async with anyio.create_task_group() as group:
                for decision in decisions:
                    group.start_soon(act, decision)
            if not decisions:
                await changes.read()


def coordinator_id(swarm: str) -> str:
    """Return the actor that a swarm's coordinator is."""
    return member_id(swarm, "coordinator")


async def _carry_out(story: Backstory, actor: str, decision: Decision) -> None:
    cause = await story.store.read_event(decision.cause.event_id)
    # A refusal says that the board was out of date; the next look is at a newer one.
    with suppress(AgentError, TaskError):
        await decision.carry_out(story.using(actor=actor, caused_by=cause, tags=decision.tags))


def decide(swarm: str, board: SwarmBoard) -> Iterator[Decision]:
    """Yield everything that the board calls for; nothing when it calls for nothing."""
    if lost := [agent for agent, run in board.agents.items() if run != board.run]:
        # First of all, since nothing else could be decided well while the board counts on them.
        yield from (_lose(agent, board.run_cause) for agent in lost)
        return
    leaving = _leaving(board)
    yield from (_stop(agent, board.staffing_cause) for agent in leaving)
    if board.phase != PAUSED:
        yield from _phases(swarm, board)
        yield from _sizes(swarm, board)
        yield from _milestones(swarm, board)
        yield from _arrivals(swarm, board)
        yield from _moves(board)
        yield from _assignments(board, [agent for agent in board.idle if agent not in leaving])


def _leaving(board: SwarmBoard) -> list[str]:
    """Return the agents to stop, the newest first; whoever has a task may finish it."""
    wanted_count = 0 if board.phase == PAUSED else board.agent_count
    idle = [agent for agent in reversed(board.agents) if agent in board.idle]
    return idle[: max(0, len(board.agents) - wanted_count)]


def _phases(swarm: str, board: SwarmBoard) -> Iterator[Decision]:
    survey, report = member_id(swarm, SURVEY), member_id(swarm, REPORT)
    if board.phase is None:
        yield _change_phase(swarm, SURVEY, board.phase_cause)
    elif board.phase == SURVEY and survey not in board.places:
        yield _create(survey, SURVEY, "find the files, and what each depends on", board.phase_cause)
    elif board.phase == SURVEY and survey in board.settled:
        yield _change_phase(swarm, AUDIT, board.settled[survey])
    elif board.phase == AUDIT and board.audited_count == board.audit_count:
        yield _change_phase(swarm, REPORT, _newest(board.settled))
    elif board.phase == REPORT and report not in board.places:
        yield _create(report, REPORT, "count what was found", board.phase_cause)
    elif board.phase == REPORT and board.agent_count == 0 and not board.agents:
        yield _terminate(swarm, board)


def _sizes(swarm: str, board: SwarmBoard) -> Iterator[Decision]:
    count, waiting_count = board.agent_count, len(board.queued)
    if board.phase == SURVEY and count == 0:
        yield _scale(swarm, _FIRST_AGENT_COUNT, "to begin with", board.phase_cause)
    elif board.phase == AUDIT and waiting_count > count < board.max_agents:
        reason = f"{waiting_count} tasks wait for {count} agents"
        yield _scale(swarm, min(2 * count, board.max_agents), reason, _newest(board.queued))
    elif board.phase == REPORT and member_id(swarm, REPORT) in board.settled:
        if count > 0:
            cause = board.settled[member_id(swarm, REPORT)]
            yield _scale(swarm, 0, "the work is done", cause)
    elif board.phase == REPORT and count > _FIRST_AGENT_COUNT:
        yield _scale(swarm, _FIRST_AGENT_COUNT, "nothing is left to audit", board.phase_cause)


def _milestones(swarm: str, board: SwarmBoard) -> Iterator[Decision]:
    for percent, share in _MILESTONES.items():
        milestone = f"{percent}%"
        is_reached = board.audited_count * 100 >= percent * board.audit_count > 0
        if is_reached and milestone not in board.milestones:
            yield _reach(swarm, milestone, f"{share} of the files", _newest(board.settled))


def _arrivals(swarm: str, board: SwarmBoard) -> Iterator[Decision]:
    for number in range(1, board.agent_count - len(board.agents) + 1):
        agent = member_id(swarm, f"auditor-{board.spawned_count + number}")
        yield _spawn(agent, board.staffing_cause)


def _moves(board: SwarmBoard) -> Iterator[Decision]:
    for task, cause in board.obstructed.items():
        yield _block(task, tuple(board.places[task].obstructed_by), cause)
    for task, cause in board.ready.items():
        if board.phase != SURVEY or board.places[task].task_type == SURVEY:
            yield _queue(task, cause)
    if not (board.obstructed or board.ready or board.queued or board.under_way):
        # Nothing moves any more: what is blocked goes on with what is known.
        for task, cause in board.blocked.items():
            if not board.places[task].waits_for:
                yield _queue(task, max(cause, _newest(board.settled)))


def _assignments(board: SwarmBoard, idle: list[str]) -> Iterator[Decision]:
    for task, cause in board.queued.items():
        failed_agents = board.places[task].failed_agents
        agent = next((agent for agent in idle if agent not in failed_agents), None)
        if agent is not None:
            idle.remove(agent)
            yield _assign(agent, task, max(cause, board.idle[agent]))


def _newest(causes: Mapping[str, Cause]) -> Cause:
    return max(causes.values())


# One function for each decision, because a closure in a loop would see only the last one's names.


def _change_phase(swarm: str, phase: str, cause: Cause) -> Decision:
    return Decision(cause, lambda by: by.execute(Swarm.change_phase, swarm, new_phase=phase))


def _scale(swarm: str, count: int, reason: str, cause: Cause) -> Decision:
    return Decision(
        cause, lambda by: by.execute(Swarm.scale, swarm, new_agent_count=count, reason=reason)
    )


def _reach(swarm: str, milestone: str, name: str, cause: Cause) -> Decision:
    return Decision(
        cause,
        lambda by: by.execute(Swarm.reach_milestone, swarm, milestone_id=milestone, name=name),
    )


def _terminate(swarm: str, board: SwarmBoard) -> Decision:
    metrics = {"files": board.audit_count, "agents": board.spawned_count}
    return Decision(
        board.departure_cause,
        lambda by: by.execute(Swarm.terminate, swarm, reason="completed", metrics=metrics),
    )


def _spawn(agent: str, cause: Cause) -> Decision:
    return Decision(
        cause,
        lambda by: by.execute(Agent.spawn, agent, role="auditor", domain="source code"),
        tags=(agent,),
    )


def _lose(agent: str, cause: Cause) -> Decision:
    return Decision(cause, lambda by: by.execute(Agent.fail, agent, error="lost"), tags=(agent,))


def _stop(agent: str, cause: Cause) -> Decision:
    return Decision(
        cause, lambda by: by.execute(Agent.stop, agent, reason="not needed"), tags=(agent,)
    )


def _assign(agent: str, task: str, cause: Cause) -> Decision:
    return Decision(
        cause, lambda by: by.execute(Agent.assign_task, agent, task_id=task), tags=(agent,)
    )


def _create(task: str, task_type: str, title: str, cause: Cause) -> Decision:
    return Decision(
        cause, lambda by: by.execute(Task.create, task, task_type=task_type, title=title)
    )


def _queue(task: str, cause: Cause) -> Decision:
    return Decision(cause, lambda by: by.execute(Task.queue, task))


def _block(task: str, obstacles: tuple[str, ...], cause: Cause) -> Decision:
    return Decision(cause, lambda by: by.execute(Task.block, task, blocked_by=obstacles))
