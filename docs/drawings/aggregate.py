"""What an aggregate does, as a table: its commands, what they emit, what that means for its state.

The commands and handlers are those that the class has; what they emit and assign stands in their
source.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from backstory import Event


def draw_aggregate(place: str) -> str:
    """Return the table of an aggregate that is named as `module:Class`.

    Raises:
        ValueError: A command emits nothing that its class handles.
    """
    module, _, name = place.partition(":")
    cls: Any = getattr(import_module(module), name)
    members: dict[str, Any] = {**cls.__dict__}
    handlers = {event: member for member in members.values() for event in _handled(member)}
    rows = [
        (command, event, handlers[event])
        for command, member in members.items()
        if getattr(member, "aggregate", None) is cls
        for event in _emitted(member)
    ]
    if silent := handlers.keys() - {event for _, event, _ in rows}:
        raise ValueError(f"{place}: no command emits {silent}")
    return "\n".join(
        [
            "| command | emits | stored as | which sets |",
            "|---|---|---|---|",
            *(_row(command, event, handler, cls) for command, event, handler in rows),
        ]
    )


def _row(command: str, event: type[Event], handler: Any, cls: Any) -> str:
    fields = [field for field in cls.__struct_fields__ if field in _assigned(handler)]
    state = ", ".join(f"`{field}`" for field in fields) or "nothing"
    return f"| `{command}` | `{event.__name__}` | `{event.event_type}` | {state} |"


def _handled(member: Any) -> tuple[type[Event], ...]:
    types: tuple[type[Event], ...] = getattr(member, "on_types", ())
    return types


def _emitted(command: Any) -> Iterator[type[Event]]:
    for node in ast.walk(_tree(command)):
        match node:
            case ast.Call(func=ast.Attribute(attr="emit"), args=[ast.Call(func=ast.Name(id=name))]):
                event: type[Event] = command.__globals__[name]
                yield event
            case _:
                pass


def _assigned(handler: Any) -> set[str]:
    """Return the attributes of `self` that a handler assigns, or calls a method of."""
    found: set[str] = set()
    for node in ast.walk(_tree(handler)):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                found.add(name)
            case (
                ast.Subscript(
                    value=ast.Attribute(value=ast.Name(id="self"), attr=name), ctx=ast.Store()
                )
                | ast.Call(
                    func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="self"), attr=name))
                )
            ):
                found.add(name)
            case _:
                pass
    return found


def _tree(function: Any) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))
