"""A specification passes where the aggregate is right, and says what is wrong where it is not."""

import pytest
from tests.conftest import Counted, Counter, Listed, Noted, TooMuchError

from backstory import (
    Aggregate,
    ConfigurationError,
    DomainError,
    EncodeError,
    Event,
    InvalidInputError,
    NewEvent,
    UnknownEventTypeError,
    on,
)
from backstory.testing import AggregateSpec


class Reworded(Event, type="test:reworded", schema_version=2, upcasters={1: dict}):
    """A type of which an older schema version is stored."""

    text: str = "nothing"


class Shelf(Aggregate, category="shelf"):
    """Keeps words, and breaks a rule in every command that is named for one."""

    words: list[str] = []
    looks: int = 0
    text: str = ""

    def put(self, *words: str) -> int:
        self.emit(Listed(words=list(words)))
        return len(self.words)

    def refuse(self, why: str) -> None:
        self.looks += 1
        self.words.append("never")
        self.emit(Noted(text="never appended"))
        raise DomainError(f"shelf {self.id}: {why}")

    def assign_without_an_event(self) -> None:
        self.looks += 1

    def change_a_list_without_an_event(self, word: str) -> None:
        self.put("one")
        self.words.append(word)

    def fail(self) -> None:
        raise ZeroDivisionError("a mistake")

    def look(self) -> float:
        return float("nan")

    @on(Listed)
    def _listed(self, event: Listed) -> None:
        self.words += event.words

    @on(Reworded)
    def _reworded(self, event: Reworded) -> None:
        self.text = event.text


SPEC = AggregateSpec(Shelf, id="7").given(Listed(words=["a"]))


def test_specification_of_a_right_command_passes() -> None:
    outcome = SPEC.when(Shelf.put, "b", "c")

    outcome.then(Listed(words=["b", "c"])).then_returns(3)
    outcome.then_state(words=["a", "b", "c"], version=2, id="7")


def test_other_event_is_shown_beside_the_expected_one() -> None:
    with pytest.raises(AssertionError) as caught:
        AggregateSpec(Counter).when(Counter.count_each, [1, 2]).then(Counted(by=1), Counted(by=3))

    assert str(caught.value) == (
        "Counter.count_each emitted other events (- expected, + found):\n"
        "  Counted(by=1)\n"
        "- Counted(by=3)\n"
        "+ Counted(by=2)"
    )


def test_long_event_is_shown_field_by_field() -> None:
    with pytest.raises(AssertionError) as caught:
        SPEC.when(Shelf.put, "x" * 40, "y" * 40).then(Listed(words=["x" * 40, "z" * 40]))

    assert "  Listed(\n-     words=['xxx" in str(caught.value)
    assert "\n+     words=['xxx" in str(caught.value)


@pytest.mark.parametrize(
    "expected", [(), (Listed(words=["b"]), Noted()), (Noted(),), (Listed(words=["B"]),)]
)
def test_too_few_too_many_and_other_events_fail(expected: tuple[Event, ...]) -> None:
    with pytest.raises(AssertionError, match="emitted other events"):
        SPEC.when(Shelf.put, "b").then(*expected)


def test_nothing_is_asked_for_by_name() -> None:
    AggregateSpec(Counter).given(Counted(by=5)).when(Counter.look).then_nothing().then_returns(5)

    with pytest.raises(AssertionError, match=r"\+ Counted\(by=1\)"):
        AggregateSpec(Counter).when(Counter.count).then_nothing()


def test_other_answer_fails() -> None:
    with pytest.raises(AssertionError, match=r"Shelf\.put returned 2, expected 3"):
        SPEC.when(Shelf.put, "b").then_returns(3)


def test_other_state_is_named_field_by_field() -> None:
    with pytest.raises(AssertionError) as caught:
        SPEC.when(Shelf.put, "b").then_state(words=["b"], looks=1, text="")

    assert str(caught.value) == (
        "Shelf is not as expected after Shelf.put:\n"
        "  words: expected ['b'], found ['a', 'b']\n"
        "  looks: expected 1, found 0"
    )


def test_field_that_is_none_is_named() -> None:
    with pytest.raises(AssertionError, match="Shelf has no 'colour'"):
        SPEC.when(Shelf.put, "b").then_state(colour="red")


def test_refusal_passes_and_leaves_the_state_as_it_was() -> None:
    outcome = SPEC.when(Shelf.refuse, "it is full")

    outcome.then_raises(DomainError, match="is full$").then_state(words=["a"], looks=0, version=1)
    AggregateSpec(Counter).when(Counter.count, by=2_000_000).then_raises(TooMuchError)


def test_refusal_where_events_were_expected_fails_with_its_cause() -> None:
    outcome = SPEC.when(Shelf.refuse, "it is full")

    with pytest.raises(
        AssertionError, match=r"raised DomainError: shelf 7: it is full; expected\n  Noted\(text"
    ) as caught:
        outcome.then(Noted(text="never appended"))
    assert isinstance(caught.value.__cause__, DomainError)
    with pytest.raises(AssertionError, match="expected no event"):
        outcome.then_nothing()
    with pytest.raises(AssertionError, match="expected it to return None"):
        outcome.then_returns(None)


def test_command_that_does_not_refuse_fails_with_what_it_did() -> None:
    with pytest.raises(
        AssertionError, match=r"was to raise DomainError, and emitted\n  Listed\(words=\['b'\]\)"
    ):
        SPEC.when(Shelf.put, "b").then_raises(DomainError)
    with pytest.raises(AssertionError, match="was to raise DomainError, and emitted nothing"):
        AggregateSpec(Counter).when(Counter.look).then_raises(DomainError)


def test_other_error_or_message_fails() -> None:
    with pytest.raises(AssertionError, match="and raised ZeroDivisionError: a mistake"):
        SPEC.when(Shelf.fail).then_raises(DomainError)
    with pytest.raises(AssertionError, match="'shelf 7: it is full', which does not match 'empty'"):
        SPEC.when(Shelf.refuse, "it is full").then_raises(DomainError, match="empty")


def test_mistake_in_a_command_can_be_asked_for_and_is_no_state() -> None:
    SPEC.when(Shelf.fail).then_raises(ZeroDivisionError)

    with pytest.raises(AssertionError, match="raised ZeroDivisionError: a mistake"):
        SPEC.when(Shelf.fail).then_state(words=["a"])


def test_field_that_a_command_assigns_itself_is_named() -> None:
    with pytest.raises(AssertionError) as caught:
        SPEC.when(Shelf.assign_without_an_event)

    assert "Shelf.assign_without_an_event changed the state without an event" in str(caught.value)
    assert str(caught.value).endswith(
        "\n  looks: 1 after the command, 0 when it is folded from the events"
    )


def test_list_that_a_command_changes_beside_its_event_is_found() -> None:
    with pytest.raises(AssertionError, match=r"words: .*'two'.* after the command"):
        SPEC.when(Shelf.change_a_list_without_an_event, "two")


def test_given_events_go_through_the_codec() -> None:
    words = ["a"]
    spec = AggregateSpec(Shelf).given(Listed(words=words))
    words.append("too late")

    spec.when(Shelf.put, "b").then_state(words=["a", "b"])
    with pytest.raises(EncodeError):
        AggregateSpec(Shelf).given(Noted(text=object()))  # type: ignore[arg-type]  # what the codec refuses


def test_stored_json_of_an_older_schema_version_can_be_given() -> None:
    old = NewEvent.raw("test:reworded", b'{"text":"old"}', event_id="0" * 32, schema_version=1)

    AggregateSpec(Shelf).given(old).when(Shelf.put, "b").then_state(text="old", version=2)


def test_given_event_that_the_program_does_not_know_is_refused_as_on_a_load() -> None:
    unknown = NewEvent.raw("test:unknown", b"{}", event_id="0" * 32)

    with pytest.raises(UnknownEventTypeError):
        AggregateSpec(Shelf).given(unknown).when(Shelf.put, "b")


def test_specification_is_shared_and_never_changes() -> None:
    more = SPEC.given(Listed(words=["b"]))

    more.when(Shelf.put, "c").then_state(words=["a", "b", "c"])
    SPEC.when(Shelf.put, "c").then_state(words=["a", "c"])
    SPEC.when(Shelf.put, "d").then_state(words=["a", "d"])


def test_command_of_another_class_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="must be a command of Shelf"):
        SPEC.when(Counter.count)  # type: ignore[arg-type]  # as an untyped caller could


def test_class_without_a_category_is_refused() -> None:
    class Abstract(Aggregate):
        pass

    with pytest.raises(ConfigurationError, match="abstract"):
        AggregateSpec(Abstract)
