"""The audit of one file: pure work on its text, with no store and no agent in sight.

Two things come out of it. Findings are what somebody may want to mend. The interface says which
names the file offers, and which of them are described: that is what the audits of the files that
import it want to know, and why they wait for it.
"""

import ast
import io
import re
import symtable
import tokenize
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import decode_source
from typing import Final

from msgspec import Struct

Interface = Mapping[str, bool]
"""The names that a file offers, each with whether it is described."""

AUDITED: Final = "<audited>"
"""What an audited file is called in the parser's warnings, which are none of this program's."""
ANY_NAME: Final = "*"
"""In an interface: names that only running the file would tell."""
FUNCTION_LINES_MAX: Final = 40
"""Longer functions are worth another look."""

_NOTE = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")  # spelt so that it does not find itself
_NAME_MAKERS: Final = frozenset({"__getattr__", "exec", "globals"})
_UNDESCRIBED_DECORATORS: Final = frozenset({"deleter", "overload", "override", "setter"})
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class UnreadableError(Exception):
    """A file is no Python that this interpreter can parse."""


class Finding(Struct, frozen=True):
    """Something that somebody may want to mend."""

    rule: str
    line: int
    subject: str


class Import(Struct, frozen=True):
    """One name, or one whole module, that a file imports."""

    line: int
    module: str
    """As it is written, with its leading dots."""
    name: str | None
    """None for the module itself."""

    @property
    def whole(self) -> str:
        """The module's name with the imported name behind it, which may be a module too."""
        separator = "" if self.module.endswith(".") else "."
        return self.module if self.name is None else f"{self.module}{separator}{self.name}"


class Audit(Struct, frozen=True):
    """What there is to say of one file."""

    findings: list[Finding]
    interface: dict[str, bool]
    measures: dict[str, int]


def parse(source: bytes) -> ast.Module:
    """Return the syntax tree of a file.

    Raises:
        UnreadableError: It has none.
    """
    with _readable():
        return ast.parse(source, AUDITED)


@contextmanager
def _readable() -> Generator[None]:
    try:
        yield
    except SyntaxError as error:
        raise UnreadableError(f"line {error.lineno or 1}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # NUL bytes; too deep for the parser
        raise UnreadableError(str(error) or type(error).__name__) from error


def audit(
    source: bytes, links: Mapping[str, str], interfaces: Mapping[str, Interface | None]
) -> Audit:
    """Audit a file.

    Args:
        source: What stands in it.
        links: The files behind the modules that it imports.
        interfaces: What is known of these files; None where one could not be audited.

    Raises:
        UnreadableError: It cannot be parsed.
    """
    tree = parse(source)
    offered = {module: interfaces.get(path) for module, path in links.items()}
    findings = [*_style(tree), *_notes(source), *_unmet_imports(tree, links, offered)]
    return Audit(_merged(findings), _interface(tree, source, offered), _measures(tree, source))


def imports(tree: ast.Module) -> Iterator[Import]:
    """Yield what a file imports, wherever in the file that is."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names, lineno=line):
                yield from (Import(line, alias.name, None) for alias in names)
            case ast.ImportFrom(names=names, level=level, module=module):
                source = "." * level + (module or "")
                yield from (Import(alias.lineno, source, alias.name) for alias in names)
            case _:
                pass


def _style(tree: ast.Module) -> Iterator[Finding]:
    if tree.body and ast.get_docstring(tree) is None:
        yield Finding("missing-docstring", 1, "the module")
    for name, definition in _public(tree):
        if not _is_described(definition):
            yield Finding("missing-docstring", definition.lineno, name)
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _about_function(node)
            case ast.ExceptHandler(type=None, lineno=line):
                yield Finding("bare-except", line, "except:")
            case ast.ExceptHandler(type=ast.Name(id="Exception" | "BaseException" as caught)):
                yield Finding("broad-except", node.lineno, f"except {caught}:")
            case _:
                pass


def _about_function(node: _Function) -> Iterator[Finding]:
    if (lines := _lines(node)) > FUNCTION_LINES_MAX:
        yield Finding("long-function", node.lineno, f"{node.name} ({lines} lines)")
    for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
        if isinstance(default, ast.List | ast.Dict | ast.Set):
            yield Finding("mutable-default", default.lineno, f"{node.name}({ast.unparse(default)})")


def _public(scope: ast.AST, prefix: str = "") -> Iterator[tuple[str, _Definition]]:
    """Yield what a module defines for others, with what its classes define for them."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, _Definition):
            if not node.name.startswith(("_", "test_")):  # a test's name is its docstring
                yield prefix + node.name, node
                if isinstance(node, ast.ClassDef):
                    yield from _public(node, f"{node.name}.")
        elif isinstance(node, ast.stmt | ast.ExceptHandler):
            yield from _public(node, prefix)


def _is_described(node: _Definition) -> bool:
    decorators = {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
    return bool(decorators & _UNDESCRIBED_DECORATORS) or ast.get_docstring(node) is not None


def _notes(source: bytes) -> Iterator[Finding]:
    try:
        for token in tokenize.tokenize(io.BytesIO(source).readline):
            if token.type == tokenize.COMMENT and (note := _NOTE.search(token.string)):
                yield Finding("note-to-self", token.start[0], note[0])
    except (tokenize.TokenError, SyntaxError):
        return  # The parser is more patient than the tokenizer; what was found stays found.


def _unmet_imports(
    tree: ast.Module, links: Mapping[str, str], offered: Mapping[str, Interface | None]
) -> Iterator[Finding]:
    for each in imports(tree):
        if each.name in (None, ANY_NAME) or each.whole in links or each.module not in links:
            continue
        interface, subject = offered[each.module], f"{each.name} of {links[each.module]}"
        if interface is None:
            yield Finding("unchecked-import", each.line, subject)
        elif each.name in interface:
            if not interface[each.name]:
                yield Finding("undocumented-import", each.line, subject)
        elif ANY_NAME not in interface:
            yield Finding("unknown-import", each.line, subject)


def _interface(
    tree: ast.Module, source: bytes, offered: Mapping[str, Interface | None]
) -> dict[str, bool]:
    described = {name: _is_described(node) for name, node in _public(tree) if "." not in name}
    names: dict[str, bool] = {}
    for each in imports(tree):
        known = offered.get(each.module)
        if each.name == ANY_NAME:
            names |= {ANY_NAME: True} if known is None else known
        elif each.name is not None:  # what is passed on is as well described as at its origin
            names[each.name] = True if known is None else known.get(each.name, True)
    bound = dict.fromkeys(_bound(tree, source), True)
    passed_on = {name: is_it for name, is_it in names.items() if name in {*bound, ANY_NAME}}
    return bound | passed_on | described


def _bound(tree: ast.Module, source: bytes) -> list[str]:
    """Return the names that are bound at the top of a file; `*` when it makes some up."""
    with _readable():  # the second pass of the compiler finds what the parser lets through
        table = symtable.symtable(decode_source(source), AUDITED, "exec")
    names = [each.get_name() for each in table.get_symbols() if each.is_local()]
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = [function.id for function in calls if isinstance(function, ast.Name)]
    return [*names, ANY_NAME] if _NAME_MAKERS & {*names, *called} else names


def _measures(tree: ast.Module, source: bytes) -> dict[str, int]:
    functions = [_lines(node) for node in ast.walk(tree) if isinstance(node, _Function)]
    return {
        "lines": len(source.splitlines()),
        "functions": len(functions),
        "longest_function": max(functions, default=0),
        "imports": sum(1 for _ in imports(tree)),
    }


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _merged(findings: list[Finding]) -> list[Finding]:
    """Return one finding for each rule and line, in the order of lines."""
    subjects: dict[tuple[int, str], list[str]] = {}
    for each in findings:
        subjects.setdefault((each.line, each.rule), []).append(each.subject)
    return [
        Finding(rule, line, ", ".join(found)) for (line, rule), found in sorted(subjects.items())
    ]
