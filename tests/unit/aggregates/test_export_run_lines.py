"""Recorded runs out of a store: what was imported as it was, what was lived through numbered."""

from datetime import UTC, datetime

import pytest
from tests.conftest import unchecked
from tests.unit.aggregates.conftest import line, parse_all, to_bytes

from backstory import ANY, DecodeError, EventStore, NewEvent, Repository, derive_event_id
from backstory.stores.in_memory import InMemoryStore
from backstory_aggregates import Agent, Memory, Swarm, Task, member_id
from backstory_aggregates.run_lines import export_run_lines, import_run_lines

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)


async def live_through(store: EventStore, swarm: str = "s") -> None:
    """Let a small swarm do something, by commands."""
    repository = Repository(store)
    agent, task = member_id(swarm, "ada"), member_id(swarm, "t/1")
    await repository.execute(Swarm.initialize, swarm, topology="star", max_agents=2)
    await repository.execute(Agent.spawn, agent, role="writer")
    await repository.execute(Agent.start, agent)
    await repository.execute(Task.create, task, title="Write", dependencies=[])
    await repository.execute(Agent.assign_task, agent, task_id=task, assigned_at=NOON)
    await repository.execute(Task.start, task, agent_id=agent)
    await repository.execute(Memory.store, member_id(swarm, "k"), key="k", size=3)
    await repository.execute(Task.complete, task, result={"pages": 3})


async def test_imported_lines_come_back_equal_as_json(store: EventStore) -> None:
    values = [
        line(1, "swarm.initialized", data={"agents": 2}),
        line(2, "agent.spawned", agent="é b", ts="2026-01-07T12:00:00"),
        line(1, "task.failed", swarm="other", data={"reward": 0.0}),
        {"swarm": "s", "n": 3, "type": "memory.deleted", "key": "a/b", "cost": 1},
    ]
    await import_run_lines(store, to_bytes(*values))

    export = export_run_lines(store)

    assert await parse_all(export) == values
    assert (export.line_count, export.left_out_count, export.stray_count) == (4, 0, 0)


async def test_each_line_ends_with_its_break(store: EventStore) -> None:
    await import_run_lines(store, to_bytes(line()))

    assert [text[-2:] async for text in export_run_lines(store)] == [b"}\n"]


async def test_lived_events_are_numbered_in_each_swarm(store: EventStore) -> None:
    await live_through(store)
    await live_through(store, swarm="other")

    values = await parse_all(export_run_lines(store))

    assert [(v["swarm"], v["n"]) for v in values] == [
        *[("s", n) for n in range(1, 9)],
        *[("other", n) for n in range(1, 9)],
    ]


async def test_lived_events_can_be_imported_elsewhere(store: EventStore) -> None:
    await live_through(store)
    lines = [text async for text in export_run_lines(store)]

    async with InMemoryStore() as elsewhere:
        summary = await import_run_lines(elsewhere, lines)
        again = [text async for text in export_run_lines(elsewhere)]
        here, there = Repository(store), Repository(elsewhere)

        assert summary.added_count == 8
        assert again == lines
        for cls, id in ((Swarm, "s"), (Agent, "s/ada"), (Task, "s/t%2F1"), (Memory, "s/k")):
            assert await there.load(cls, id) == await here.load(cls, id)


async def test_event_behind_imported_lines_gets_the_next_number(store: EventStore) -> None:
    await import_run_lines(store, to_bytes(line(1), line(2, "agent.started")))
    await Repository(store).execute(Agent.stop, "s/a")

    values = await parse_all(export_run_lines(store))

    assert [(v["n"], v["type"]) for v in values] == [
        (1, "agent.spawned"),
        (2, "agent.started"),
        (3, "agent.stopped"),
    ]


async def test_imported_line_keeps_its_number_and_is_counted_where_it_strays(
    store: EventStore,
) -> None:
    await import_run_lines(store, to_bytes(line(1), line(2, "agent.started")))
    await Repository(store).execute(Agent.stop, "s/a")
    await import_run_lines(store, to_bytes(line(3, "agent.started")))

    export = export_run_lines(store)

    assert [values["n"] for values in await parse_all(export)] == [1, 2, 3, 3]
    assert export.stray_count == 1


async def test_gap_that_skipping_left_is_counted(store: EventStore) -> None:
    lines = to_bytes(line(1), line(2, "agent.exploded", agent="a"), line(3, "agent.started"))
    await import_run_lines(store, lines, on_error="skip")

    export = export_run_lines(store)

    assert [values["n"] for values in await parse_all(export)] == [1, 3]
    assert export.stray_count == 1


async def test_number_behind_a_line_that_was_mended_later_is_the_largest_one(
    store: EventStore,
) -> None:
    mended = line(2, "agent.started")
    bad = mended | {"type": "agent.exploded"}
    await import_run_lines(store, to_bytes(line(1), bad, line(3, "agent.failed")), on_error="skip")
    await import_run_lines(store, to_bytes(line(1), mended, line(3, "agent.failed")))
    await Repository(store).execute(Agent.stop, "s/a")

    export = export_run_lines(store)

    assert [values["n"] for values in await parse_all(export)] == [1, 3, 2, 4]
    assert export.stray_count == 2


async def test_what_is_no_line_is_left_out_and_counted(store: EventStore) -> None:
    repository = Repository(store)
    await repository.execute(Task.create, "write-docs")
    await repository.execute(Task.create, "s/t")
    unknown = NewEvent.raw("agent:teleported", b"{}", event_id=derive_event_id("lived"))
    await store.append("agent-s/a", [unknown], expected_version=ANY)
    await store.append(
        "invoice-s/7",
        [NewEvent.raw("invoice:sent", b"{}", event_id=derive_event_id("sent"))],
        expected_version=ANY,
    )

    export = export_run_lines(store)

    assert [values["task"] for values in await parse_all(export)] == ["t"]
    # The invoice is nobody's agent, task, memory or swarm.
    assert (export.line_count, export.left_out_count) == (1, 2)


async def test_export_ends_where_it_is_told_to(store: EventStore) -> None:
    await live_through(store)

    values = await parse_all(export_run_lines(store, until_position=3))

    assert [v["n"] for v in values] == [1, 2, 3]


async def test_damaged_event_stops_the_export_with_its_place(store: EventStore) -> None:
    damaged = unchecked(derive_event_id("damaged"), "agent:spawned", 1, b'{"role":7}', b"{}")
    await store.append("agent-s/a", [damaged], expected_version=ANY)

    with pytest.raises(DecodeError, match="version 1 of stream 'agent-s/a'"):
        await parse_all(export_run_lines(store))
