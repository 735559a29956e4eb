"""Run lines to events, and back: what goes where, and that nothing is lost."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from tests.unit.aggregates.conftest import line

from backstory import Event, Metadata, NewEvent, RawEvent, RecordedEvent, derive_event_id
from backstory_aggregates.agent.events import (
    AgentSpawned,
    AgentStatusChanged,
    AgentTaskAssigned,
    AgentTaskCompleted,
)
from backstory_aggregates.memory.events import MemoryExpired, MemoryRetrieved, MemoryStored
from backstory_aggregates.run_lines import (
    BadRunLineError,
    RunLine,
    format_run_line,
    parse_run_line,
    to_line,
    to_new_event,
)
from backstory_aggregates.run_lines._plan import PLANS
from backstory_aggregates.swarm.events import (
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmMilestoneReached,
    SwarmPhaseChanged,
)
from backstory_aggregates.task.events import TaskBlocked, TaskCreated, TaskFailed, TaskStarted


def record(stream_id: str, new: NewEvent) -> RecordedEvent:
    return RecordedEvent(
        7,
        stream_id,
        3,
        new.event_id,
        new.type,
        new.schema_version,
        1_700_000_000_000_000,
        new.metadata_json,
        new.data_json,
    )


def imported(values: dict[str, Any]) -> RecordedEvent:
    """Return what a store keeps of a line."""
    return record(*to_new_event(parse_run_line(json.dumps(values).encode())))


def lived(stream_id: str, event: Event, metadata: Metadata | None = None) -> dict[str, Any]:
    """Return the line of an event that never was one."""
    new = NewEvent.of(event, event_id=derive_event_id("lived"), metadata=metadata)
    return exported(record(stream_id, new))


def exported(recorded: RecordedEvent) -> dict[str, Any]:
    given_line = to_line(recorded)
    assert given_line is not None
    values: dict[str, Any] = json.loads(format_run_line(given_line))
    return values


def exactly(value: object) -> str:
    """Return a JSON value as text that tells 1, 1.0 and true apart, and knows no order of keys."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(
    ("values", "stream_id", "event"),
    [
        (
            line(type="agent.spawned", data={"kind": "player", "capabilities": ["talk"], "x": 1}),
            "agent-s/a",
            AgentSpawned(role="player", capabilities=("talk",), details={"x": 1}),
        ),
        (
            line(type="agent.status_changed", data={"from": "idle", "to": "good"}),
            "agent-s/a",
            AgentStatusChanged(previous_status="idle", new_status="good"),
        ),
        (
            line(type="agent.task_assigned", task="g1/m1"),
            "agent-s/a",
            AgentTaskAssigned(task_id="s/g1%2Fm1"),
        ),
        (
            line(type="agent.task_completed", task="t", data={"result": 0, "duration": 1.5}),
            "agent-s/a",
            AgentTaskCompleted(task_id="s/t", result=0, duration_seconds=1.5),
        ),
        (
            line(
                type="task.created",
                data={"instruction": "Write", "priority": 3, "dependencies": ["u", "a/b"]},
            ),
            "task-s/t",
            TaskCreated(description="Write", priority=3, dependencies=("s/u", "s/a%2Fb")),
        ),
        (line(type="task.started", agent="b"), "task-s/t", TaskStarted(agent_id="s/b")),
        (
            line(type="task.failed", data={"reward": 0.0, "error": "no", "retry_count": 2}),
            "task-s/t",
            TaskFailed(error="no", retry_count=2, details={"reward": 0.0}),
        ),
        (
            line(type="task.blocked", data={"reason": "veto", "blocked_by": ["u"]}),
            "task-s/t",
            TaskBlocked(blocked_by=("s/u",), details={"reason": "veto"}),
        ),
        (
            line(type="memory.stored", key="talk/0", data={"value": "hi", "size": 2}),
            "memory-s/talk%2F0",
            MemoryStored(key="talk/0", size=2, details={"value": "hi"}),
        ),
        (
            line(type="memory.expired", data={"expires_at": "2026-01-07T12:00:00Z"}),
            "memory-s/k",
            MemoryExpired(key="k", expires_at=datetime(2026, 1, 7, 12, tzinfo=UTC)),
        ),
        (
            line(type="swarm.initialized", data={"agents": 10, "model": "m"}),
            "swarm-s",
            SwarmInitialized(max_agents=10, details={"model": "m"}),
        ),
        (
            line(type="swarm.phase_changed", data={"phase": "g001"}),
            "swarm-s",
            SwarmPhaseChanged(new_phase="g001"),
        ),
        (
            line(type="swarm.milestone_reached", data={"milestone": "g001", "winner": "evil"}),
            "swarm-s",
            SwarmMilestoneReached(milestone_id="g001", details={"winner": "evil"}),
        ),
        (
            line(type="swarm.error", data={"message": "lost", "tool": "book"}),
            "swarm-s",
            SwarmErrorOccurred(error="lost", details={"tool": "book"}),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Event) else "",
)
def test_values_go_to_the_fields_of_their_event(
    values: dict[str, Any], stream_id: str, event: Event
) -> None:
    recorded = imported(values)

    assert recorded.stream_id == stream_id
    assert recorded.data == event
    assert exported(recorded) == values


def test_every_type_of_line_is_an_event_type_in_other_letters() -> None:
    types = {plan.line_type: plan.event.event_type for plan in PLANS}

    assert len(types) == 23
    assert types["agent.status_changed"] == "agent:status-changed"
    assert types["swarm.error"] == "swarm:error"


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.line_type)
def test_every_field_of_an_event_is_filled_from_somewhere(plan: Any) -> None:
    filled = {column.field for column in plan.columns} | {plan.moment, "details"}
    filled |= {f"{plan.refers_to}_id"} if plan.refers_to else set()

    assert set(plan.event.__struct_fields__) == filled


def test_agent_without_a_field_is_the_actor() -> None:
    recorded = imported(line(type="memory.stored", agent="Alice/1"))

    assert recorded.metadata.actor == "s/Alice%2F1"
    assert exported(recorded)["agent"] == "Alice/1"


def test_agent_with_a_field_is_no_actor_beside() -> None:
    assert imported(line(type="task.started", agent="b")).metadata.actor is None
    assert imported(line(type="agent.started")).metadata.actor is None


def test_task_and_key_without_a_field_are_free_keys() -> None:
    recorded = imported(line(type="swarm.error", task="t/1", key="k/1"))

    assert recorded.metadata.free == {"n": 1, "task_id": "s/t%2F1", "key": "k/1"}
    assert recorded.metadata.correlation_id == "s"


def test_plain_line_adds_nothing_but_its_number() -> None:
    recorded = imported(line(5, type="agent.started"))

    assert recorded.metadata == Metadata(correlation_id="s", free={"n": 5})
    assert recorded.event_id == derive_event_id("run-line", "s", 5)


@pytest.mark.parametrize(
    ("ts", "moment"),
    [
        ("2026-01-07T12:00:00Z", datetime(2026, 1, 7, 12, tzinfo=UTC)),
        ("2026-01-07T12:00:00", datetime(2026, 1, 7, 12, tzinfo=UTC)),
        ("2026-01-07 14:00:00.25+02:00", datetime(2026, 1, 7, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("20260107T120000,5Z", datetime(2026, 1, 7, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-07T12:00:00.123456789Z", datetime(2026, 1, 7, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-01-07", datetime(2026, 1, 7, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2025-12-31T24:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_time_is_read_and_its_text_kept(ts: str, moment: datetime) -> None:
    recorded = imported(line(type="agent.spawned", ts=ts))

    assert recorded.data == AgentSpawned(spawned_at=moment)
    assert recorded.metadata.free["ts"] == ts
    assert exported(recorded)["ts"] == ts


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one time zone")
def test_time_without_a_zone_means_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        recorded = imported(line(ts="2026-01-07T12:00:00"))
    finally:
        monkeypatch.undo()
        time.tzset()

    assert recorded.data == AgentSpawned(spawned_at=datetime(2026, 1, 7, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    "ts", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-07T25:00", "0001-01-01T00:00:00+05:00"]
)
def test_text_that_is_no_time_is_refused(ts: str) -> None:
    with pytest.raises(BadRunLineError, match="must be an ISO 8601 time") as caught:
        imported(line(3, ts=ts))

    assert (caught.value.swarm, caught.value.n) == ("s", 3)


@pytest.mark.parametrize("ts", ["2026-01-07T12:00:00+00:00", "2026-01-07T12:00:00.500Z", "soon"])
def test_time_inside_the_data_fills_its_field_only_when_it_comes_back(ts: str) -> None:
    values = line(type="memory.expired", data={"expires_at": ts})

    recorded = imported(values)

    assert recorded.data == MemoryExpired(key="k", details={"expires_at": ts})
    assert exported(recorded) == values


@pytest.mark.parametrize("own", [None, "absent"])
@pytest.mark.parametrize(
    ("type", "key"), [("agent.failed", "agent"), ("task.queued", "task"), ("memory.stored", "key")]
)
def test_line_without_its_own_id_is_refused(type: str, key: str, own: str | None) -> None:
    values = line(4, type=type) | {key: None}
    if own == "absent":
        del values[key]

    with pytest.raises(BadRunLineError, match=f"{type} needs its own id under '{key}'") as caught:
        imported(values)

    assert (caught.value.swarm, caught.value.n) == ("s", 4)


@pytest.mark.parametrize("type", ["agent.exploded", "agent:spawned", "agent.task-assigned", ""])
def test_unknown_type_is_refused(type: str) -> None:
    with pytest.raises(BadRunLineError, match="is none of the format") as caught:
        imported(line(2, type=type, agent="a"))

    assert (caught.value.swarm, caught.value.n) == ("s", 2)


def test_what_no_store_may_keep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(120):
        deep = [deep]

    with pytest.raises(BadRunLineError, match="at most 1,000,000 are allowed"):
        imported(line(data={"value": "x" * 1_000_001}))
    with pytest.raises(BadRunLineError, match="nested deeper than 100"):
        imported(line(data={"value": deep}))


@pytest.mark.parametrize(
    ("type", "data"),
    [
        ("agent.spawned", {"kind": 7, "domain": None, "capabilities": "talk"}),
        ("agent.spawned", {"capabilities": ["talk", 1]}),
        ("task.created", {"priority": 1.5, "dependencies": {"u": 1}, "title": ["x"]}),
        ("task.created", {"priority": True}),
        ("task.completed", {"result": None, "duration": "3 s"}),
        ("task.completed", {"duration": False}),
        ("task.failed", {"retry_count": 1.0}),
        ("memory.stored", {"size": 10.0, "key": ["k"]}),
        ("swarm.initialized", {"agents": [1, 2], "config": "none"}),
        ("swarm.terminated", {"metrics": [], "reason": {}}),
    ],
)
def test_value_that_a_field_could_not_give_back_goes_to_the_details(
    type: str, data: dict[str, Any]
) -> None:
    values = line(type=type, data=data)

    recorded = imported(values)

    assert getattr(recorded.data, "details", None) == data
    assert exactly(exported(recorded)) == exactly(values)


@pytest.mark.parametrize(
    ("number", "field"), [(3, "3"), (3.0, "3.0"), (10**30, str(10**30)), (-0.0, "-0.0")]
)
def test_numbers_come_back_to_the_letter(number: float, field: str) -> None:
    values = line(type="task.completed", data={"duration": number})

    recorded = imported(values)

    assert f'"duration_seconds":{field}'.encode() in recorded.data_json
    assert exactly(exported(recorded)) == exactly(values)


def test_field_is_filled_under_its_own_name_too() -> None:
    values = line(type="agent.spawned", data={"role": "player"})

    recorded = imported(values)

    assert recorded.data == AgentSpawned(role="player")
    assert exported(recorded) == values


def test_recordings_name_goes_before_the_fields_own() -> None:
    values = line(type="agent.spawned", data={"role": "b", "kind": "a"})

    recorded = imported(values)

    assert recorded.data == AgentSpawned(role="a", details={"role": "b"})
    assert exported(recorded) == values


def test_second_name_fills_the_field_where_the_first_does_not_fit() -> None:
    values = line(type="agent.spawned", data={"kind": None, "role": "b"})

    recorded = imported(values)

    assert recorded.data == AgentSpawned(role="b", details={"kind": None})
    assert exported(recorded) == values


def test_key_inside_the_data_is_told_from_the_own_key() -> None:
    another = imported(line(type="memory.retrieved", data={"key": "other"}))
    same = imported(line(type="memory.retrieved", data={"key": "k"}))
    none = imported(line(type="memory.retrieved"))

    assert another.data == MemoryRetrieved(key="other")
    assert same.data == MemoryRetrieved(key="k", details={"key": "k"})
    assert none.data == MemoryRetrieved(key="k")
    assert [exported(event)["data"] for event in (another, same, none)] == [
        {"key": "other"},
        {"key": "k"},
        {},
    ]


@pytest.mark.parametrize("data", [None, [], [1, {"a": 2}], "text", 7, 1.5, True, {}])
def test_data_may_be_any_json(data: Any) -> None:
    values = line(type="agent.started", data=data)

    assert exactly(exported(imported(values))) == exactly(values)


def test_data_that_is_no_object_lies_in_the_details() -> None:
    assert getattr(imported(line(data=[1])).data, "details", None) == {"data": [1]}


def test_swarm_whose_name_no_id_may_hold_comes_back() -> None:
    values = line(type="swarm.initialized", swarm="a\0/100%")

    recorded = imported(values)

    assert recorded.stream_id == "swarm-a%00/100%"
    assert recorded.metadata.correlation_id == "a%00/100%"
    assert exported(recorded) == values


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
known_names = sorted({name for plan in PLANS for name in plan.keys} | {"details", "data", "n"})
moments = st.datetimes().map(datetime.isoformat).filter(lambda text: "0002" < text < "9999")
id_texts = st.text('ab/%\0é "{', max_size=6) | st.none()


@st.composite
def run_lines(draw: st.DrawFn) -> dict[str, Any]:
    """Draw any valid line."""
    plan = draw(st.sampled_from(PLANS))
    # Mostly the names that mean something, with values that may or may not fit.
    names = st.sampled_from(known_names) | st.sampled_from(sorted(plan.keys) or ["x"]) | st.text()
    texts = st.lists(st.text("ab/%", max_size=3), max_size=3)
    values = json_values | texts | moments | st.just("k")
    data = st.dictionaries(names, values, max_size=5) | json_values
    drawn: dict[str, Any] = {
        "ts": draw(st.none() | moments | moments.map(lambda text: f"{text}+02:00")),
        "agent": draw(id_texts),
        "task": draw(id_texts),
        "key": draw(id_texts | st.just("k")),
        "data": draw(data),
    }
    for name in draw(st.sets(st.sampled_from(sorted(drawn)))):
        del drawn[name]
    if plan.own:
        drawn[plan.own] = draw(id_texts.filter(lambda text: text is not None) | st.just("k"))
    further = draw(st.dictionaries(st.text(), json_values, max_size=1))
    drawn |= {"type": plan.line_type, "n": draw(st.integers(1, 2**63 - 1))}
    return further | drawn | {"swarm": draw(st.text("s/%\0é", min_size=1, max_size=4))}


@settings(deadline=None)
@for_all(run_lines())
def test_any_valid_line_comes_back_equal_as_json(values: dict[str, Any]) -> None:
    assert exactly(exported(imported(values))) == exactly(values)


@settings(deadline=None)
@for_all(run_lines(), st.randoms(use_true_random=False))
def test_order_of_keys_makes_no_other_event(values: dict[str, Any], random: Any) -> None:
    shuffled = list(values.items())
    random.shuffle(shuffled)
    if isinstance(values.get("data"), dict):
        inner = list(values["data"].items())
        random.shuffle(inner)
        shuffled = [(k, dict(inner) if k == "data" else v) for k, v in shuffled]

    one, other = imported(values), imported(dict(shuffled))

    assert one.event_id == other.event_id
    assert exactly(json.loads(one.data_json)) == exactly(json.loads(other.data_json))
    assert exactly(json.loads(one.metadata_json)) == exactly(json.loads(other.metadata_json))


def test_event_that_never_was_a_line_gets_one_that_says_the_same() -> None:
    event = AgentSpawned(role="planner", details={"model": "m"})

    assert lived("agent-s/a%2Fb", event) == {
        "swarm": "s",
        "n": 0,
        "ts": "2023-11-14T22:13:20Z",
        "type": "agent.spawned",
        "agent": "a/b",
        "task": None,
        "key": None,
        "data": {"kind": "planner", "model": "m"},
    }


def test_time_of_the_event_goes_before_the_time_of_the_store() -> None:
    event = AgentSpawned(spawned_at=datetime(2026, 1, 7, 12, 0, 0, 5, tzinfo=UTC))

    assert lived("agent-s/a", event)["ts"] == "2026-01-07T12:00:00.000005Z"


def test_members_of_the_swarm_are_named_by_their_ids_inside_it() -> None:
    started = lived("task-s/t", TaskStarted(agent_id="s/ada"))
    assigned = lived("agent-s/ada", AgentTaskAssigned(task_id="s/t"))
    blocked = lived("task-s/t", TaskBlocked(blocked_by=("s/u",)), Metadata(actor="s/bob"))

    assert (started["agent"], started["task"]) == ("ada", "t")
    assert (assigned["agent"], assigned["task"]) == ("ada", "t")
    assert (blocked["agent"], blocked["data"]) == ("bob", {"blocked_by": ["u"]})


def test_ids_of_elsewhere_keep_their_full_text() -> None:
    started = lived("task-s/t", TaskStarted(agent_id="ada"), Metadata(actor="other/bob"))
    blocked = lived("task-s/t", TaskBlocked(blocked_by=("s/u", "other/v")))

    assert started["agent"] is None
    assert started["data"] == {"foreign_agent_id": "ada"}
    assert blocked["data"] == {"foreign_blocked_by": ["s/u", "other/v"]}


def test_details_are_never_read_as_fields() -> None:
    event = AgentSpawned(role="a", details={"kind": "b", "role": "c", "details.kind": "d"})

    data = lived("agent-s/a", event)["data"]

    assert data == {
        "kind": "a",
        "details.details.kind": "d",
        "details.role": "c",
        "details.kind": "b",
    }


def test_own_free_key_of_a_program_makes_no_line() -> None:
    free = {"n": 9, "ts": "yesterday", "line": {"absent": ["ts"]}}

    values = lived("agent-s/a", AgentSpawned(), Metadata(free=free))
    odd = lived("agent-s/a", AgentSpawned(), Metadata(free={"n": 9, "line": "west"}))

    assert (values["n"], values["ts"]) == (0, "2023-11-14T22:13:20Z")
    assert odd["n"] == 0


def test_event_of_no_swarm_has_no_line() -> None:
    new = NewEvent.of(AgentSpawned(), event_id=derive_event_id("lived"))

    assert to_line(record("agent-ada", new)) is None
    assert to_line(record("agent-/ada", new)) is None


def test_event_of_a_type_that_is_not_the_formats_has_no_line() -> None:
    new = NewEvent.raw("agent:teleported", b"{}", event_id=derive_event_id("lived"))
    newer = NewEvent.raw(
        "agent:spawned", b'{"height":7}', event_id=derive_event_id("lived"), schema_version=2
    )

    assert to_line(record("agent-s/a", new)) is None
    assert isinstance(record("agent-s/a", newer).data, RawEvent)
    assert to_line(record("agent-s/a", newer)) is None


@settings(deadline=None)
@for_all(run_lines())
def test_line_of_a_lived_event_becomes_the_same_event(values: dict[str, Any]) -> None:
    # Whatever a line can say, a program can have emitted: without the line's id and metadata.
    stream_id, new = to_new_event(parse_run_line(json.dumps(values).encode()))
    event = record(stream_id, new).data
    lived_line = to_line(record(stream_id, NewEvent.of(event, event_id=derive_event_id("lived"))))
    assert isinstance(lived_line, RunLine)

    again = to_new_event(msgspec.structs.replace(lived_line, n=1))

    assert again[0] == stream_id
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    refilled = record(*again).data
    for name in fields.keys() - {"details"}:
        if fields[name] is not None:
            assert getattr(refilled, name) == fields[name]
