"""Aggregates: their definition, their commands, their evolution."""

import math
import sys
from typing import Any, ClassVar, cast

import msgspec
import pytest
from tests.conftest import Counted, Counter, Listed, Measured, Noted

from backstory import (
    Aggregate,
    ConfigurationError,
    CorruptLogError,
    DecodeError,
    EncodeError,
    Event,
    InvalidInputError,
    RawEvent,
    RecordedEvent,
    UnknownEventTypeError,
    on,
)
from backstory._aggregate import book_of, evolve


def recorded(
    data_json: bytes, *, type: str = "test:counted", version: int = 1, schema_version: int = 1
) -> RecordedEvent:
    event_id = "0191d7a6-0000-7000-8000-000000000001"
    return RecordedEvent(
        9, "counter-1", version, event_id, type, schema_version, 0, b"{}", data_json
    )


def define(
    namespace: dict[str, Any] | None = None,
    *,
    bases: tuple[type, ...] = (Aggregate,),
    **keywords: Any,
) -> type[Aggregate]:
    """Define an aggregate class as no type checker would let pass."""
    metaclass: Any = type(Aggregate)
    names = {"__module__": __name__, "__qualname__": "Made"} | (namespace or {})
    return cast("type[Aggregate]", metaclass("Made", bases, names, **keywords))


def test_blank_aggregate_has_defaults_and_version_zero() -> None:
    counter = Counter.blank("a-b")

    assert (counter.id, counter.version, counter.stream_id) == ("a-b", 0, "counter-a-b")
    assert (counter.total, counter.steps) == (0, [])


def test_mutable_defaults_are_fresh_for_each_instance() -> None:
    one, other = Counter.blank("1"), Counter.blank("2")

    one.count()

    assert (one.steps, other.steps) == ([1], [])


def test_emit_evolves_and_keeps_the_event() -> None:
    counter = Counter.blank("1")

    answer = counter.count_each([2, 3])

    assert (answer, counter.total, counter.version) == (5, 5, 2)
    assert [emitted.event for emitted in book_of(counter).emitted] == [Counted(by=2), Counted(by=3)]
    assert [emitted.data_json for emitted in book_of(counter).emitted] == [b'{"by":2}', b'{"by":3}']


class Reader(Aggregate, category="reader"):
    words: list[str] = []
    value: Any = None

    def note(self, event: Event) -> None:
        self.emit(event)

    @on(Listed)
    def _listed(self, event: Listed) -> None:
        self.words = event.words

    @on(Measured)
    def _measured(self, event: Measured) -> None:
        self.value = event.value


def test_event_without_a_handler_counts_as_a_version() -> None:
    reader = Reader.blank("1")

    reader.note(Noted(text="a"))

    assert (reader.version, len(book_of(reader).emitted)) == (1, 1)


@pytest.mark.parametrize("value", [math.nan, object(), (1, 2)])
def test_event_that_cannot_be_stored_moves_nothing(value: Any) -> None:
    reader = Reader.blank("1")

    with pytest.raises(EncodeError):
        reader.note(Measured(value=value))

    assert (reader.version, reader.value, book_of(reader).emitted) == (0, None, [])


def test_state_shares_no_list_with_the_caller() -> None:
    reader, words = Reader.blank("1"), ["a"]

    reader.note(Listed(words=words))
    words.append("b")
    reader.words.append("c")

    assert reader.words == ["a", "c"]
    assert book_of(reader).emitted[0].data_json == b'{"words":["a"]}'


def test_stored_events_evolve_as_emitted_ones_did() -> None:
    live, loaded = Counter.blank("1"), Counter.blank("1")
    live.count_each([2, 3])

    for version, emitted in enumerate(book_of(live).emitted, 1):
        evolve(loaded, recorded(emitted.data_json, version=version))

    assert loaded == live
    assert (loaded.version, book_of(loaded).emitted) == (2, [])


def test_book_is_neither_compared_nor_encoded() -> None:
    one, other = Counter.blank("1"), Counter.blank("2")
    book_of(one).version = 7

    assert one == other
    assert msgspec.json.encode(one) == b'{"total":0,"steps":[]}'


def test_stored_event_without_a_handler_is_passed_over() -> None:
    counter = Counter.blank("1")

    evolve(counter, recorded(b'{"text":"a"}', type="test:noted"))

    assert (counter.total, counter.version) == (0, 1)


@pytest.mark.parametrize(
    ("type", "schema_version"), [("x.future", 1), ("test:noted", 2), ("test:counted", 2)]
)
def test_unknown_event_is_not_folded(type: str, schema_version: int) -> None:
    counter = Counter.blank("1")

    with pytest.raises(UnknownEventTypeError, match=type) as caught:
        evolve(counter, recorded(b"{}", type=type, schema_version=schema_version))

    assert (caught.value.stream_id, caught.value.version) == ("counter-1", 1)
    assert counter.version == 0


class Tolerant(Aggregate, category="tolerant"):
    """Counts what it does not know."""

    total: int = 0
    unknown: list[Any] = []

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by

    @on(RawEvent)
    def _unknown(self, event: RawEvent) -> None:
        self.unknown.append(event.content)


def test_unknown_events_go_to_the_handler_of_raw_events() -> None:
    tolerant = Tolerant.blank("1")

    evolve(tolerant, recorded(b'{"a":1}', type="x.future", version=1))
    evolve(tolerant, recorded(b'{"by":2}', type="test:counted", version=2))
    evolve(tolerant, recorded(b'{"times":3}', type="test:counted", schema_version=2, version=3))
    evolve(tolerant, recorded(b'{"text":"a"}', type="test:noted", version=4))

    assert (tolerant.total, tolerant.unknown) == (2, [{"a": 1}, {"times": 3}])
    assert tolerant.version == 4


class Seated(Event, type="unit:seated"):
    """Somebody sat down; found by the seat."""

    seat: str

    def event_tags(self) -> list[str]:
        return [f"seat:{self.seat}"]


class Loose(Event, type="unit:loose"):
    """Its tags are one text by mistake."""

    def event_tags(self) -> str:  # a text is a sequence of texts to a type checker
        return "seat"


def test_emitted_event_brings_its_own_tags() -> None:
    counter = Counter.blank("1")

    counter.emit(Seated(seat="12A"))

    assert book_of(counter).emitted[0].tags == ("seat:12A",)


def test_tags_that_are_one_text_are_refused_before_the_state_moves() -> None:
    counter = Counter.blank("1")

    with pytest.raises(InvalidInputError, match="event_tags"):
        counter.emit(Loose())

    assert (counter.version, book_of(counter).emitted) == (0, [])


@pytest.mark.parametrize("version", [0, 1, 3, 4])
def test_event_that_is_not_the_next_is_not_folded(version: int) -> None:
    counter = Counter.blank("1")
    evolve(counter, recorded(b'{"by":5}'))

    with pytest.raises(CorruptLogError, match=f"version {version} follows version 1"):
        evolve(counter, recorded(b'{"by":5}', version=version))

    assert (counter.total, counter.version) == (5, 1)


def test_damaged_event_is_not_folded() -> None:
    counter = Counter.blank("1")

    with pytest.raises(DecodeError):
        evolve(counter, recorded(b'{"by":"two"}'))

    assert (counter.total, counter.version) == (0, 0)


def test_field_that_is_misspelt_is_refused() -> None:
    counter = Counter.blank("1")

    with pytest.raises(AttributeError):
        counter.totl = 3  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # the mistake under test


@pytest.mark.parametrize("id", ["", None, 7, "\ud800", "a\0b", "x" * 1_020])
def test_what_is_no_id_is_refused(id: Any) -> None:
    with pytest.raises(InvalidInputError):
        Counter.blank(id)


def test_abstract_class_has_no_instances() -> None:
    class Abstract(Aggregate):
        total: int = 0

    with pytest.raises(ConfigurationError, match="Abstract is abstract"):
        Abstract.blank("1")


class Counting(Aggregate):
    total: int = 0

    def count(self) -> int:
        """Count."""
        self.emit(Counted())
        return self.total

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


class Mixin:
    __slots__ = ()

    def mixed(self: Any, *, by: int = 2) -> Any:
        self.emit(Counted(by=by))
        return type(self).__name__

    @on(Listed)
    def _listed(self: Any, event: Listed) -> None:
        self.total = len(event.words)


def free(self: Any) -> None:
    self.emit(Counted())


class Left(Mixin, Counting, category="left"):
    assigned = free


class Right(Mixin, Counting, category="right"):
    assigned = free

    def count(self) -> int:
        return super().count() * 100


def owner_of(command: Any) -> Any:
    return command.aggregate


def test_inherited_command_belongs_to_the_class_asked_for() -> None:
    for command in ("count", "mixed", "assigned"):
        assert owner_of(getattr(Left, command)) is Left
        assert owner_of(getattr(Right, command)) is Right


def test_inherited_command_is_what_it_was() -> None:
    left = Left.blank("1")

    assert Left.count.__doc__ == "Count."
    assert Left.count.__qualname__ == "Counting.count"
    assert (left.count(), left.mixed(), left.total) == (1, "Left", 3)


def test_overridden_command_may_call_the_inherited_one() -> None:
    assert Right.blank("1").count() == 100


def test_mixed_in_handlers_evolve_the_state() -> None:
    left = Left.blank("1")

    evolve(left, recorded(b'{"words":["a","b"]}', type="test:listed"))

    assert left.total == 2


def test_concrete_class_cannot_be_subclassed() -> None:
    with pytest.raises(ConfigurationError, match="Counter is concrete"):
        define(bases=(Counter,), category="other")


async def _asynchronous(_self: Any) -> None: ...


def _generator(_self: Any) -> Any:
    yield


async def _asynchronous_generator(_self: Any) -> Any:
    yield


@pytest.mark.parametrize("command", [_asynchronous, _generator, _asynchronous_generator])
def test_command_that_is_no_plain_def_is_refused(command: Any) -> None:
    with pytest.raises(ConfigurationError, match="go: a command is a plain def"):
        define({"go": command}, category="made")


def test_handler_that_wants_the_record_is_refused() -> None:
    def handler(self: Any, event: Counted, recorded: RecordedEvent) -> None: ...

    with pytest.raises(ConfigurationError, match="an aggregate's handler is def"):
        define({"_on": on(Counted)(handler)}, category="made")


@pytest.mark.parametrize(
    "field",
    [
        *("id", "version", "stream_id", "emit", "blank"),
        *("category", "revision", "snapshot_every", "snapshot_version", "handlers"),
    ],
)
def test_name_of_the_frameworks_is_refused(field: str) -> None:
    def command(self: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=f"{field} is the framework's"):
        define({"__annotations__": {field: int}, field: 0}, category="made")
    with pytest.raises(ConfigurationError, match=f"{field} is the framework's"):
        define({field: command}, category="made")


def test_command_may_be_called_book() -> None:
    class Seat(Aggregate, category="seat"):
        def book(self) -> str:
            return self.id

    assert Seat.blank("12A").book() == "12A"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the types cannot be seen in time")
def test_attribute_without_a_type_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Made\.count has no type, and so is no field"):
        define({"count": 0}, category="made")

    define({"__annotations__": {"more": ClassVar[int]}, "more": 1, "LIMIT": 2}, category="made")


def test_aggregate_that_was_made_by_itself_says_so() -> None:
    with pytest.raises(AttributeError, match=r"load it, or take Counter\.blank\(id\)"):
        Counter().id  # noqa: B018 - looking is the test
    with pytest.raises(AttributeError, match="'Counter' object has no attribute 'totals'"):
        Counter.blank("1").totals  # type: ignore[attr-defined]  # the mistake under test  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018


def test_field_without_a_default_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="give a default to first, second"):
        define({"__annotations__": {"first": int, "second": str}}, category="made")


@pytest.mark.parametrize(
    "keywords",
    [
        {"category": "a-b"},
        {"category": "1"},
        {"category": "x" * 65},
        {"category": 7},
        {"category": "made", "revision": 0},
        {"category": "made", "revision": "1"},
        {"category": "made", "revision": True},
        {"category": "made", "snapshot_every": -1},
        {"category": "made", "snapshot_every": 1.5},
    ],
)
def test_unfit_keyword_is_refused_at_definition(keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Made"):
        define(**keywords)
