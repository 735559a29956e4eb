"""Who does something, and because of what."""

import pytest

from backstory import Metadata, RecordedEvent
from backstory._context import Context, ambient

CAUSE = RecordedEvent(
    9,
    "task-1",
    2,
    "0191d7a6-0000-7000-8000-000000000001",
    "t",
    1,
    0,
    b'{"correlation_id":"c0","actor":"bob"}',
    b"{}",
)
LONELY = RecordedEvent(
    9, "task-1", 2, "0191d7a6-0000-7000-8000-000000000002", "t", 1, 0, b"{}", b"{}"
)


def narrowed(
    context: Context,
    *,
    actor: str | None = None,
    correlation_id: str | None = None,
    caused_by: RecordedEvent | None = None,
    tags: tuple[str, ...] = (),
    **free: object,
) -> Context:
    return context.narrowed(
        actor=actor, correlation_id=correlation_id, caused_by=caused_by, tags=tags, free=free
    )


def test_command_without_a_context_begins_a_correlation() -> None:
    metadata = Context().metadata("command")

    assert metadata == Metadata(correlation_id="command", causation_id="command")


def test_what_is_said_wins_and_the_rest_stays() -> None:
    outer = Context(actor="ada", correlation_id="c1", tags=("a",), free={"k": 1, "l": 2})

    inner = narrowed(outer, actor="bob", tags=("b", "a"), k=3)

    assert inner.metadata("command") == Metadata(
        correlation_id="c1",
        causation_id="command",
        actor="bob",
        tags=("a", "b"),
        free={"k": 3, "l": 2},
    )
    assert outer == Context(actor="ada", correlation_id="c1", tags=("a",), free={"k": 1, "l": 2})


def test_cause_gives_correlation_and_causation() -> None:
    metadata = narrowed(Context(actor="ada"), caused_by=CAUSE).metadata("command")

    assert (metadata.correlation_id, metadata.causation_id) == ("c0", CAUSE.event_id)
    assert metadata.actor == "ada"


def test_cause_without_a_correlation_begins_one() -> None:
    metadata = narrowed(Context(), caused_by=LONELY).metadata("command")

    assert (metadata.correlation_id, metadata.causation_id) == (LONELY.event_id, LONELY.event_id)


def test_correlation_that_is_said_beats_the_cause() -> None:
    context = narrowed(Context(correlation_id="c1"), caused_by=CAUSE, correlation_id="c2")

    assert context.metadata("command").correlation_id == "c2"


def test_cause_beats_the_block_around() -> None:
    context = narrowed(Context(correlation_id="c1"), caused_by=CAUSE)

    assert context.metadata("command").correlation_id == "c0"


@pytest.mark.parametrize("said", [{"actor": ""}, {"correlation_id": ""}])
def test_empty_text_is_said_and_not_left_out(said: dict[str, str]) -> None:
    outer = Context(actor="ada", correlation_id="c1")

    context = outer.narrowed(
        actor=said.get("actor"),
        correlation_id=said.get("correlation_id"),
        caused_by=None,
        tags=(),
        free={},
    )

    metadata = context.metadata("command")
    assert "" in (metadata.actor, metadata.correlation_id)


def test_nothing_is_known_outside_of_every_block() -> None:
    assert ambient() == Context()
