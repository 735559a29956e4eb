"""Shapes of code: equal where it does the same, whatever its source looks like."""

import textwrap
from types import CodeType

import pytest

from backstory._instructions import Instructions, LateImport, instructions_of


def read(body: str, head: str = "def f(a, b):") -> Instructions:
    """Return what a function does, given its body."""
    module = compile(f"{head}\n{textwrap.indent(body, '    ')}", "<test>", "exec")
    [function] = [constant for constant in module.co_consts if isinstance(constant, CodeType)]
    return instructions_of(function)


SAME = {
    "blank_lines": ("a += 1\nreturn a", "a += 1\n\n\n# why\nreturn a"),
    "lines_inside_brackets": ("return f(a, b)", "return f(\n    a,\n\n    b,\n)"),
    "local_names": ("x = a\ny = b\nreturn x, y", "one = a\ntwo = b\nreturn one, two"),
    "docstring": ("return a", '"""Do it."""\nreturn a'),
    "jump_over_lines": (
        "for x in a:\n    if x: b(x)\nreturn 1",
        "for x in (\n    a\n):\n    if x: b(\n        x\n    )\nreturn 1",
    ),
    "condition_on_a_line_of_its_own": (
        "return f(x for x in a if x not in b)",
        "return f(x for x in a\n         if x not in b)",
    ),
    "two_ends": (
        "if a: return 1\nelse: b()\nreturn None",
        "if a:\n    return 1\nelse:\n    b()\n\nreturn None",
    ),
    "order_of_a_set": ("return a in {1, 2, 'x'}", "return a in {'x', 2, 1}"),
    "annotation_of_a_local": ("x = a\nreturn x", "x: int = a\nreturn x"),
    "place_of_an_inner_class": (
        "class C:\n    n = 1\nreturn C",
        '# why\n\nclass C:\n    """A class."""\n\n    n = 1\nreturn C',
    ),
}


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME)
def test_other_looks_have_the_same_shape(pair: tuple[str, str]) -> None:
    one, other = pair

    assert read(one).shape == read(other).shape


OTHER = {
    "keyword": ("return a(x=b)", "return a(y=b)"),
    "locals_swapped": ("x = a\ny = b\nreturn x", "x = a\ny = b\nreturn y"),
    "what_a_try_watches": (
        "try:\n    a()\nexcept E:\n    pass\nelse:\n    b()",
        "try:\n    a()\n    b()\nexcept E:\n    pass",
    ),
    "branch": ("if a: b()", "if not a: b()"),
    "target_of_a_jump": (
        "for x in a:\n    if x: continue\n    b()",
        "for x in a:\n    if x: break\n    b()",
    ),
    "one_for_true": ("return 1", "return True"),
    "minus_zero": ("return 0.0", "return -0.0"),
    "member_of_a_set": ("return a in {1, 2}", "return a in {1, 3}"),
    "inner_function": ("return lambda: a", "return lambda: b"),
    "generator": ("return [x for x in a]", "return (x for x in a)"),
    "part_of_a_text": ("return f'{a}-{b!r}'", "return f'{a}-{b!s}'"),
    "order_of_effects": ("a()\nb()", "b()\na()"),
}


@pytest.mark.parametrize("pair", OTHER.values(), ids=OTHER)
def test_other_effects_have_another_shape(pair: tuple[str, str]) -> None:
    one, other = pair

    assert read(one).shape != read(other).shape


@pytest.mark.parametrize("head", ["def f(b, a):", "def f(a, *b):", "def f(a, *, b):", "def f(a):"])
def test_parameters_are_part_of_the_shape(head: str) -> None:
    assert read("return a", head).shape != read("return a").shape


def test_names_are_told_by_where_they_are_looked_up() -> None:
    found = read("x = LIMIT\nx.grow(by=a)\nreturn getattr(x, 'shown'), [y.inner(Z) for y in b]")

    assert found.globals == {"LIMIT", "getattr", "Z"}
    assert {"grow", "by", "shown", "inner"} <= found.attributes
    assert not {"LIMIT", "Z", "x"} & found.attributes


def test_imports_inside_are_told() -> None:
    found = read("import shop.prices\nfrom ..shop import one, two\nfrom . import three")

    assert found.imports == (
        LateImport("shop.prices", 0, ()),
        LateImport("shop", 2, ("one", "two")),
        LateImport("", 1, ("three",)),
    )


def test_endless_loop_has_a_shape() -> None:
    assert read("while True: pass").shape != read("return None").shape


def test_long_function_has_a_shape() -> None:
    # Beyond what one byte can say, jumps and constants are written in several.
    body = "\n".join(f"if a == {n}: b({n + 1000})" for n in range(500))

    assert read(body).shape == read(body.replace(": b", ":\n  b")).shape
    assert read(body).shape != read(body.replace("b(1499)", "b(1500)")).shape
