"""Fingerprints: what saved states must agree with."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from msgspec import Struct
from tests.conftest import Counted, Noted

import backstory
from backstory import Aggregate, Event, on
from backstory._fingerprint import fingerprint_of


class Inner(Struct):
    x: int = 0


class InnerWithMore(Struct):
    x: int = 0
    y: int = 0


def define(
    *,
    fields: dict[str, tuple[Any, Any]] | None = None,
    on_types: tuple[type[Event], ...] = (Counted,),
    revision: int = 1,
    by: int = 1,
) -> type[Aggregate]:
    """Define the same aggregate again, but for what is said."""

    def handler(self: Any, _event: Event) -> None:
        self.total += by

    metaclass: Any = type(Aggregate)
    typed = {"total": (int, 0)} if fields is None else fields
    namespace = {
        "__module__": __name__,
        "__qualname__": "Made",
        "__annotations__": {name: annotation for name, (annotation, _) in typed.items()},
        **{name: default for name, (_, default) in typed.items()},
        "_on": on(*on_types)(handler),
    }
    made = metaclass("Made", (Aggregate,), namespace, category="made", revision=revision)
    return cast("type[Aggregate]", made)


def test_same_definition_has_the_same_fingerprint() -> None:
    assert fingerprint_of(define()) == fingerprint_of(define())


@pytest.mark.parametrize(
    "change",
    [
        lambda: define(fields={"total": (int, 0), "more": (int, 0)}),
        lambda: define(fields={"count": (int, 0)}),
        lambda: define(fields={"total": (float, 0)}),
        lambda: define(fields={"total": (int, 1)}),
        lambda: define(revision=2),
        lambda: define(on_types=(Counted, Noted)),
        lambda: define(on_types=(Noted,)),
    ],
)
def test_changed_definition_has_another_fingerprint(change: Callable[[], type[Aggregate]]) -> None:
    assert fingerprint_of(change()) != fingerprint_of(define())


def test_change_two_levels_down_is_noticed() -> None:
    one = define(fields={"inner": (dict[str, list[Inner]], {})})
    other = define(fields={"inner": (dict[str, list[InnerWithMore]], {})})

    assert fingerprint_of(one) != fingerprint_of(other)


def test_field_without_a_schema_has_a_fingerprint_too() -> None:
    one = define(fields={"odd": (complex, 0j)})

    assert fingerprint_of(one) == fingerprint_of(define(fields={"odd": (complex, 0j)}))
    assert fingerprint_of(one) != fingerprint_of(define(fields={"odd": (object, 0j)}))


def fresh() -> dict[str, int]:
    return {"a": 1}


def other_fresh() -> dict[str, int]:
    return {"b": 1}


def test_default_factory_is_part_of_the_fingerprint() -> None:
    def with_factory(factory: Callable[[], dict[str, int]]) -> type[Aggregate]:
        field = msgspec.field(default_factory=factory)
        return define(fields={"counts": (dict[str, int], field)})

    assert fingerprint_of(with_factory(fresh)) == fingerprint_of(with_factory(fresh))
    assert fingerprint_of(with_factory(fresh)) != fingerprint_of(with_factory(other_fresh))


PROGRAM = """
import enum
import msgspec
from backstory import Aggregate
from backstory._fingerprint import fingerprint_of

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

def fresh() -> set[str]:
    return {"a", "b"}

class Made(Aggregate, category="made"):
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    words: set[str] = msgspec.field(default_factory=fresh)
    other: set[str] = msgspec.field(default_factory=lambda: {"a"})
    colours: frozenset[Colour] = frozenset({Colour.RED, Colour.BLUE})

print(fingerprint_of(Made))
"""


@pytest.mark.slow
def test_fingerprint_is_the_same_in_every_process() -> None:
    def run(seed: str) -> str:
        folder = str(Path(backstory.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
        )
        return ran.stdout.decode()

    assert run("1") == run("2") == run("3")
