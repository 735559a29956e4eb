"""A specification finds read models that are wrong, impure, or lost at a checkpoint."""

from collections import Counter as Tally
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.conftest import Counted, Listed, Noted

from backstory import EncodeError, NewEvent, Projection, ProjectionFailedError, RecordedEvent, on
from backstory.testing import ProjectionSpec, recorded_on


class Totals(Projection):
    """Counts, and notes where each event lay."""

    total: int = 0
    seen: list[str] = []
    actors: list[str | None] = []

    def average(self) -> float:
        return self.total / len(self.seen)

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.total += event.by
        self.seen.append(f"{recorded.position}:{recorded.stream_id}@{recorded.version}")
        self.actors.append(recorded.metadata.actor)


SPEC = ProjectionSpec(Totals).given(
    recorded_on("counter-a", Counted(by=1), actor="ada"),
    recorded_on("counter-b", Counted(by=2)),
    recorded_on("note-a", Noted(text="not asked for")),
    recorded_on("counter-a", Counted(by=3), actor="bob"),
)


def test_events_get_positions_versions_and_actors() -> None:
    SPEC.then(
        total=6,
        seen=["1:counter-a@1", "2:counter-b@1", "4:counter-a@2"],
        actors=["ada", None, "bob"],
    ).then_model(lambda model: model.average() == 2)


def test_other_read_model_is_named_field_by_field() -> None:
    with pytest.raises(AssertionError) as caught:
        SPEC.then(total=7)

    assert str(caught.value) == (
        "Totals is not as expected after 4 events:\n  total: expected 7, found 6"
    )


def test_model_that_does_not_answer_as_asked_fails() -> None:
    with pytest.raises(AssertionError, match=r"not as expected: Totals\(total=6"):
        SPEC.then_model(lambda model: model.average() == 3)


def test_field_that_is_none_is_named() -> None:
    with pytest.raises(AssertionError, match="Totals has no 'sum'"):
        SPEC.then(sum=6)


def test_empty_log_gives_the_defaults() -> None:
    ProjectionSpec(Totals).then(total=0, seen=[])


def test_log_is_shared_and_never_changes() -> None:
    SPEC.given(Counted(by=10)).then(total=16)
    SPEC.given(Counted(by=20)).then(total=26)
    SPEC.then(total=6)


def test_times_are_a_second_apart_unless_they_are_said() -> None:
    class Times(Projection):
        times: list[datetime] = []

        @on(Noted)
        def _noted(self, event: Noted, recorded: RecordedEvent) -> None:
            self.times.append(recorded.recorded_at)

    said = datetime(2026, 3, 1, tzinfo=UTC)
    spec = ProjectionSpec(Times).given(
        Noted(), Noted(), recorded_on("note-1", Noted(), recorded_at=said), Noted()
    )

    spec.then_model(lambda m: [t.second for t in m.times] == [0, 1, 0, 1])
    spec.then_model(lambda m: m.times[2] == said)


CALLS: list[str] = []


class Impure(Projection):
    """Looks at what is neither in the read model nor in the event."""

    count: int = 0

    @on(Noted)
    def _noted(self, event: Noted) -> None:
        CALLS.append(event.text)
        self.count = len(CALLS)


def test_projection_that_is_not_pure_is_found() -> None:
    with pytest.raises(AssertionError, match="a second fold of the same events") as caught:
        ProjectionSpec(Impure).given(Noted()).then()

    assert "\n  count: " in str(caught.value)


class Unkept(Projection):
    """Holds a value that JSON does not carry."""

    tally: dict[str, int] = {}
    value: Any = None

    @on(Noted)
    def _noted(self, event: Noted, recorded: RecordedEvent) -> None:
        self.tally = Tally(self.tally) + Tally([event.text])

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.value = recorded.recorded_at


def test_field_that_does_not_outlive_a_checkpoint_is_named() -> None:
    with pytest.raises(AssertionError, match=r"at position 2 as it is: field 'tally' \(Counter"):
        ProjectionSpec(Unkept).given(Listed(), Noted(text="a")).then()
    with pytest.raises(AssertionError, match=r"at position 1 as it is: field 'value' \(datetime"):
        ProjectionSpec(Unkept).given(Counted()).then()


class Aliased(Projection):
    """Keeps one list under two names, which are two lists after a checkpoint."""

    open: list[str] = []
    newest: list[str] = []

    @on(Listed)
    def _listed(self, event: Listed) -> None:
        self.open = self.newest = event.words

    @on(Noted)
    def _noted(self, event: Noted) -> None:
        self.newest.append(event.text)


def test_read_model_that_goes_on_otherwise_from_a_checkpoint_is_found() -> None:
    with pytest.raises(AssertionError, match="going on from a checkpoint") as caught:
        ProjectionSpec(Aliased).given(Listed(words=["a"]), Noted(text="b")).then()

    assert str(caught.value).endswith("\n  open: ['a', 'b'] at first, then ['a']")


def test_handler_that_fails_says_where() -> None:
    class Failing(Projection):
        @on(Counted)
        def _counted(self, event: Counted) -> None:
            raise ZeroDivisionError("a mistake")

    with pytest.raises(ProjectionFailedError, match="position 2") as caught:
        ProjectionSpec(Failing).given(Noted(), Counted()).then()

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_given_events_go_through_the_codec() -> None:
    unfit = recorded_on("note-1", Noted(text=7))  # type: ignore[arg-type]  # what the codec refuses
    with pytest.raises(EncodeError):
        ProjectionSpec(Totals).given(unfit).then()

    stored = NewEvent.raw("test:counted", b'{"by":5}', event_id="0" * 32)
    ProjectionSpec(Totals).given(stored).then(total=5, seen=["1:test-1@1"])
