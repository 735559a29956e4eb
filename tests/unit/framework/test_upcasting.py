"""Upcasters: complete chains, and what becomes of old data in them."""

from typing import Any

import pytest

from backstory import ConfigurationError, Event, Upcaster
from backstory._upcasting import upcast


def _rename(data: dict[str, Any]) -> dict[str, Any]:
    data["title"] = data.pop("name")
    return data


def _split(data: dict[str, Any]) -> dict[str, Any]:
    title, _, subtitle = data["title"].partition(": ")
    return {**data, "title": title, "subtitle": subtitle}


def _fail(data: dict[str, Any]) -> dict[str, Any]:
    raise LookupError(data)


CHAIN: dict[int, Upcaster] = {1: _rename, 2: _split}


@pytest.mark.parametrize(
    ("data", "version"),
    [({"name": "Moby Dick: or, the Whale"}, 1), ({"title": "Moby Dick: or, the Whale"}, 2)],
)
def test_chain_is_gone_through_from_where_the_data_is(data: dict[str, Any], version: int) -> None:
    assert upcast(data, version, CHAIN) == {"title": "Moby Dick", "subtitle": "or, the Whale"}


def test_upcaster_that_raises_is_named() -> None:
    with pytest.raises(ValueError, match="upcaster from version 2 raised LookupError"):
        upcast({"name": "a"}, 1, {1: _rename, 2: _fail})


@pytest.mark.parametrize("returned", [None, [], "text", 7])
def test_upcaster_that_returns_no_object_is_named(returned: Any) -> None:
    with pytest.raises(ValueError, match="upcaster from version 1 returned no dict"):
        upcast({}, 1, {1: lambda _: returned})


@pytest.mark.parametrize(
    ("schema_version", "upcasters", "reason"),
    [
        (2, {}, "nothing translates version 1"),
        (4, {1: _rename, 3: _split}, "nothing translates version 2"),
        (1, {1: _rename}, "an upcaster from version 1 leads nowhere"),
        (2, {1: _rename, 0: _rename}, "an upcaster from version 0 leads nowhere"),
        (2, {1: "rename"}, "upcaster 1 is no function"),
        (2, [_rename], "a dict of functions by version"),
    ],
)
def test_chain_with_a_gap_is_refused_when_the_class_is_defined(
    schema_version: int, upcasters: Any, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):

        class Gapped(  # pyright: ignore[reportUnusedClass]  # defining it is the test
            Event, type="unit:gapped", schema_version=schema_version, upcasters=upcasters
        ):
            title: str = ""
