"""Small rules that keep the checkout easy to read. Each message says what to do."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

FUNCTION_LINES_MAX = 70
FILE_BYTES_MAX = 1_000_000

# Functions that are meant to be longer, each with the lines it may have and the reason.
LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}

EMPTY_NAMES = {"base", "common", "core", "helpers", "manager", "models", "types", "utils"}

# Each pattern is spelt so that it does not match itself.
UNWANTED = {
    "a task for later": re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b"),
    "a path of one machine": re.compile(r"/(w[o]rk|roo[t])/"),
    "a package registry": re.compile(r"index[-_]u[r]l|pyp[i]\.org|pythonh[o]sted\.|npmj[s]\."),
    "a second copy of a package": re.compile(
        r"^\s*(from|import) (framework|aggregates|projections)[. ]", re.MULTILINE
    ),
}

IGNORES = re.compile(r"type:\s*ignore|pyright:\s*ignore|noqa")
IGNORES_WITH_CODE = re.compile(
    r"(type|pyright): ignore\[[\w-]+(, ?[\w-]+)*\]|(ruff: )?noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*"
)


def test_no_function_has_grown_past_seventy_lines(texts: dict[str, str]) -> None:
    lengths = {
        f"{file}::{name}": length
        for file, text in texts.items()
        if file.endswith(".py")
        for name, length in function_lengths(ast.parse(text))
    }

    grown = {
        function: length
        for function, length in lengths.items()
        if length > LONG_FUNCTIONS.get(function, (FUNCTION_LINES_MAX, ""))[0]
    }
    outdated = [name for name in LONG_FUNCTIONS if lengths.get(name, 0) <= FUNCTION_LINES_MAX]

    assert not grown, "find the nouns and verbs inside it, or give a reason in LONG_FUNCTIONS"
    assert not outdated, "these are short now: take them out of LONG_FUNCTIONS"


def function_lengths(scope: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield the qualified name and the lines of each function, its docstring not counted."""
    for node in ast.iter_child_nodes(scope):
        name = prefix
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{prefix}{node.name}."
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = lines(node.body[0]) if ast.get_docstring(node) is not None else 0
            yield name.rstrip("."), lines(node) - docstring
        yield from function_lengths(node, name)


def lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_every_ignore_names_its_code_and_its_reason(texts: dict[str, str]) -> None:
    bare: list[str] = []

    for file, text in texts.items():
        if file.endswith(".py"):
            for token in tokenize.generate_tokens(io.StringIO(text).readline):
                if token.type == tokenize.COMMENT and IGNORES.search(token.string):
                    reason = IGNORES_WITH_CODE.sub("", token.string)
                    if IGNORES.search(reason) or not re.search(r"\w", reason):
                        bare.append(f"{file}:{token.start[0]}: {token.string}")

    assert not bare, "write `# noqa: X1 - why`, `# type: ignore[x]  # why`"


def test_module_names_say_what_is_inside(files: dict[str, Path]) -> None:
    empty = [
        file
        for file in map(PurePosixPath, files)
        if file.suffix == ".py"
        and EMPTY_NAMES & {part.strip("_") for part in file.with_suffix("").parts}
    ]

    assert not empty, "name the module after the noun that it defines"


def test_source_roots_are_no_packages(files: dict[str, Path]) -> None:
    roots = {f"{root}/__init__.py" for root in ("framework", "aggregates", "projections")}

    assert not roots & files.keys(), "a root that is a package makes a second copy of every class"


@pytest.mark.parametrize("what", UNWANTED)
def test_no_file_holds(texts: dict[str, str], what: str) -> None:
    found = [
        f"{file}:{text.count(chr(10), 0, match.start()) + 1}: {match[0].strip()}"
        for file, text in texts.items()
        for match in UNWANTED[what].finditer(text)
    ]

    assert not found


def test_every_document_has_one_title(texts: dict[str, str]) -> None:
    titles = {
        file: re.findall(r"^# .*", without_code(text), re.MULTILINE)
        for file, text in texts.items()
        if file.endswith(".md")
    }

    assert {file: found for file, found in titles.items() if len(found) != 1} == {}


def without_code(markdown: str) -> str:
    return re.sub(r"^(```+).*?^\1", "", markdown, flags=re.DOTALL | re.MULTILINE)


def test_readme_shows_the_first_example_byte_for_byte(texts: dict[str, str]) -> None:
    shown = re.search(r"^```python\n(.*?)^```", texts["README.md"], re.DOTALL | re.MULTILINE)

    assert shown is not None
    assert shown[1] == texts["examples/first_stream.py"]


def test_no_file_is_large(files: dict[str, Path]) -> None:
    sizes = {file: path.stat().st_size for file, path in files.items()}

    assert {file: size for file, size in sizes.items() if size > FILE_BYTES_MAX} == {}


LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def test_relative_links_lead_somewhere(files: dict[str, Path], texts: dict[str, str]) -> None:
    broken = [
        f"{name}: {link}"
        for name, text in texts.items()
        if name.endswith(".md")
        for link in LINK.findall(text)
        if not (files[name].parent / link).exists()
    ]

    assert not broken
