"""Event classes: how they are defined, registered and found again."""

from typing import Any, cast

import pytest

from backstory import ConfigurationError, Event, InvalidInputError, Metadata
from backstory._events import (
    check_metadata,
    event_class,
    event_types,
    is_known,
    names_of,
)
from backstory._limits import METADATA_ID_BYTES_MAX, TAG_BYTES_MAX, TAG_COUNT_MAX


def _same(data: dict[str, Any]) -> dict[str, Any]:
    return data


class Paid(
    Event,
    type="unit:paid",
    schema_version=3,
    aliases=("unit:bought", "unit:settled"),
    upcasters={1: _same, 2: _same},
):
    amount: int


def define(
    name: str = "Made", /, fields: dict[str, type] | None = None, **keywords: Any
) -> type[Event]:
    """Define an event class with keywords that no type checker would let pass."""
    namespace = {"__module__": __name__, "__qualname__": name, "__annotations__": fields or {}}
    metaclass: Any = type(Event)
    return cast("type[Event]", metaclass(name, (Event,), namespace, **keywords))


def test_class_is_found_under_its_type_and_aliases() -> None:
    assert event_class("unit:paid") is Paid
    assert event_class("unit:bought") is event_class("unit:settled") is Paid
    assert event_class("unit:paid ") is None
    assert {"unit:paid", "unit:bought", "unit:settled"} <= set(event_types())
    assert event_types() == sorted(event_types())


def test_class_stands_for_all_its_names() -> None:
    assert names_of(Paid) == ("unit:paid", "unit:bought", "unit:settled")
    assert names_of("unit:anything") == ("unit:anything",)


@pytest.mark.parametrize(
    ("event_type", "schema_version", "known"),
    [
        ("unit:paid", 1, True),
        ("unit:paid", 3, True),
        ("unit:settled", 3, True),
        ("unit:paid", 4, False),
        ("unit:never", 1, False),
    ],
)
def test_newer_schema_version_counts_as_unknown(
    event_type: str, schema_version: int, *, known: bool
) -> None:
    assert is_known(event_type, schema_version) is known


def test_event_cannot_be_changed() -> None:
    paid = Paid(amount=3)

    with pytest.raises(AttributeError):
        paid.amount = 4  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # the mistake under test


def test_event_takes_its_fields_by_name_only() -> None:
    with pytest.raises(TypeError):
        Paid(3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # the mistake under test


def test_second_class_for_a_type_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'unit:paid' belongs to .*Paid"):
        define("Other", type="unit:paid")

    assert event_class("unit:paid") is Paid


def test_second_class_for_an_alias_is_refused_whole() -> None:
    with pytest.raises(ConfigurationError, match="unit:settled"):
        define("Newcomer", type="unit:newcomer", aliases=("unit:newer", "unit:settled"))

    assert event_class("unit:newcomer") is event_class("unit:newer") is None


def test_same_class_again_takes_the_place_of_the_first() -> None:
    first = define("Cell", type="unit:cell")

    second = define("Cell", type="unit:cell")

    assert first is not second
    assert event_class("unit:cell") is second


def test_class_without_a_type_is_abstract_and_not_found() -> None:
    before = event_types()

    abstract = define("Abstract")

    assert abstract.event_type == ""
    assert event_types() == before


def test_subclass_inherits_fields_and_has_its_own_type() -> None:
    class PaidTwice(Paid, type="unit:paid-twice"):
        again: int = 0

    assert PaidTwice(amount=1).again == 0
    assert (PaidTwice.schema_version, PaidTwice.event_aliases) == (1, ())
    assert event_class("unit:paid") is Paid


@pytest.mark.parametrize(
    "keywords",
    [
        {"type": " "},
        {"type": "a b"},
        {"type": 7},
        {"type": "unit:bad", "aliases": "unit:x"},
        {"type": "unit:bad", "aliases": ("",)},
        {"type": "unit:bad", "aliases": (7,)},
        {"type": "unit:bad", "schema_version": 0},
        {"type": "unit:bad", "schema_version": True},
        {"type": "unit:bad", "schema_version": "1"},
        {"type": "unit:bad", "schema_version": 2**63},
        {"type": "unit:bad", "frozen": False},
        {"type": "unit:bad", "kw_only": False},
    ],
)
def test_unfit_keyword_is_refused_at_definition(keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Made"):
        define(**keywords)

    assert event_class("unit:bad") is None


@pytest.mark.parametrize("field", ["event_type", "schema_version", "event_aliases"])
def test_field_with_a_reserved_name_is_refused(field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{field}.*rename"):
        define(fields={field: str}, type="unit:reserved")


@pytest.mark.parametrize(
    "metadata",
    [
        Metadata(),
        Metadata(correlation_id="c" * METADATA_ID_BYTES_MAX, causation_id="%", actor="'; drop"),
        Metadata(tags=tuple(map(str, range(TAG_COUNT_MAX)))),
        Metadata(tags=("x" * TAG_BYTES_MAX, "\u2028")),
    ],
)
def test_metadata_within_the_limits_passes(metadata: Metadata) -> None:
    check_metadata(metadata)


@pytest.mark.parametrize(
    ("unfit", "argument"),
    [
        ({"correlation_id": ""}, "correlation id"),
        ({"correlation_id": "x" * (METADATA_ID_BYTES_MAX + 1)}, "correlation id"),
        ({"causation_id": "\0"}, "causation id"),
        ({"causation_id": 7}, "causation id"),
        ({"actor": "\ud800"}, "actor"),
        ({"actor": b"ada"}, "actor"),
        ({"tags": ("",)}, "tag"),
        ({"tags": ("x" * (TAG_BYTES_MAX + 1),)}, "tag"),
        ({"tags": ("a", "b", "a")}, "tags"),
        ({"tags": tuple(map(str, range(TAG_COUNT_MAX + 1)))}, "tags"),
        ({"tags": "ab"}, "tags"),
        ({"tags": ["a"]}, "tags"),
        ({"tags": (7,)}, "tag"),
    ],
)
def test_metadata_outside_the_limits_is_refused(unfit: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_metadata(Metadata(**unfit))

    assert caught.value.argument == argument
