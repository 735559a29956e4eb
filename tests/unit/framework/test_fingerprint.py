"""Fingerprints: awake to what code does, blind to how it looks."""

from types import ModuleType
from typing import Any

import pytest

from backstory._fingerprint import fingerprint_of

PROGRAM = """
from enum import Enum
from msgspec import Struct
from backstory import Aggregate, Event, on

LIMIT = 10
WORDS = frozenset({"a", "b", "c"})

class Colour(Enum):
    RED = 1

class Row(Struct):
    n: int = 0
    def grow(self, by):
        self.n = self.n + by

class Grown(Event, type="%s:grown"):
    by: int = 1

def doubled(n):
    return n * 2

class Tree(Aggregate, category="tree"):
    height: int = 0
    rows: list[Row] = []

    def water(self, by: int) -> None:
        self.emit(Grown(by=by))

    @on(Grown)
    def _grown(self, event: Grown) -> None:
        if event.by > LIMIT or str(event.by) in WORDS:
            return
        row = Row()
        row.grow(event.by)
        self.height += self._measure(doubled(row.n)) + Colour.RED.value

    def _measure(self, n: int) -> int:
        return [item for item in range(n)][-1] - 1
"""


def fingerprint(name: str, *changes: tuple[str, str]) -> str:
    source = PROGRAM % name
    for before, after in changes:
        assert before in source
        source = source.replace(before, after, 1)
    module = ModuleType(f"shop_{name}")
    exec(compile(source, "<program>", "exec"), module.__dict__)  # noqa: S102 - a program of ours
    cls: Any = module.__dict__["Tree"]
    # The same program under one name, whatever it is called here.
    return fingerprint_of(cls)


@pytest.fixture
def as_it_was() -> str:
    return fingerprint("one")


CHANGES = {
    "operator": ("self.height +=", "self.height -="),
    "comparison": ("event.by > LIMIT", "event.by >= LIMIT"),
    "constant": ("[-1] - 1", "[-1] - 2"),
    "module_constant": ("LIMIT = 10", "LIMIT = 11"),
    "set_member": ('"b", "c"', '"b", "d"'),
    "helper": ("n * 2", "n * 3"),
    "method_of_self": ("range(n)", "range(n + 1)"),
    "method_of_a_struct": ("self.n + by", "self.n - by"),
    "field_of_a_struct": ("n: int = 0", "n: float = 0"),
    "default": ("height: int = 0", "height: int = 1"),
    "enum_value": ("RED = 1", "RED = 2"),
    "event_default": ("by: int = 1", "by: int = 2"),
    "branch": ("            return\n", "            pass\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_of_what_is_done_changes_it(as_it_was: str, change: tuple[str, str]) -> None:
    assert fingerprint("one", change) != as_it_was


LOOKS = {
    "comment": ("        row = Row()\n", "        # a row\n        row = Row()\n"),
    "docstring": ("None:\n        if event", 'None:\n        """Grow."""\n        if event'),
    "layout": ("event.by > LIMIT or ", "(event.by > LIMIT) or \\\n            "),
    "command": ("self.emit(Grown(by=by))", "self.emit(Grown(by=by + 0))"),
    "order_of_a_set": ('{"a", "b", "c"}', '{"c", "b", "a"}'),
    "unused_constant": ("LIMIT = 10", "LIMIT = 10\nOTHER = 7"),
}


@pytest.mark.parametrize("change", LOOKS.values(), ids=LOOKS)
def test_change_of_how_it_looks_leaves_it(as_it_was: str, change: tuple[str, str]) -> None:
    assert fingerprint("one", change) == as_it_was
