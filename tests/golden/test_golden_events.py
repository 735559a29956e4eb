"""Events as they were first stored can be read for ever.

`events.json` holds examples of each event type and schema version, with the data to the byte as a
store has it. It is only ever added to: what was stored once is stored for ever.
"""

import json
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct
from tests.faults.account import faults

from backstory import Event, NewEvent, RawEvent, RecordedEvent, derive_event_id
from backstory_aggregates.agent import events as agent
from backstory_aggregates.memory import events as memory
from backstory_aggregates.swarm import events as swarm
from backstory_aggregates.task import events as task

CLASSES = {
    member.event_type: member
    for module in (agent, task, memory, swarm)
    for member in vars(module).values()
    if isinstance(member, type) and issubclass(member, Event) and member.event_type
}


class Golden(Struct, frozen=True):
    """One event as it was stored."""

    type: str
    schema_version: int
    example: str
    data: str

    def __str__(self) -> str:
        return f"{self.type} {self.schema_version} {self.example}"

    @property
    def is_current(self) -> bool:
        """Whether events are still written like this."""
        return self.schema_version == CLASSES[self.type].schema_version


GOLDEN = msgspec.json.decode(
    (Path(__file__).parent / "events.json").read_bytes(), type=list[Golden]
)
CURRENT = [golden for golden in GOLDEN if golden.is_current]


def read(golden: Golden) -> Event:
    event_id = derive_event_id("golden")
    return RecordedEvent(
        1,
        "golden-1",
        1,
        event_id,
        golden.type,
        golden.schema_version,
        0,
        b"{}",
        golden.data.encode(),
    ).data


@pytest.mark.parametrize("golden", GOLDEN, ids=str)
@pytest.mark.fault(26, "T17", store="in_memory", without="the default of a field that came later")
def test_stored_event_is_read_as_its_class(golden: Golden) -> None:
    faults.count()

    event = read(golden)

    assert not isinstance(event, RawEvent)
    assert isinstance(event, CLASSES[golden.type])


@pytest.mark.parametrize("golden", CURRENT, ids=str)
def test_event_says_what_is_stored(golden: Golden) -> None:
    says = json.loads(msgspec.json.encode(read(golden)))

    assert says.items() >= json.loads(golden.data).items()


@pytest.mark.parametrize("golden", CURRENT, ids=str)
def test_event_of_today_is_stored_as_it_was_then(golden: Golden) -> None:
    again = NewEvent.of(read(golden), event_id=derive_event_id("golden"))

    assert again.data_json.decode() == golden.data


@pytest.mark.parametrize("golden", CURRENT, ids=str)
def test_full_example_fills_every_field_and_an_empty_one_none(golden: Golden) -> None:
    event = read(golden)
    empty = CLASSES[golden.type]()
    filled = {
        field for field in event.__struct_fields__ if getattr(event, field) != getattr(empty, field)
    }

    assert filled == (set(event.__struct_fields__) if golden.example == "full" else set())


def test_every_event_type_and_schema_version_has_a_full_and_an_empty_example() -> None:
    examples = {(golden.type, golden.schema_version, golden.example) for golden in GOLDEN}

    assert len(CLASSES) == 23
    assert examples == {
        (cls.event_type, version, example)
        for cls in CLASSES.values()
        for version in range(1, cls.schema_version + 1)
        for example in ("full", "empty")
    }
