"""One run line: what is one, and what is not."""

import json
from typing import Any

import pytest
from msgspec import UNSET
from tests.unit.aggregates.conftest import line

from backstory_aggregates.run_lines import (
    BadRunLineError,
    RunLine,
    format_run_line,
    parse_run_line,
)


def test_line_says_what_its_json_says() -> None:
    text = (
        b'{"swarm":"s","n":34,"ts":null,"type":"memory.stored","agent":"Alice","task":null,'
        b'"key":"talk/0","data":{"value":"hi"}}'
    )

    assert parse_run_line(text) == RunLine(
        swarm="s",
        n=34,
        ts=None,
        type="memory.stored",
        agent="Alice",
        task=None,
        key="talk/0",
        data={"value": "hi"},
    )
    assert format_run_line(parse_run_line(text)) == text


def test_key_that_is_missing_is_not_null() -> None:
    parsed = parse_run_line(b'{"swarm":"s","n":1,"type":"agent.spawned","agent":"a"}')

    assert (parsed.ts, parsed.task, parsed.key, parsed.data) == (UNSET, UNSET, UNSET, UNSET)
    assert json.loads(format_run_line(parsed)) == {
        "swarm": "s",
        "n": 1,
        "type": "agent.spawned",
        "agent": "a",
    }


def test_further_keys_are_kept() -> None:
    parsed = parse_run_line(json.dumps(line(cost=0.5, further=[1])).encode())

    assert parsed.further == {"cost": 0.5, "further": [1]}
    assert json.loads(format_run_line(parsed)) == line(cost=0.5, further=[1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b'{"swarm":"s"', "is no JSON"),
        (b'{"n":NaN}', "holds a number outside"),
        (b'{"n":1e999}', "holds a number outside"),
        (b'{"swarm":"\\ud800"}', "half of a surrogate pair"),
        (b'{"swarm":"\xff"}', "is no JSON"),
        (b"[" * 100_000, "is nested too deep"),
        (b"[]", "must be a JSON object"),
        (b'"' + b"x" * 2_000_000 + b'"', "has more than 2,000,000 bytes"),
    ],
)
def test_text_that_is_no_line_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(BadRunLineError, match=reason) as caught:
        parse_run_line(text)

    assert (caught.value.swarm, caught.value.n) == (None, None)


@pytest.mark.parametrize("swarm", [None, "", 7, ["s"]])
def test_swarm_must_be_a_text(swarm: Any) -> None:
    with pytest.raises(BadRunLineError, match=r"swarm .* must be a text") as caught:
        parse_run_line(json.dumps(line(swarm=swarm)).encode())

    assert (caught.value.swarm, caught.value.n) == (None, None)


@pytest.mark.parametrize("n", [None, "1", 1.0, True, 0, -1, 2**63])
def test_n_must_be_a_whole_number_from_one(n: Any) -> None:
    with pytest.raises(BadRunLineError, match=r"n .* must be a whole number from 1") as caught:
        parse_run_line(json.dumps(line(n)).encode())

    assert (caught.value.swarm, caught.value.n) == ("s", None)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"type": None}, "type null must be a text"),
        ({"ts": 1_700_000_000}, "ts 1700000000 must be a text or null"),
        ({"agent": 7}, "agent 7 must be a text or null"),
        ({"task": {}}, "task {} must be a text or null"),
        ({"key": False}, "key False must be a text or null"),
    ],
)
def test_other_keys_must_be_texts_or_null(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRunLineError, match=reason) as caught:
        parse_run_line(json.dumps(line(3) | values).encode())

    assert (caught.value.swarm, caught.value.n) == ("s", 3)


def test_reason_stays_short_whatever_the_value() -> None:
    with pytest.raises(BadRunLineError) as caught:
        parse_run_line(json.dumps(line() | {"type": ["x"] * 10_000}).encode())

    assert len(str(caught.value)) < 120
