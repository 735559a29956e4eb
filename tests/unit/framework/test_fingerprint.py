"""Fingerprints: awake to what code does, blind to how it looks."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib import reload
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

import backstory
from backstory._fingerprint import Fingerprint, fingerprint_of

PROGRAM = """
from enum import Enum
from typing import ClassVar
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


@pytest.fixture(autouse=True)
def shops() -> Iterator[None]:
    """Forget the modules of a test, where msgspec finds the names in their annotations."""
    yield
    for name in [name for name in sys.modules if name.startswith("shop_")]:
        del sys.modules[name]


def run(source: str, *changes: tuple[str, str], name: str = "shop_one") -> dict[str, Any]:
    """Run a changed program as a module, and return what it has defined."""
    sys.modules[name] = module = ModuleType(name)
    for before, after in changes:
        assert before in source
        source = source.replace(before, after, 1)
    exec(compile(source, "<program>", "exec"), module.__dict__)  # noqa: S102 - a program of ours
    return module.__dict__


def fingerprint(name: str, *changes: tuple[str, str]) -> str:
    return fingerprint_of(run(PROGRAM % name, *changes, name=f"shop_{name}")["Tree"])


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
    "unused_method": ("    def grow", "    def shrink(self): return 1\n    def grow"),
    "class_variable": ("height: int = 0", "height: int = 0\n    more: ClassVar[int] = 1"),
    "future_import": ("from enum", "from __future__ import annotations\nfrom enum"),
    "name_of_a_local_variable": ("item for item in", "it for it in"),
    "another_global_of_an_attributes_name": ("LIMIT = 10", "LIMIT = 10\nheight = 7"),
}


@pytest.mark.parametrize("change", LOOKS.values(), ids=LOOKS)
def test_change_of_how_it_looks_leaves_it(as_it_was: str, change: tuple[str, str]) -> None:
    assert fingerprint("one", change) == as_it_was


MORE = """
import functools
import math
import operator
import re
from datetime import timedelta
from enum import Enum
from typing import ClassVar
from backstory import Aggregate, Event, on

RATES = {"a": 1}
STEPS = [lambda n: n + 1, lambda n: n + 2]
PAUSE = timedelta(seconds=3)
WORD = re.compile("[a-z]+")
capped = functools.partial(min, 9)
rounded = math.floor
louder = str.upper
second = operator.itemgetter(1)

class Up(Event, type="more:up"):
    by: int = 1

    @property
    def twice(self):
        return self.by * 2

class Down(Event, type="more:down", schema_version=2, upcasters={1: lambda data: {"by": 1}}):
    by: int = 0

class Cell:
    size = 3

    def __init__(self, n, limit=7):
        self.n = n

    def __add__(self, other):
        return Cell(self.n + other.n)

    @staticmethod
    def empty():
        return Cell(0)

    @classmethod
    def full(cls):
        return cls(cls.size)

    @functools.cached_property
    def area(self):
        return self.n ** 2

class Speaks:
    def _say_loud(self, n):
        return n + 10

    def _say_low(self, n):
        return n + 20

def logged(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args) or None
    return call

def made(step):
    def step_by(n):
        return n + step
    return step_by

by_five = made(5)
PLAIN = Cell(1)

class More(Speaks, Aggregate, category="more"):
    total: int = 0
    LIMIT: ClassVar[int] = 3

    @on(Up)
    @logged
    def _up(self, event):
        self.total += event.twice + STEPS[0](RATES["a"]) + STEPS[1](2) + by_five(1) + PLAIN.n
        self.total += capped(PAUSE.seconds) + rounded(1.5) + len(WORD.findall("a b"))
        self.total += (Cell.empty() + Cell.full()).area + sorted([3, 1], key=abs)[0]
        self.total = min(self.total, self.LIMIT)
        self.total += len(louder("a") + second("ab"))
        self._later()

    @on(Down)
    def _down(self, event):
        try:
            total = self.total - event.by
        except ValueError:
            total = 1
        else:
            total = total + math.floor(0)
        word = "loud"
        self.total = getattr(self, f"_say_{word}")(total)

    def _later(self):
        from textwrap import dedent
        self.total += len(dedent(" a"))
"""

MORE_CHANGES = {
    "events_swapped": (
        ("    @on(Up)\n    @logged\n    def _up", "    @on(Down)\n    @logged\n    def _up"),
        ("    @on(Down)\n    def _down", "    @on(Up)\n    def _down"),
    ),
    "dict": (('{"a": 1}', '{"a": 2}'),),
    "second_of_two_lambdas": (("n + 2]", "n + 3]"),),
    "duration": (("seconds=3", "seconds=4"),),
    "pattern": (("[a-z]+", "[a-z]"),),
    "partial": (("partial(min, 9)", "partial(min, 8)"),),
    "another_function_of_another_package": (("rounded = math.floor", "rounded = math.ceil"),),
    "method_of_a_built_in_type": (("str.upper", "str.lower"),),
    "item_getter": (("itemgetter(1)", "itemgetter(0)"),),
    "property_of_an_event": (("self.by * 2", "self.by * 3"),),
    "upcaster": (('{"by": 1}}', '{"by": 2}}'),),
    "schema_version": (
        ("schema_version=2", "schema_version=3"),
        ("upcasters={1:", "upcasters={2: dict, 1:"),
    ),
    "special_method": (("self.n + other.n", "self.n - other.n"),),
    "default_of_a_method": (("limit=7", "limit=8"),),
    "static_method": (("return Cell(0)", "return Cell(1)"),),
    "class_method": (("cls(cls.size)", "cls(-cls.size)"),),
    "constant_of_a_class": (("size = 3", "size = 4"),),
    "cached_property": (("self.n ** 2", "self.n ** 3"),),
    "what_an_object_holds": (("PLAIN = Cell(1)", "PLAIN = Cell(2)"),),
    "decorator": (("or None", "or 1"),),
    "what_is_closed_over": (("made(5)", "made(6)"),),
    "class_variable": (("LIMIT: ClassVar[int] = 3", "LIMIT: ClassVar[int] = 4"),),
    "keyword": (("key=abs", "kex=abs"),),
    "what_a_try_watches": (
        ("        else:\n            total = total + math.floor(0)\n", ""),
        ("- event.by\n", "- event.by\n            total = total + math.floor(0)\n"),
    ),
    "name_made_up_at_run_time": (("n + 20", "n + 21"),),
    "import_inside": (("import dedent", "import indent as dedent"),),
}


def more(*changes: tuple[str, str]) -> str:
    return fingerprint_of(run(MORE, *changes)["More"])


@pytest.mark.parametrize("changes", MORE_CHANGES.values(), ids=MORE_CHANGES)
def test_change_of_what_is_reached_changes_it(changes: tuple[tuple[str, str], ...]) -> None:
    assert more(*changes) != more()


def test_name_of_a_local_variable_is_not_in_it() -> None:
    renamed = MORE.replace("word", "text").replace("            total", "            sum_")
    renamed = renamed.replace("total + math", "sum_ + math").replace(")(total)", ")(sum_)")

    assert fingerprint_of(run(renamed)["More"]) == more()


def test_values_of_unions_may_stand_in_any_order() -> None:
    one, other = ("by: int = 1", "by: int | None = 1"), ("by: int = 1", "by: None | int = 1")

    assert more(one) == more(other) != more()


class Kept(backstory.Aggregate, category="pickled"):
    total: int = 0


def test_pickled_class_has_the_same_fingerprint() -> None:
    assert fingerprint_of(pickle.loads(pickle.dumps(Kept))) == fingerprint_of(Kept)  # noqa: S301 - our own bytes


def write(folder: Path, **modules: str) -> None:
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that modules are imported from."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@pytest.mark.parametrize("later", ["def doubled(n): return n * 3", "doubled = abs"])
def test_fingerprint_tells_when_what_it_saw_was_exchanged(later: str) -> None:
    scope = run(PROGRAM % "one")
    before = Fingerprint(scope["Tree"])
    assert before.is_current()

    exec(later, scope)  # noqa: S102 - a notebook cell of ours

    assert not before.is_current()
    assert Fingerprint(scope["Tree"]).text != before.text


def compiled(function: str) -> CodeType:
    code: CodeType = eval(function).__code__  # noqa: S307 - a function of ours
    return code


def test_fingerprint_tells_when_code_was_put_into_a_function() -> None:
    scope = run(PROGRAM % "one")
    before = Fingerprint(scope["Tree"])

    # As reloaders do, so that whoever holds the function gets the new code.
    function: FunctionType = scope["doubled"]
    function.__code__ = compiled("lambda n: n * 3")

    assert not before.is_current()


def test_reloaded_module_keeps_its_fingerprint_and_shows_its_changes(folder: Path) -> None:
    helper = "def doubled(n): return n * {}"
    shop = PROGRAM % "reloaded" + "import reloaded_prices\n"
    shop = shop.replace("doubled(row.n)", "reloaded_prices.doubled(row.n)")
    write(folder, reloaded_shop=shop, reloaded_prices=helper.format(2))
    module: Any = __import__("reloaded_shop")
    before = Fingerprint(module.Tree)

    reload(module)
    assert fingerprint_of(module.Tree) == before.text

    write(folder, reloaded_prices=helper.format(3) + "\n\n")
    reload(module.reloaded_prices)
    assert not before.is_current()
    assert fingerprint_of(module.Tree) != before.text


MAIN = """
import late_prices
from backstory import Aggregate, Event, on
from backstory._fingerprint import fingerprint_of

class Up(Event, type="main:up"):
    colours: frozenset[str] = frozenset({"red", "green", "blue"})

class Up2(Event, type="main:up2"):
    pass

def early(n):
    from late_prices import late
    return late(n)

class Main(Aggregate, category="main"):
    total: int = 0

    @on(Up, Up2)
    def _up(self, event):
        self.total += early(late_prices.early(1))

print(fingerprint_of(Main))
"""
PRICES = """
STEPS = {frozenset({"a", "b", "c"}), frozenset({"d"})}
def early(n):
    return n + len(STEPS)
def late(n):
    return n + 2
"""


def printed(folder: Path, *arguments: str, seed: str = "1") -> str:
    source = str(Path(backstory.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "PYTHONHASHSEED": seed}
    ran = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, check=True, cwd=folder
    )
    return ran.stdout.decode()


@pytest.mark.slow
def test_program_has_one_fingerprint_however_it_is_started(tmp_path: Path) -> None:
    write(tmp_path, shop=MAIN, late_prices=PRICES)

    started = printed(tmp_path, "shop.py")

    assert started == printed(tmp_path, "shop.py", seed="2")
    assert started == printed(tmp_path, "-m", "shop", seed="3")
    assert started == printed(tmp_path, "-c", "import shop", seed="4")
    assert started == printed(tmp_path, "-c", MAIN, seed="5")  # as a notebook: with no file


@pytest.mark.slow
@pytest.mark.parametrize("change", [("n + len(STEPS)", "n - len(STEPS)"), ("n + 2", "n + 3")])
def test_program_beside_its_helpers_notices_their_change(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    write(tmp_path, shop=MAIN, late_prices=PRICES)
    before = printed(tmp_path, "shop.py")

    write(tmp_path, late_prices=PRICES.replace(*change))

    assert printed(tmp_path, "shop.py") != before


def test_package_of_an_event_is_near_too(folder: Path) -> None:
    events = """
from backstory import Event
class Gone(Event, type="near:gone"):
    pass
def named(n): return n + 1
"""
    model = """
from near_events import Gone, named
from far_away import far
from backstory import Projection, on
class Seen(Projection):
    total: int = 0
    @on(Gone)
    def _gone(self, event):
        self.total = named(far(self.total))
"""
    (folder / "near_model").mkdir()
    write(folder / "near_model", __init__=model)
    write(folder, near_events=events, far_away="def far(n): return n")
    module: Any = __import__("near_model")
    before = fingerprint_of(module.Seen)

    module.far.__code__ = compiled("lambda n: -n")
    assert fingerprint_of(module.Seen) == before  # which is what `revision=` is for

    module.named.__code__ = compiled("lambda n: n + 2")
    assert fingerprint_of(module.Seen) != before


@pytest.mark.parametrize(
    "value",
    [
        "open",
        "object()",
        "logging.getLogger('x')",
        "threading.Lock()",
        "iter([])",
        "type('Proxy', (), {'__class__': property(lambda self: 1 / 0)})()",
        "weakref.WeakValueDictionary()",
        "functools.singledispatch(lambda n: n)",
        "[]; ODD.append(ODD)",
        "{}; ODD['self'] = ODD",
        "types.SimpleNamespace(n=1)",
        "collections.namedtuple('Pair', 'a b')(1, 2)",
        "enum.IntFlag('F', 'A B')(3)",
        "type('Words', (str,), {})('a')",
        "operator.attrgetter('x')",
        "[].append",
        "str.upper",
        "typing.NewType('Id', str)",
        "list[int]",
    ],
)
def test_any_constant_has_a_fingerprint_that_stays(value: str) -> None:
    head = "import collections, enum, functools, logging\nimport operator, threading\n"
    head += "import types, typing, weakref\n"
    program = PROGRAM % "odd" + f"{head}ODD = {value}\n"
    program = program.replace("row = Row()", "row = Row(); ODD")

    once = fingerprint_of(run(program, name="shop_odd")["Tree"])

    assert once == fingerprint_of(run(program, name="shop_odd")["Tree"])
    assert once != fingerprint("odd")


TYPES = """
import dataclasses
import typing
from typing import Annotated, Literal, NamedTuple, NewType, TypedDict
import msgspec
from backstory import Aggregate
@dataclasses.dataclass
class Data:
    n: int = 1
    words: list[str] = dataclasses.field(default_factory=lambda: ["a"])
class Typed(TypedDict):
    n: int
class Named(NamedTuple):
    n: int = 1
Id = NewType("Id", str)
class Kinds(Aggregate, category="kinds"):
    data: list[Data] = []
    typed: dict[str, Typed] = {}
    named: Named | None = None
    ids: tuple[Id, ...] = ()
    word: Literal["a", "b"] = "a"
    short: Annotated[str, msgspec.Meta(max_length=3)] = ""
    later: "list[Data]" = []
"""


@pytest.mark.parametrize(
    "change",
    [
        ("n: int = 1\n    words", "n: int = 2\n    words"),
        ('["a"])', '["b"])'),
        ("(TypedDict):\n    n: int", "(TypedDict):\n    n: float"),
        ("(NamedTuple):\n    n: int = 1", "(NamedTuple):\n    n: int = 2"),
        ('NewType("Id", str)', 'NewType("Id", int)'),
        ('Literal["a", "b"]', 'Literal["a", "c"]'),
        ("max_length=3", "max_length=4"),
        ('"list[Data]"', '"list[Named]"'),
    ],
)
def test_change_of_a_type_of_the_state_changes_it(change: tuple[str, str]) -> None:
    assert types(change) != types()


def types(*changes: tuple[str, str]) -> str:
    return fingerprint_of(run(TYPES, *changes)["Kinds"])
