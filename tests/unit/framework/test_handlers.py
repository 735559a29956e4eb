"""`@on`: what may be marked, and which handler an event finds."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.conftest import Counted, Listed, Noted

from backstory import ConfigurationError, Event, RecordedEvent, on
from backstory._handlers import collect_handlers

RECORDED = RecordedEvent(
    9, "task-1", 2, "0191d7a6-0000-7000-8000-000000000001", "test:noted", 1, 0, b"{}", b"{}"
)


class Renamed(Event, type="unit:handled", aliases=("unit:handled-before",)):
    pass


class Base:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @on(Noted, Counted)
    def _either(self, event: Noted | Counted) -> None:
        self.seen.append(f"base {event.event_type}")


class Mixed:
    seen: list[str]

    @on(Listed)
    def _listed(self, event: Listed, recorded: RecordedEvent) -> None:
        self.seen.append(f"mixed {len(event.words)} at {recorded.position}")


class Derived(Mixed, Base):
    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.seen.append(f"derived {event.by}")

    @on(Renamed)
    def _renamed(self, _event: Renamed) -> None:
        self.seen.append("renamed")


def handle(event_type: str, event: Event) -> list[str]:
    derived = Derived()
    method, takes_recorded = collect_handlers(Derived)[event_type]
    method(derived, event, *([RECORDED] if takes_recorded else []))
    return derived.seen


@pytest.mark.parametrize(
    ("event_type", "event", "seen"),
    [
        ("test:noted", Noted(), "base test:noted"),
        ("test:counted", Counted(by=3), "derived 3"),
        ("test:listed", Listed(words=["a"]), "mixed 1 at 9"),
        ("unit:handled", Renamed(), "renamed"),
        ("unit:handled-before", Renamed(), "renamed"),
    ],
)
def test_event_finds_the_nearest_handler(event_type: str, event: Event, seen: str) -> None:
    assert handle(event_type, event) == [seen]


def test_class_without_handlers_has_none() -> None:
    assert collect_handlers(int) == {}


def test_two_handlers_of_one_event_are_refused() -> None:
    class Twice:
        @on(Noted)
        def _one(self, event: Noted) -> None: ...

        @on(Counted, Noted)
        def _other(self, event: Counted | Noted) -> None: ...

    with pytest.raises(ConfigurationError, match="'test:noted' has two handlers"):
        collect_handlers(Twice)


class Abstract(Event):
    pass


@pytest.mark.parametrize("types", [(), (Abstract,), (7,), ("test:noted",), (Noted(),), (int,)])
def test_what_is_no_event_class_is_refused(types: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"event class|abstract"):
        on(*types)


async def _coroutine(_self: Any, _event: Noted) -> None: ...


def _generator(_self: Any, _event: Noted) -> Any:
    yield


async def _asynchronous_generator(_self: Any, _event: Noted) -> Any:
    yield


def _too_few(self: Any) -> None: ...


def _too_many(self: Any, event: Noted, recorded: RecordedEvent, more: int) -> None: ...


def _by_keyword(self: Any, event: Noted, *, recorded: RecordedEvent) -> None: ...


@pytest.mark.parametrize(
    "method",
    [_coroutine, _generator, _asynchronous_generator, _too_few, _too_many, _by_keyword],
)
def test_method_of_another_shape_is_refused(method: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{method.__name__}: a handler is def"):
        on(Noted)(cast("Any", method))
