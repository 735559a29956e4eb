"""Fingerprints: what saved states must agree with to be used again.

A snapshot or a checkpoint is the result of folding events with certain code. When the code is
changed, what was saved is the result of other code, and must not be used. So each carries a
fingerprint of its class, which is compared before anything is decoded. It covers

- the state: its fields with their types and defaults, through structs, enums and other classes;
- the events that are handled, likewise, with their schema versions and upcasters, and which method
  handles which;
- what the handlers do, and all that they reach: functions, methods, properties, classes, constants;
- `revision`, for what cannot be seen.

How far it looks. Code is near when it lies in the package of the class or of one of its events; for
a program that is no package, as a script or a notebook is, when it is not installed. What is near
is looked into, and of the rest only the name is taken. Where it errs, it errs by looking too far,
which costs a fold of events that was not needed.

How it finds what is called. `self.rows[0].grow()` does not say whose `grow` that is. So each class
that was reached is asked for each attribute that was named anywhere, until nothing new turns up;
special methods count always, because operators call them. Code that makes up names at run time, as
`getattr(self, f"_{word}")` does, might mean every name, and then every member counts.

Values stand for themselves, functions and classes for the number in which they were met. So no
address, no order of a set and no name of a module is in it, and it is the same in every process
that runs the same version of Python.

What was looked at can be exchanged while the program runs: a notebook cell runs again, a module is
reloaded. A fingerprint remembers where it looked, and can tell whether the same still stands there.
"""

import builtins
import dataclasses
import hashlib
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from functools import (
    cached_property,
    lru_cache,
    partial,
    partialmethod,
    singledispatchmethod,
)
from importlib import import_module
from importlib.util import resolve_name
from operator import attrgetter, itemgetter, methodcaller
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    UnionType,
)
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from backstory._events import Event, event_class, names_of
from backstory._instructions import LateImport, instructions_of

_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes, type(...))

_VALUE_MODULES: Final = frozenset({"datetime", "decimal", "fractions", "uuid"})
_VALUES: Final = (range, slice, bytearray, attrgetter, itemgetter, methodcaller)
"""Whose `repr` says all there is to a value: types of these modules, and these."""

_WRAPPERS: Final = (
    *(property, staticmethod, classmethod, MethodType),
    *(partial, partialmethod, cached_property, singledispatchmethod),
    type(lru_cache(lambda: None)),
)
_WRAPPED: Final = (
    *("fget", "fset", "fdel", "__func__", "__self__", "__wrapped__"),
    *("func", "args", "keywords", "dispatcher"),
)
"""Under what attributes wrappers keep what they wrap."""

_NAME_MAKERS: Final = frozenset(
    map(id, (getattr, setattr, vars, globals, eval, exec, attrgetter, methodcaller))
)
"""What makes an attribute of a text, which may have been made up at run time; by identity."""

_CONFIG: Final = (
    *("array_like", "eq", "forbid_unknown_fields", "frozen", "omit_defaults", "order"),
    *("tag", "tag_field"),
)
"""What the configuration of a struct class says of how its values are written and compared."""

_OUTSIDE: Final = sys.stdlib_module_names | {__name__.partition(".")[0], "msgspec"}
"""The packages that nothing of a program lies in."""

_NOTHING: Final = object()

Look = tuple[Callable[..., object], tuple[Any, ...], object]
"""A way to look at something, and what was found there."""


class Fingerprint:
    """The fingerprint of a class, and where was looked for it."""

    def __init__(self, cls: type[Any]) -> None:
        walk = _Walk(cls)
        whole = repr(walk.whole())
        self.text = hashlib.sha256(whole.encode()).hexdigest()[:32]
        """What is compared."""
        self._looks: tuple[Look, ...] = tuple(walk.looks)

    def is_current(self) -> bool:
        """Tell whether the same functions, classes and constants still stand where they stood.

        What has been changed inside a list or another mutable constant is not seen.
        """
        return all(look(*where) is found for look, where, found in self._looks)


def fingerprint_of(cls: type[Any]) -> str:
    """Return the fingerprint of an aggregate's or a projection's class."""
    return Fingerprint(cls).text


class _Walk:
    """Goes from a class to everything that the result of its handlers depends on."""

    def __init__(self, cls: type[Any]) -> None:
        self._class = cls
        self._near = _Near(cls)
        self._numbers: dict[int, int] = {}
        self._met: list[object] = []  # held, so that no other object gets its id
        self._parts: dict[int, object] = {}
        self._classes: list[type[Any]] = []
        self._members: dict[tuple[int, str], object] = {}
        self._names: set[str] = set()
        self._means_every_name = False
        self.looks: list[Look] = []

    def whole(self) -> object:
        """Return all that was found, in an order that depends on nothing else."""
        cls = self._class
        events = [(name, *self._event(name, method)) for name, method in _methods_of(cls)]
        root = self.describe(cls)
        self._look_at_members()
        return (cls.revision, root, events, self._parts, self._members)

    def _event(self, name: str, method: object) -> tuple[object, ...]:
        cls: Any = event_class(name)
        self.looks.append((event_class, (name,), cls))
        if cls is None:
            return (self.describe(method),)
        upcasters = dict(getattr(cls, "event_upcasters", {}))
        return (
            cls.schema_version,
            self.describe(cls),
            [(version, self.describe(upcasters[version])) for version in sorted(upcasters)],
            self.describe(method),
        )

    def describe(self, value: object) -> object:
        """Return what is the same for a value in every process, where its repr may not be."""
        if type(value) in (attrgetter, methodcaller) or id(value) in _NAME_MAKERS:
            self._means_every_name = True
        # By its type and not by isinstance: a proxy may refuse to say its class.
        cls = type(value)
        for kind, describe in self._KINDS:
            if issubclass(cls, kind):
                return describe(self, value)
        if cls.__module__ in _VALUE_MODULES or cls in _VALUES:
            return (cls.__name__, repr(value))
        if issubclass(cls, Struct) or dataclasses.is_dataclass(cls) or self._near.has(cls):
            return self._once(value, self._object)
        return ("outside", _name_of(cls), _own_name(value))

    def _once(self, value: object, describe: Callable[[Any], object]) -> object:
        """Describe something under a number, which stands for it wherever it is met again."""
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._met)
            self._met.append(value)
            self._parts[number] = describe(value)
        return ("number", number)

    # Values

    def _plain(self, value: object) -> object:
        return (type(value).__name__, repr(value)) if type(value) in _PLAIN else self._other(value)

    def _other(self, value: object) -> object:
        """Describe a value of a class that somebody derived from a plain one."""
        base: Any = next(kind for kind in _PLAIN if isinstance(value, kind))
        return (self.describe(type(value)), base.__repr__(value))

    def _member(self, value: Enum) -> object:
        return (self.describe(type(value)), value.name)

    def _sequence(self, value: Iterable[object]) -> object:
        return (self._type(value), [self.describe(item) for item in value])

    def _mutable(self, value: object) -> object:
        return self._once(value, self._sequence)

    def _set(self, value: Iterable[object]) -> object:
        items = sorted(value, key=lambda item: (_name_of(type(item)), _name_of(item), repr(item)))
        described = [self.describe(item) for item in items]
        return (self._type(value), sorted(map(repr, described)))

    def _mapping(self, value: Mapping[object, object]) -> object:
        def items(mapping: Mapping[object, object]) -> object:
            return [(self.describe(key), self.describe(item)) for key, item in mapping.items()]

        return (self._type(value), self._once(value, items))

    def _type(self, value: object) -> object:
        return self.describe(type(value))

    def _pattern(self, value: re.Pattern[Any]) -> object:
        return ("pattern", repr(value.pattern), value.flags)

    def _object(self, value: object) -> object:
        """Describe what an object holds; its class says what it does."""
        names = getattr(value, "__struct_fields__", None) or [
            *getattr(value, "__dict__", ()),
            *(name for cls in type(value).__mro__ for name in _slots(cls)),
        ]
        held = [(name, self.describe(getattr(value, name, None))) for name in names]
        return (self.describe(type(value)), held)

    def _wrapper(self, value: object) -> object:
        return self._once(value, self._wrapped)

    def _wrapped(self, value: object) -> object:
        held = [(name, getattr(value, name, _NOTHING)) for name in _WRAPPED]
        return (
            type(value).__name__,
            [(name, self.describe(item)) for name, item in held if item is not _NOTHING],
        )

    def _builtin(self, value: Any) -> object:
        owner = value.__self__
        is_method = owner is not None and not isinstance(owner, type | ModuleType)
        return ("outside", _name_of(value), self.describe(owner) if is_method else None)

    def _module(self, value: ModuleType) -> object:
        return ("module", value.__name__)

    def _annotation(self, value: Any) -> object:
        """Describe a type expression; whether a union was written with | makes no difference."""
        origin, arguments = typing.get_origin(value), typing.get_args(value)
        if origin is typing.Literal:
            return ("literal", [self.describe(argument) for argument in arguments])
        if origin in (typing.Union, UnionType):
            return ("union", sorted(repr(self._annotation(argument)) for argument in arguments))
        if origin is not None:
            head = origin if isinstance(origin, type) else str(origin)
            return (self.describe(head), [self._annotation(argument) for argument in arguments])
        if isinstance(value, list):  # the parameters of a Callable
            return [self._annotation(item) for item in cast("list[object]", value)]
        if isinstance(value, type):
            return self.describe(value)
        named = getattr(value, "__supertype__", getattr(value, "__value__", _NOTHING))
        return str(value) if named is _NOTHING else self._annotation(named)

    # Classes

    def _type_of_values(self, cls: type[Any]) -> object:
        if cls.__module__ == "builtins":
            return cls.__name__
        is_shape = issubclass(cls, Struct | Enum) or dataclasses.is_dataclass(cls)
        if self._near.has(cls):
            return self._once(cls, self._near_class)
        if is_shape and _top(cls.__module__) not in _OUTSIDE:
            return self._once(cls, self._shape)
        return ("outside", _name_of(cls))

    def _near_class(self, cls: type[Any]) -> object:
        self._classes.append(cls)
        bases = [self.describe(base) for base in cls.__bases__]
        return (cls.__qualname__, bases, self._shape(cls))

    def _shape(self, cls: type[Any]) -> object:
        """Describe what values of a class hold, and how they are written."""
        if issubclass(cls, Enum):
            members = cast("Mapping[str, Enum]", cls.__members__)
            return [(name, self.describe(member.value)) for name, member in members.items()]
        if issubclass(cls, Struct):
            fields = msgspec.structs.fields(cls)
            config = [(name, getattr(cls.__struct_config__, name)) for name in _CONFIG]
            return (config, [self._field(field) for field in fields])
        hints = self._hints(cls)
        if dataclasses.is_dataclass(cls):
            return [
                (field.name, hints.get(field.name), self._defaults(field))
                for field in dataclasses.fields(cls)
            ]
        return (sorted(hints.items()), self.describe(getattr(cls, "_field_defaults", None)))

    def _field(self, field: msgspec.structs.FieldInfo) -> object:
        kind = self._annotation(field.type)
        return (field.name, field.encode_name, kind, self._defaults(field))

    def _defaults(self, field: Any) -> object:
        return (self.describe(field.default), self.describe(field.default_factory))

    def _hints(self, cls: type[Any]) -> dict[str, object]:
        try:
            hints = typing.get_type_hints(cls, include_extras=True)
        except Exception:  # noqa: BLE001 - a hint is any expression, and may raise anything
            hints = vars(cls).get("__annotations__", {})
        return {name: self._annotation(hint) for name, hint in hints.items()}

    def _look_at_members(self) -> None:
        """Ask each class for each name, until neither grows."""
        while wanted := list(self._wanted_members()):
            for number, name in wanted:
                members = vars(self._classes[number])
                self.looks.append((members.get, (name, _NOTHING), members[name]))
                self._members[number, name] = self.describe(members[name])

    def _wanted_members(self) -> Iterator[tuple[int, str]]:
        for number, cls in enumerate(self._classes):
            for name, member in sorted(vars(cls).items(), key=lambda item: item[0]):
                if (number, name) not in self._members and self._counts(name, member):
                    yield number, name

    def _counts(self, name: str, member: object) -> bool:
        if name.startswith("__") and name.endswith("__"):
            is_called = isinstance(member, (FunctionType, *_WRAPPERS))
            return is_called and not name.startswith("__annotate")
        return name in self._names or self._means_every_name

    # Functions

    def _function(self, function: FunctionType) -> object:
        return self._once(function, self._near_function if self._near.has(function) else self._far)

    def _far(self, function: FunctionType) -> object:
        # What it does is another package's, but it may do it with what is ours, as a decorator.
        return ("outside", _name_of(function), self._carried(function))

    def _near_function(self, function: FunctionType) -> object:
        read = instructions_of(function.__code__)
        self.looks.append((getattr, (function, "__code__"), function.__code__))
        self._names |= read.attributes
        self._means_every_name |= "__dict__" in read.attributes
        return (
            read.shape,
            self._carried(function),
            [
                (name, self._global(function.__globals__, name, read.attributes))
                for name in sorted(read.globals)
            ],
            [self._late_import(late, function.__globals__) for late in read.imports],
        )

    def _carried(self, function: FunctionType) -> object:
        """Describe what a function has with it: defaults, what it closes over, what it wraps."""
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        return (
            self.describe(function.__defaults__),
            self.describe(function.__kwdefaults__),
            [(name, self._cell(cell)) for name, cell in cells],
            self.describe(getattr(function, "__wrapped__", None)),
        )

    def _cell(self, cell: Any) -> object:
        try:
            return self.describe(cell.cell_contents)
        except ValueError:  # nothing was assigned yet
            return "empty"

    def _global(self, scope: dict[str, Any], name: str, attributes: frozenset[str]) -> object:
        found = scope.get(name, _NOTHING)
        self.looks.append((scope.get, (name, _NOTHING), found))
        if found is _NOTHING:
            return self.describe(getattr(builtins, name, None))
        return self._named(found, attributes)

    def _named(self, value: object, attributes: Iterable[str]) -> object:
        """Describe a value and, where it is a near module, what is named of it."""
        described = self.describe(value)
        # As in `describe`: not by isinstance.
        if not issubclass(type(value), ModuleType) or not self._near.has_module(
            str(vars(value)["__name__"])
        ):
            return described
        scope = vars(value)
        names = sorted(set(attributes) & scope.keys())
        self.looks.extend((scope.get, (name, _NOTHING), scope[name]) for name in names)
        # A module inside it is named with what remains, so that two that name each other end.
        rest = set(attributes) - set(names)
        return (described, [(name, self._named(scope[name], rest)) for name in names])

    def _late_import(self, late: LateImport, scope: Mapping[str, Any]) -> object:
        """Describe what a function imports when it runs; it is imported now, if it is near."""
        module = late.module
        try:
            if late.level:
                module = resolve_name("." * late.level + module, str(scope["__package__"]))
            if not self._near.has_module(module):
                return module
            imported = import_module(module)
            for name in late.names:
                if not hasattr(imported, name):
                    import_module(f"{module}.{name}")
        except Exception:  # noqa: BLE001 - an import runs a module, which may raise anything
            return "missing"
        # `import shop.prices` names `shop`, and what is used of it stands among the attributes.
        return (module, self._named(imported, late.names or self._names))

    _KINDS: Final[tuple[tuple[Any, Callable[[Any, Any], object]], ...]] = (
        (Enum, _member),
        (_PLAIN, _plain),
        (type, _type_of_values),
        (FunctionType, _function),
        (_WRAPPERS, _wrapper),
        (BuiltinFunctionType, _builtin),
        (ModuleType, _module),
        (tuple, _sequence),
        (list, _mutable),
        ((set, frozenset), _set),
        ((dict, MappingProxyType), _mapping),
        (re.Pattern, _pattern),
    )


class _Near:
    """Tells what is looked into."""

    def __init__(self, cls: type[Any]) -> None:
        own = {_top(base.__module__) for base in cls.__mro__}
        for name, _ in _methods_of(cls):
            own |= {_top(base.__module__) for base in (event_class(name) or Event).__mro__}
        top = _top(cls.__module__)
        if top == "__main__":
            # `python -m shop` runs a module of the package under another name.
            own.add(_top(str(getattr(sys.modules.get(top), "__package__", None) or "")))
        self._packages = own - _OUTSIDE - {""} | {top}
        self._is_program = not hasattr(sys.modules.get(top), "__path__")

    def has(self, value: type[Any] | FunctionType) -> bool:
        """Tell whether a class or a function is near."""
        return self.has_module(str(value.__module__))

    def has_module(self, module: str) -> bool:
        """Tell whether a module is near."""
        top = _top(module)
        if top in self._packages:
            return True
        if not self._is_program or top in _OUTSIDE:
            return False
        file = str(getattr(sys.modules.get(module), "__file__", None) or "site-packages")
        return not re.search(r"[/\\](site|dist)-packages[/\\]|^site-packages$", file)


def _methods_of(cls: type[Any]) -> list[tuple[str, object]]:
    """Return the stored types that a class handles, sorted, each with its method."""
    methods: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        for member in vars(base).values():
            for event in getattr(member, "on_types", ()):
                methods |= dict.fromkeys(names_of(event), member)
    return sorted(methods.items(), key=lambda item: item[0])


def _slots(cls: type[Any]) -> Iterable[str]:
    slots: Any = vars(cls).get("__slots__", ())
    return [slots] if isinstance(slots, str) else slots


def _name_of(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _own_name(value: object) -> str:
    """Return the name of what has one, such as a method of a built-in type; else nothing."""
    try:
        return str(getattr(value, "__qualname__", getattr(value, "__name__", "")))
    except Exception:  # noqa: BLE001 - a proxy of nothing may raise anything
        return ""


def _top(module: str) -> str:
    return module.partition(".")[0]
