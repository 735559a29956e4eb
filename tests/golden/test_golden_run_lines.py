"""A run line becomes the same event for ever.

A store knows a line that it has by the event's id and its content. If a line became an event of
other content some day, importing it again would be refused. `run_lines.json` holds lines with the
stream, the data and the metadata that they were first stored with. It is only ever added to.
"""

import json
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from backstory_aggregates.run_lines import parse_run_line, to_new_event


class Golden(Struct, frozen=True):
    """One line, and what a store has of it."""

    line: str
    stream_id: str
    event_id: str
    type: str
    schema_version: int
    data: str
    metadata: str


GOLDEN = msgspec.json.decode(
    (Path(__file__).parent / "run_lines.json").read_bytes(), type=list[Golden]
)


@pytest.mark.parametrize("golden", GOLDEN, ids=[str(place) for place in range(len(GOLDEN))])
def test_line_becomes_the_event_that_it_became_first(golden: Golden) -> None:
    stream_id, event = to_new_event(parse_run_line(golden.line.encode()))

    assert (stream_id, event.event_id) == (golden.stream_id, golden.event_id)
    assert (event.type, event.schema_version) == (golden.type, golden.schema_version)
    assert json.loads(event.data_json) == json.loads(golden.data)
    assert json.loads(event.metadata_json) == json.loads(golden.metadata)


def test_every_type_of_line_has_an_example() -> None:
    assert len({json.loads(golden.line)["type"] for golden in GOLDEN}) == 23
