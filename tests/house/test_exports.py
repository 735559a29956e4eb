"""The public doors are complete and described, and nothing we show goes round them."""

import ast
import inspect
import pickle
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin
from uuid import UUID

import pytest

PACKAGES = ("backstory", "backstory_aggregates", "backstory_projections")
DOOR = re.compile(
    r"framework/backstory/((actors/|operations/|testing/)?__init__|(stores|testing)/[a-z]\w*(/__init__)?)\.py"
    r"|aggregates/backstory_aggregates/([a-z]\w*/)?__init__\.py"
    r"|projections/backstory_projections/__init__\.py"
)

BESIDE_ALL = {"open"}
"""Public, and left out of `__all__`: a star import must not hide one of Python's own names."""


@pytest.fixture(scope="module")
def doors(modules: dict[str, ast.Module]) -> dict[str, ast.Module]:
    """Return the modules whose `__all__` is the public interface, by dotted names."""
    return {
        file.partition("/")[2].removesuffix(".py").removesuffix("/__init__").replace("/", "."): tree
        for file, tree in modules.items()
        if DOOR.fullmatch(file)
    }


@pytest.fixture(scope="module")
def opened(doors: dict[str, ast.Module]) -> dict[str, ModuleType]:
    """Return the same doors, imported."""
    assert "backstory" in doors
    return {door: import_module(door) for door in doors}


def test_all_names_every_public_name_once(
    doors: dict[str, ast.Module], opened: dict[str, ModuleType]
) -> None:
    problems: list[str] = []

    for door, tree in doors.items():
        promised: list[str] = list(getattr(opened[door], "__all__", ()))
        is_face = hasattr(opened[door], "__path__")
        bound = {name for name in bound_names(tree, is_face=is_face) if not name.startswith("_")}
        problems += [
            f"{door}.{name} is not in __all__" for name in bound - {*promised, *BESIDE_ALL}
        ]
        problems += [
            f"{door}.{name} does not exist" for name in set(promised) - set(dir(opened[door]))
        ]
        problems += [
            f"{door}.{name} is named twice" for name in promised if promised.count(name) > 1
        ]

    assert not problems


def bound_names(tree: ast.Module, *, is_face: bool) -> Iterator[str]:
    """Yield what a module defines, and, where it is a face, also what it passes on."""
    for statement in statements(tree):
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases) if is_face:
                yield from (alias.asname or alias.name for alias in aliases)
            case _:
                pass


def statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements of a module; a `try` stands for what it tries."""
    for statement in tree.body:
        yield from statement.body if isinstance(statement, ast.Try) else [statement]


def test_faces_hold_no_logic(doors: dict[str, ast.Module], opened: dict[str, ModuleType]) -> None:
    logic = [
        f"{door}:{statement.lineno}"
        for door, tree in doors.items()
        if hasattr(opened[door], "__path__")
        for statement in statements(tree)
        if not only_passes_on(statement)
    ]

    assert not logic, "a face has a docstring, imports, __all__ and constants"


def only_passes_on(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom():
            return True
        case (
            ast.Expr(value=value)
            | ast.Assign(value=value)
            | ast.AnnAssign(value=ast.expr() as value)
        ):
            return not any(isinstance(node, ast.Call) for node in ast.walk(value))
        case _:
            return False


def test_every_public_name_has_a_docstring(
    modules: dict[str, ast.Module], opened: dict[str, ModuleType]
) -> None:
    constants = {name for tree in modules.values() for name in described_constants(tree)}

    silent = [
        f"{door}.{name}"
        for door, module in opened.items()
        for name in getattr(module, "__all__", ())
        if not (described(getattr(module, name)) or name in constants)
    ]

    assert not silent


def described(value: object) -> bool:
    return (isinstance(value, type) or inspect.isroutine(value)) and bool(value.__doc__)


def described_constants(tree: ast.Module) -> Iterator[str]:
    """Yield the names that are assigned and then described by a string on the next line."""
    for statement, following in pairwise(tree.body):
        match statement, following:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str())),
            ):
                yield name
            case _:
                pass


def test_every_error_leaves_through_a_door(opened: dict[str, ModuleType]) -> None:
    public = {getattr(module, name) for module in opened.values() for name in module.__all__}

    hidden = {error for error in errors(opened) if not error.__name__.startswith("_")} - public

    assert not hidden, "an error that cannot be imported cannot be caught"


def test_errors_pickle_with_what_they_say(opened: dict[str, ModuleType]) -> None:
    changed: list[str] = []

    for cls in errors(opened):
        error = make(cls)
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        if said(copy) != said(error):
            changed.append(f"{said(error)} came back as {said(copy)}")

    assert not changed


def errors(opened: dict[str, ModuleType]) -> list[type[Exception]]:
    """Return every error of the three packages."""
    found: list[type[Exception]] = [opened["backstory"].BackstoryError]
    for error in found:  # which grows while it is walked
        found += error.__subclasses__()
    return [error for error in dict.fromkeys(found) if error.__module__.startswith(PACKAGES)]


def said(error: Exception) -> tuple[object, ...]:
    return type(error), str(error), {name: repr(value) for name, value in vars(error).items()}


SAMPLES: dict[type, object] = {
    bool: True,
    bytes: b"seven",
    datetime: datetime(2026, 1, 7, tzinfo=UTC),
    float: 0.5,
    int: 7,
    Path: Path("story.db"),
    str: "task-7",
    UUID: UUID(int=7),
}


def make(cls: type[Exception]) -> Exception:
    """Make an error from the annotations of its parameters."""
    positional: list[object] = []
    by_keyword: dict[str, object] = {}
    _, *parameters = inspect.signature(cls.__init__, eval_str=True).parameters.values()
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            positional.append(sample(parameter.annotation))
        elif parameter.kind is not parameter.VAR_KEYWORD:
            by_keyword[parameter.name] = sample(parameter.annotation)
    return cls(*positional, **by_keyword)


def sample(annotation: Any) -> object:
    """Return a value that fits an annotation."""
    arguments = get_args(annotation)
    match get_origin(annotation):
        case origin if origin in (Union, UnionType):
            return sample(arguments[0])
        case origin if origin is Literal:
            return arguments[0]
        case type():  # a collection of something
            return (sample(arguments[0]),)
        case _:
            return sample_of_class(annotation)


def sample_of_class(annotation: Any) -> object:
    match annotation:
        case NewType():
            return sample(annotation.__supertype__)
        case type() if annotation in SAMPLES:
            return SAMPLES[annotation]
        case type() if issubclass(annotation, Enum):
            return next(iter(annotation))
        case _:
            return "anything"


def test_examples_and_docs_import_only_public_names(
    texts: dict[str, str], opened: dict[str, ModuleType]
) -> None:
    beside: list[str] = []

    for place, program in programs(texts):
        for module, name in imported_names(place, program):
            public: tuple[str, ...] = getattr(opened.get(module), "__all__", ())
            is_door = name is None and module in opened
            if not (is_door or name in public or f"{module}.{name}" in opened):
                beside.append(f"{place}: {module}{'.' * bool(name)}{name or ''}")

    assert not beside, "import from a public door, or let the door export the name"


def programs(texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the examples, and the Python blocks of README and docs."""
    for file, text in texts.items():
        if file.startswith("examples/") and file.endswith(".py"):
            yield file, text
        elif file == "README.md" or (file.startswith("docs/") and file.endswith(".md")):
            for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
                yield file, block


def imported_names(place: str, program: str) -> Iterator[tuple[str, str | None]]:
    """Yield what a program imports from the three packages."""
    # Blocks in the docs may await at the top, as in a notebook.
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    for node in ast.walk(compile(program, place, "exec", flags=flags)):
        match node:
            case ast.Import(names=aliases):
                yield from ((alias.name, None) for alias in aliases if is_ours(alias.name))
            case ast.ImportFrom(module=str(module), names=aliases) if is_ours(module):
                yield from ((module, alias.name) for alias in aliases)
            case _:
                pass


def is_ours(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] in PACKAGES
