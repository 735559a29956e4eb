"""Fingerprints: what saved states must agree with to be used again.

A snapshot or a checkpoint is the result of folding events with certain code. When the code is
changed, what was saved is the result of other code, and must not be used. So each carries a
fingerprint of its class, which is compared before anything is decoded. It covers

- the fields: names, types (structs inside them too) and defaults;
- the events that are handled: their types, and their fields likewise;
- what the handlers do, with the functions, classes and constants of the same package that they
  name, and the methods that they call on `self`;
- `revision`, for what cannot be seen: a function of another package, a name that is made up at run
  time.

What a function does is taken from its code object, and not from its source, which may be newer than
what was loaded. Line numbers, comments, docstrings and layout are not in it. Another version of
Python may compile the same source to other instructions; then what was saved is folded again.
"""

import dis
import hashlib
from collections.abc import Iterable, Iterator
from enum import Enum
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from backstory._events import event_class

_SILENT: Final = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "RESUME"})
"""Instructions that do nothing; where they stand depends on the layout of the source."""

_CONSTANTS: Final = (int, float, str, bytes, tuple, frozenset, Enum)


def fingerprint_of(cls: type[Any]) -> str:
    """Return the fingerprint of an aggregate's or a projection's class."""
    seen: dict[str, Any] = {}
    for base in cls.__mro__:
        for member in vars(base).values():
            if hasattr(member, "on_types"):
                _look_at_function(member, cls, seen)
    events = [(name, _fields(event_class(name))) for name in sorted(cls.handlers)]
    whole = (cls.__qualname__, cls.revision, _fields(cls), events, sorted(seen.items()))
    return hashlib.sha256(repr(whole).encode()).hexdigest()[:32]


def _fields(cls: type[Any] | None) -> list[Any]:
    if cls is None:
        return []
    return [
        (
            field.name,
            _schema(field.type),
            _constant(field.default),
            _constant(field.default_factory),
        )
        for field in msgspec.structs.fields(cls)
    ]


def _schema(annotation: Any) -> str:
    # The schema goes into nested structs, so that a change two levels down is noticed too.
    try:
        return repr(msgspec.json.schema(annotation))
    except TypeError:
        return repr(annotation)


def _constant(value: object) -> object:
    """Return what is the same for a value in every process, where its repr may not be."""
    if isinstance(value, CodeType):
        return _instructions(value)
    if isinstance(value, set | frozenset):
        # In one order: that of a set changes with the hashes of the process.
        return ("set", sorted(repr(_constant(item)) for item in cast("set[object]", value)))
    if isinstance(value, tuple | list):
        items = list(cast("Iterable[object]", value))
        return ("items", [_constant(item) for item in items])
    if callable(value):
        # By its name: the repr of a function holds its address.
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    return (type(value).__name__, repr(value))


def _instructions(code: CodeType) -> list[Any]:
    """Return what a code object does, without where it stands."""
    kept = [step for step in dis.get_instructions(code) if step.opname not in _SILENT]
    place_of: dict[int, int] = {}
    place = 0
    for step in dis.get_instructions(code):
        place_of[step.offset] = place
        place += step.opname not in _SILENT
    steps = [(step.opname, _argument(step, place_of)) for step in kept]
    return [code.co_argcount, code.co_kwonlyargcount, code.co_flags, steps]


def _argument(step: dis.Instruction, place_of: dict[int, int]) -> object:
    if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
        return place_of.get(step.argval, step.argrepr)
    if step.opcode in dis.hasconst:
        return _constant(step.argval)
    return step.argval if isinstance(step.argval, str | int | None) else step.argrepr


def _look_at_function(function: FunctionType, owner: type | None, seen: dict[str, Any]) -> None:
    """Take note of a function, and of what it names in its own package."""
    key = f"{function.__module__}.{function.__qualname__}"
    if key in seen:
        return
    defaults = (_constant(function.__defaults__), sorted((function.__kwdefaults__ or {}).items()))
    seen[key] = (_instructions(function.__code__), repr(defaults))
    names = set(_names(function.__code__))
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    scope = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells}}
    for name in sorted(names & scope.keys()):
        _look_at(scope[name], key, name, names, seen)
    for name in sorted(names):
        # self.helper(): an attribute's name says nothing of whose it is, so the owner is asked.
        method = getattr(owner, name, None)
        if isinstance(method, FunctionType) and _is_near(method, key):
            _look_at_function(method, owner, seen)


def _look_at(value: Any, where: str, name: str, names: set[str], seen: dict[str, Any]) -> None:
    if isinstance(value, ModuleType):
        if value.__name__.split(".")[0] == where.split(".", maxsplit=1)[0]:
            for attribute in sorted(names & vars(value).keys()):
                _look_at(vars(value)[attribute], where, attribute, set(), seen)
    elif isinstance(value, FunctionType):
        if _is_near(value, where):
            _look_at_function(value, None, seen)
    elif isinstance(value, type):
        if _is_near(value, where):
            _look_at_class(value, seen)
    elif isinstance(value, _CONSTANTS):
        seen[f"{where}:{name}"] = _constant(cast("object", value))


def _look_at_class(cls: type[Any], seen: dict[str, Any]) -> None:
    key = f"{cls.__module__}.{cls.__qualname__}"
    if key in seen:
        return
    if issubclass(cls, Enum):
        seen[key] = [(member.name, repr(member.value)) for member in cls]
        return
    seen[key] = _fields(cls) if issubclass(cls, Struct) else []
    for member in vars(cls).values():
        function = member.fget if isinstance(member, property) else member
        if isinstance(function, FunctionType):
            _look_at_function(function, cls, seen)


def _is_near(value: Any, where: str) -> bool:
    return str(value.__module__).split(".")[0] == where.split(".", maxsplit=1)[0]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
