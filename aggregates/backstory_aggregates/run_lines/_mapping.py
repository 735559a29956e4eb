"""Run lines to events, and back.

What goes where:

- The type `task.created` is the event `task:created`; agent, task or key is the aggregate's own id.
- An agent or a task that is not the own id goes to the event's `agent_id` or `task_id`. Where the
  event has no such field, the agent is the metadata's actor; a task or a key is one of its free
  keys, `task_id` or `key`.
- A value of `data` goes to the field that the table of `_plan` has for its name, when the field
  gives it back exactly. Everything else goes to `details`, under its own name.
- `ts` becomes the event's time; its text, which may say more, is the free key `ts`.
- `n` is a free key, and the swarm is the correlation id.
- What a line has and most lines have not (a key that is missing, a key that the format does not
  know, data that is no object, a field under its second name) is the free key `line`.

So an event says all that its line says, and `to_line` gives the line back, equal as JSON. The same
line always gives the same event, whatever the order of its keys.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from backstory import (
    EncodeError,
    Event,
    InvalidInputError,
    Metadata,
    NewEvent,
    RecordedEvent,
    derive_event_id,
    stream_id_of,
)
from backstory_aggregates.run_lines._line import RunLine
from backstory_aggregates.run_lines._plan import PLANS, Plan, format_moment, parse_moment
from backstory_aggregates.run_lines._report import BadRunLineError
from backstory_aggregates.swarm.events import member_id, split_member_id, swarm_id

_PLAN_OF_TYPE: Final = {plan.line_type: plan for plan in PLANS}
_PLAN_OF_EVENT: Final[dict[type[Event], Plan]] = {plan.event: plan for plan in PLANS}
_OPTIONAL: Final = ("ts", "agent", "task", "key", "data")


class _Shape(Struct, omit_defaults=True):
    """What a line has and most lines have not: the free key `line`."""

    absent: list[str] = []
    """Keys of the format that the line does not have."""
    further: dict[str, Any] = {}
    """Keys that it has, and the format does not."""
    is_bare: bool = False
    """Whether its data is no object; `details` then holds it under `data`."""
    names: dict[str, str] = {}
    """Fields that it has under their own names, where recordings have others."""
    swarm: str | None = None
    """Its swarm's name, where that cannot be the swarm's id."""


_PLAIN: Final = _Shape()


def run_line_event_id(swarm: str, n: int) -> str:
    """Return the id of the event that a line becomes, so that importing it again adds nothing."""
    return derive_event_id("run-line", swarm, n)


def to_new_event(line: RunLine) -> tuple[str, NewEvent]:
    """Return the event that a line says, and the id of the stream that it belongs to.

    Raises:
        BadRunLineError: The type is none of the format, the own id is missing, `ts` is no time, or
            an id or the event is outside the limits of every store.
    """
    plan = _PLAN_OF_TYPE.get(line.type)
    if plan is None:
        raise _bad(line, f"type {line.type!r} is none of the format")
    id = _aggregate_id(line, plan)
    shape = _Shape(
        absent=[name for name in _OPTIONAL if getattr(line, name) is UNSET], further=line.further
    )
    event = _event(line, plan, shape)
    metadata = _metadata(line, plan, shape)
    event_id = run_line_event_id(line.swarm, line.n)
    try:
        stream_id = stream_id_of(plan.category, id)
        return stream_id, NewEvent.of(event, event_id=event_id, metadata=metadata)
    except (EncodeError, InvalidInputError) as error:
        raise _bad(line, str(error)) from error


def _bad(line: RunLine, reason: str) -> BadRunLineError:
    return BadRunLineError(reason=reason, swarm=line.swarm, n=line.n)


def _aggregate_id(line: RunLine, plan: Plan) -> str:
    if not plan.own:
        return swarm_id(line.swarm)
    own = getattr(line, plan.own)
    if not isinstance(own, str):
        raise _bad(line, f"{line.type} needs its own id under {plan.own!r}")
    return member_id(line.swarm, own)


def _event(line: RunLine, plan: Plan, shape: _Shape) -> Event:
    details = _details(line, shape)
    values = _take_columns(line, plan, shape, details) if details else {}
    if plan.own == "key":
        values.setdefault("key", line.key)
    if isinstance(line.ts, str):
        values[plan.moment] = _moment(line, line.ts)
    if plan.refers_to and isinstance(other := getattr(line, plan.refers_to), str):
        values[f"{plan.refers_to}_id"] = member_id(line.swarm, other)
    values["details"] = details
    return plan.event(**values)


def _details(line: RunLine, shape: _Shape) -> dict[str, Any]:
    is_object = isinstance(line.data, dict)
    if is_object:
        return dict(line.data)
    shape.is_bare = line.data is not UNSET
    return {"data": line.data} if shape.is_bare else {}


def _take_columns(
    line: RunLine, plan: Plan, shape: _Shape, details: dict[str, Any]
) -> dict[str, Any]:
    """Return the fields that `details` fills, and take those values out of it."""
    values: dict[str, Any] = {}
    for column in plan.columns:
        for name in (column.key, column.field):
            if name not in details or column.field in values:
                continue
            value = column.take(details[name], line.swarm)
            # A field that repeats the own id would not show that `data` has it too.
            if value is UNSET or (column.field == plan.own and value == line.key):
                continue
            values[column.field] = value
            del details[name]
            if name != column.key:
                shape.names = {**shape.names, column.field: name}
    return values


def _moment(line: RunLine, ts: str) -> Any:
    try:
        return parse_moment(ts)
    except ValueError:
        raise _bad(line, f"ts {ts!r} must be an ISO 8601 time") from None


def _metadata(line: RunLine, plan: Plan, shape: _Shape) -> Metadata:
    known_as = swarm_id(line.swarm)
    if not plan.own and known_as != line.swarm:
        shape.swarm = line.swarm
    free: dict[str, Any] = {"n": line.n}
    if isinstance(line.ts, str):
        free["ts"] = line.ts
    placed = (plan.own, plan.refers_to)
    if "task" not in placed and isinstance(line.task, str):
        free["task_id"] = member_id(line.swarm, line.task)
    if "key" not in placed and isinstance(line.key, str):
        free["key"] = line.key
    if shape != _PLAIN:
        free["line"] = msgspec.to_builtins(shape)
    actor = None
    if "agent" not in placed and isinstance(line.agent, str):
        actor = member_id(line.swarm, line.agent)
    return Metadata(correlation_id=known_as, actor=actor, free=free)


def to_line(recorded: RecordedEvent) -> RunLine | None:
    """Return the line that an event was imported from, or a line that says the same.

    The line of an event that was none has the event's own time, or else `recorded_at`, and number 0
    for want of a better one. What the format has no place for is left out: versions, and metadata
    but an actor who is a member of the swarm. Ids of elsewhere are in `data`, under `foreign_` and
    the field's name.

    Returns:
        The line, or None where the event is none of the format's, or belongs to no swarm.

    Raises:
        DecodeError: The event does not fit its class.
    """
    event = recorded.data
    plan = _PLAN_OF_EVENT.get(type(event))
    if plan is None:
        return None
    if (line := _line_again(recorded, event, plan)) is not None:
        return line
    swarm, own = split_member_id(recorded.id) if plan.own else (recorded.id, "")
    return _line_anew(recorded, event, plan, swarm, own) if swarm else None


def _line_again(recorded: RecordedEvent, event: Event, plan: Plan) -> RunLine | None:
    """Return the line that an event was imported from, or None where it was no line."""
    free = recorded.metadata.free
    if not isinstance(n := free.get("n"), int):
        return None
    try:
        shape = msgspec.convert(free["line"], _Shape) if "line" in free else _PLAIN
    except msgspec.ValidationError:
        return None
    swarm, own = split_member_id(recorded.id) if plan.own else (shape.swarm or recorded.id, "")
    # The program's own events may have a free key of this name; their ids are of another making.
    if swarm is None or recorded.event_id != run_line_event_id(swarm, n):
        return None
    ids = {"agent": recorded.metadata.actor, "task": free.get("task_id")}
    if plan.refers_to:
        ids[plan.refers_to] = getattr(event, f"{plan.refers_to}_id")
    values: dict[str, Any] = {
        "ts": free.get("ts"),
        "agent": _id_inside(ids["agent"]),
        "task": _id_inside(ids["task"]),
        "key": free.get("key"),
        "data": _data_again(event, plan, shape, swarm, own),
    }
    if plan.own:
        values[plan.own] = own
    for name in shape.absent:
        values[name] = UNSET
    return RunLine(swarm=swarm, n=n, type=plan.line_type, **values, further=shape.further)


def _id_inside(aggregate_id: str | None) -> str | None:
    return None if aggregate_id is None else split_member_id(aggregate_id)[1]


def _data_again(event: Any, plan: Plan, shape: _Shape, swarm: str, own: str) -> Any:
    if shape.is_bare:
        return event.details["data"]
    data = dict(event.details)
    for column in plan.columns:
        value = getattr(event, column.field)
        if value is not None and not (column.field == plan.own and value == own):
            data[shape.names.get(column.field, column.key)] = column.give(value, swarm)
    return data


def _line_anew(recorded: RecordedEvent, event: Any, plan: Plan, swarm: str, own: str) -> RunLine:
    """Return a line for an event that was none."""
    data = _data_anew(event, plan, swarm, own)
    ids: dict[str, Any] = {"agent": None, "task": None, "key": None}
    ids["agent"] = _member(recorded.metadata.actor, swarm)
    if plan.refers_to:
        field = f"{plan.refers_to}_id"
        ids[plan.refers_to] = _member(getattr(event, field), swarm)
        if ids[plan.refers_to] is None and getattr(event, field) is not None:
            data[f"foreign_{field}"] = getattr(event, field)
    if plan.own:
        ids[plan.own] = own
    moment = getattr(event, plan.moment) or recorded.recorded_at
    return RunLine(
        swarm=swarm, n=0, ts=format_moment(moment), type=plan.line_type, **ids, data=data
    )


def _member(aggregate_id: str | None, swarm: str) -> str | None:
    of, id = split_member_id(aggregate_id or "")
    return id if of == swarm else None


def _data_anew(event: Any, plan: Plan, swarm: str, own: str) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for column in plan.columns:
        value = getattr(event, column.field)
        if value is None or (column.field == plan.own and value == own):
            continue
        given = column.give(value, swarm)
        if given is UNSET:
            data[f"foreign_{column.field}"] = msgspec.to_builtins(value)
        else:
            data[column.key] = given
    for name, value in event.details.items():
        # Under a field's name it would be read as the field.
        free_name = f"details.{name}" if name in plan.keys else name
        while free_name in data:
            free_name = f"details.{free_name}"
        data[free_name] = value
    return data
