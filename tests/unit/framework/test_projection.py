"""Projections: their definition, and one event at a time."""

from typing import Any, cast

import pytest
from tests.conftest import Counted, Noted

from backstory import ConfigurationError, Projection, RecordedEvent, on
from backstory._projection import project


class Totals(Projection, name="totals", revision=2):
    total: int = 0
    places: list[int] = []

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.total += event.by
        self.places.append(recorded.position)


class MoreTotals(Totals):
    texts: list[str] = []

    @on(Noted)
    def _noted(self, event: Noted) -> None:
        self.texts.append(event.text)


def recorded(type: str, data_json: bytes) -> RecordedEvent:
    event_id = "0191d7a6-0000-7000-8000-000000000001"
    return RecordedEvent(9, "counter-1", 1, event_id, type, 1, 0, b"{}", data_json)


def define(namespace: dict[str, Any] | None = None, **keywords: Any) -> type[Projection]:
    """Define a projection class as no type checker would let pass."""
    metaclass: Any = type(Projection)
    names = {"__module__": __name__, "__qualname__": "Made"} | (namespace or {})
    return cast("type[Projection]", metaclass("Made", (Projection,), names, **keywords))


def test_event_is_folded_by_its_handler() -> None:
    model = MoreTotals()

    project(model, recorded("test:counted", b'{"by":3}'))
    project(model, recorded("test:noted", b'{"text":"a"}'))

    assert (model.total, model.places, model.texts) == (3, [9], ["a"])


def test_event_without_a_handler_is_not_even_decoded() -> None:
    model = Totals()

    project(model, recorded("test:noted", b"{"))

    assert model == Totals()


def test_name_is_the_class_unless_said() -> None:
    assert (Totals.projection_name, Totals.revision) == ("totals", 2)
    assert (MoreTotals.projection_name, MoreTotals.revision) == ("MoreTotals", 1)


def test_mutable_defaults_are_fresh_for_each_instance() -> None:
    Totals().places.append(1)

    assert Totals().places == []


@pytest.mark.parametrize("field", ["projection_name", "revision", "handlers"])
def test_field_with_a_reserved_name_is_refused(field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{field} is the framework's"):
        define({"__annotations__": {field: int}, field: 0})


def test_field_without_a_default_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="give a default to total"):
        define({"__annotations__": {"total": int}})


@pytest.mark.parametrize(
    "keywords",
    [
        {"name": "a\0b"},
        {"name": "\ud800"},
        {"name": "x" * 100_000},
        {"name": 7},
        {"revision": 0},
        {"revision": "2"},
        {"revision": True},
    ],
)
def test_unfit_keyword_is_refused_at_definition(keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Made"):
        define(**keywords)
