"""The table: which value of a run line goes to which field of an event, and back.

A value goes to a field only when the field gives it back exactly. A second look at each type:

- texts, counts and objects fit by their exact JSON type, since JSON tells 1, 1.0 and true apart;
- ids are unique inside their swarm, and fields hold the full ids of aggregates;
- null never fits, because a field cannot tell it from nothing.

A store knows an imported line by its event's content, too. So a change of this table makes lines
that are stored already look like other lines: add a field here together with a schema version.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import msgspec
from msgspec import UNSET, Struct

from backstory import Event
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStatusChanged,
    AgentStopped,
    AgentTaskAssigned,
    AgentTaskCompleted,
)
from backstory_aggregates.memory.events import (
    MemoryDeleted,
    MemoryExpired,
    MemoryRetrieved,
    MemoryStored,
)
from backstory_aggregates.swarm.events import (
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmMilestoneReached,
    SwarmPhaseChanged,
    SwarmScaled,
    SwarmTerminated,
    member_id,
    split_member_id,
)
from backstory_aggregates.task.events import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)

Conversion = Callable[[Any, str], Any]
"""From a value and the swarm's name to a value, or to UNSET where it cannot be said exactly."""


class Column(Struct, frozen=True):
    """A field of an event that `data` fills."""

    field: str
    """The field."""
    key: str
    """The name that recordings have for it; the field's own name does as well."""
    take: Conversion
    """From the value in `data` to the field's."""
    give: Conversion
    """From the field's value to that in `data`."""


class Plan(Struct, frozen=True):
    """Where the values of one type of line go."""

    line_type: str
    """The type of the line."""
    event: type[Event]
    """What it becomes."""
    category: str
    """The category of its stream."""
    own: str
    """Which of agent, task and key is the aggregate's own id; empty for a swarm."""
    moment: str
    """The field that `ts` fills."""
    refers_to: str
    """Which of agent and task fills a field of its own; empty for none."""
    columns: tuple[Column, ...]
    """The fields that `data` fills."""
    keys: frozenset[str]
    """Every name by which `data` can fill a field."""


_OWN: Final = {"agent": "agent", "task": "task", "memory": "key", "swarm": ""}


def _plan(event: type[Event], moment: str, *columns: Column, refers_to: str = "") -> Plan:
    line_type = event.event_type.replace(":", ".").replace("-", "_")
    category = line_type.partition(".")[0]
    keys = frozenset(name for column in columns for name in (column.key, column.field))
    return Plan(line_type, event, category, _OWN[category], moment, refers_to, columns, keys)


def _exactly(*types: type) -> Conversion:
    return lambda value, _swarm: value if type(value) in types else UNSET


def _as_it_is(value: Any, _swarm: str) -> Any:
    return value


def _text(field: str, key: str = "") -> Column:
    return Column(field, key or field, _exactly(str), _as_it_is)


def _count(field: str, key: str = "") -> Column:
    return Column(field, key or field, _exactly(int), _as_it_is)


def _object(field: str) -> Column:
    return Column(field, field, _exactly(dict), _as_it_is)


def _texts(field: str) -> Column:
    return Column(field, field, _take_texts, lambda value, _swarm: list(value))


def _take_texts(value: Any, _swarm: str) -> Any:
    if type(value) is not list:
        return UNSET
    texts = cast("Sequence[Any]", value)
    return tuple(texts) if all(type(text) is str for text in texts) else UNSET


def _ids(field: str) -> Column:
    return Column(field, field, _take_ids, _give_ids)


def _take_ids(value: Any, swarm: str) -> Any:
    texts = _take_texts(value, swarm)
    return UNSET if texts is UNSET else tuple(member_id(swarm, text) for text in texts)


def _give_ids(value: tuple[str, ...], swarm: str) -> Any:
    members = [split_member_id(id) for id in value]
    # The id of a member of another swarm means nothing inside this one.
    return [id for _, id in members] if {of for of, _ in members} <= {swarm} else UNSET


def _moment(field: str) -> Column:
    return Column(field, field, _take_moment, lambda value, _swarm: format_moment(value))


def _take_moment(value: Any, _swarm: str) -> Any:
    try:
        moment = parse_moment(value) if type(value) is str else None
    except ValueError:
        return UNSET
    return moment if moment is not None and format_moment(moment) == value else UNSET


def parse_moment(text: str) -> datetime:
    """Return the time that an ISO 8601 text says, in UTC, to the microsecond.

    A text without a zone is taken as UTC.

    Raises:
        ValueError: It is no such text, or a time outside the years 1 to 9999.
    """
    # Both are times in ISO 8601, and none in Python: a leap second, and the end of a day.
    text, leaps = _LEAP_SECOND.subn("59", text)
    text, ends = _END_OF_DAY.subn("00:00", text)
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC) + timedelta(days=ends, seconds=leaps)
    except OverflowError as error:
        raise ValueError(str(error)) from None


_LEAP_SECOND: Final = re.compile(r"(?<=\d\d:\d\d:)60")
_END_OF_DAY: Final = re.compile(r"(?<=\d[T ])24:00(?!:\d*[1-9])")


def format_moment(moment: datetime) -> str:
    """Return a time as an ISO 8601 text."""
    return str(msgspec.to_builtins(moment))


_role = _text("role", "kind")
_result = Column(
    "result", "result", lambda value, _swarm: UNSET if value is None else value, _as_it_is
)
_duration = Column("duration_seconds", "duration", _exactly(int, float), _as_it_is)
_priority = Column("priority", "priority", _exactly(str, int), _as_it_is)
_reason, _error, _stack = _text("reason"), _text("error"), _text("stack")
_namespace, _key = _text("namespace"), _text("key")

PLANS: Final = (
    _plan(AgentSpawned, "spawned_at", _role, _text("domain"), _texts("capabilities")),
    _plan(AgentStarted, "started_at"),
    _plan(AgentStopped, "stopped_at", _reason),
    _plan(AgentFailed, "failed_at", _error, _stack),
    _plan(
        AgentStatusChanged,
        "changed_at",
        _text("previous_status", "from"),
        _text("new_status", "to"),
    ),
    _plan(AgentTaskAssigned, "assigned_at", refers_to="task"),
    _plan(AgentTaskCompleted, "completed_at", _result, _duration, refers_to="task"),
    _plan(
        TaskCreated,
        "created_at",
        _text("task_type"),
        _text("title"),
        _text("description", "instruction"),
        _priority,
        _ids("dependencies"),
    ),
    _plan(TaskQueued, "queued_at", _priority),
    _plan(TaskStarted, "started_at", refers_to="agent"),
    _plan(TaskCompleted, "completed_at", _result, _duration),
    _plan(TaskFailed, "failed_at", _error, _stack, _count("retry_count")),
    _plan(TaskBlocked, "blocked_at", _ids("blocked_by")),
    _plan(MemoryStored, "stored_at", _namespace, _key, _text("memory_type"), _count("size")),
    _plan(MemoryRetrieved, "retrieved_at", _namespace, _key, _count("access_count")),
    _plan(MemoryDeleted, "deleted_at", _namespace, _key),
    _plan(MemoryExpired, "expired_at", _namespace, _key, _moment("expires_at")),
    _plan(
        SwarmInitialized,
        "initialized_at",
        _text("topology"),
        _count("max_agents", "agents"),
        _object("config"),
    ),
    _plan(
        SwarmScaled,
        "scaled_at",
        _count("previous_agent_count"),
        _count("new_agent_count"),
        _reason,
    ),
    _plan(SwarmTerminated, "terminated_at", _reason, _object("metrics")),
    _plan(SwarmPhaseChanged, "changed_at", _text("previous_phase"), _text("new_phase", "phase")),
    _plan(SwarmMilestoneReached, "reached_at", _text("milestone_id", "milestone"), _text("name")),
    _plan(SwarmErrorOccurred, "occurred_at", _text("error", "message"), _stack, _object("context")),
)
"""One plan for each type of line."""

CATEGORIES: Final = tuple(sorted({plan.category for plan in PLANS}))
"""The categories of the streams that lines lie in."""
