"""A door's public names, group by group, in the order and under the headings of its `__all__`."""

import ast
import inspect
import io
import tokenize
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from itertools import dropwhile, takewhile
from typing import Any


def groups(door: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each heading of a door's `__all__` with the names under it; the first may be empty."""
    heading, names = "", list[str]()
    for token in _listed(inspect.getsource(import_module(door))):
        if token.type == tokenize.STRING:
            names.append(ast.literal_eval(token.string))
        elif token.type == tokenize.COMMENT:
            if names:
                yield heading, names
            heading, names = token.string.lstrip("# "), []
    yield heading, names


def _listed(source: str) -> Iterator[tokenize.TokenInfo]:
    """Yield the tokens between the brackets of `__all__ = [...]`."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    from_all = dropwhile(lambda token: token.string != "__all__", tokens)
    return takewhile(lambda token: token.string != "]", from_all)


def draw_door(door: str) -> str:
    """Return the door's names as sections.

    Raises:
        ValueError: A name of the door stands in no group.
    """
    module = import_module(door)
    found = [name for _, names in groups(door) for name in names]
    if found != list(module.__all__):
        raise ValueError(f"{door}: its __all__ is no plain list of names")
    return "\n\n".join(
        f"## {heading}\n\n{_names(door, names)}" if heading else _names(door, names)
        for heading, names in groups(door)
    )


def _names(door: str, names: list[str]) -> str:
    module = import_module(door)
    directives = (_directive(door, name, getattr(module, name)) for name in names)
    return "\n".join(["```{eval-rst}", *directives, "```"])


def _directive(door: str, name: str, value: Any) -> str:
    match value:
        case type() if issubclass(value, Exception):
            # What it keeps as attributes; how it is made is nobody's business.
            return f".. autoexception:: {door}.{name}()\n   :members:\n"
        case type():
            return "\n   ".join([f".. autoclass:: {door}.{name}", *_class_options(value)]) + "\n"
        case Enum():
            kind = type(value).__name__
            return f".. py:data:: {door}.{name}\n   :type: {kind}\n\n   `{kind}.{value.name}`.\n"
        case _ if inspect.isroutine(value):
            return f".. autofunction:: {door}.{name}\n"
        case _:
            return f".. autodata:: {door}.{name}\n   :no-value:\n"


def _class_options(cls: type) -> Iterator[str]:
    yield ":members:"
    yield ":class-doc-from: both"  # the arguments are described where they are taken
    if issubclass(cls, Enum):
        yield ":undoc-members:"
    public = [base.__name__ for base in cls.__mro__[1:] if not base.__name__.startswith("_")]
    if len(public) < len(cls.__mro__) - 1:
        # What lies in a private base is the class's own, for whoever reads of it.
        yield f":inherited-members: {', '.join(public)}"
