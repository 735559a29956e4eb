"""Small changes of programs, made systematically: each is one that a programmer might make."""

import ast
from collections.abc import Iterator
from types import CodeType
from typing import Any, Final, NamedTuple, cast

_INSTEAD: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.USub: ast.UAdd,
    ast.Not: ast.UAdd,
}

# What only says how to look at the code, or what an event is called where it is stored.
_NOT_LOOKED_AT: Final = frozenset({"annotation", "returns", "decorator_list", "keywords", "ctx"})


class Mutant(NamedTuple):
    """A program with one change."""

    what: str
    """Where the change is, and what it is."""
    code: CodeType
    """The module, compiled."""


def mutants(source: str, name: str, *, reached_only: bool) -> Iterator[Mutant]:
    """Yield a module with one change at a time, each compiled to other code than the module.

    Args:
        source: The module.
        name: What to call it.
        reached_only: Whether to change only `@on` methods and what they name, over any number of
            steps; else everything is changed that is no import, command or class keyword.
    """
    tree = ast.parse(source)
    original = compile(tree, name, "exec")
    definitions = _reached(tree) if reached_only else tree.body[1:]  # without the docstring
    for definition in definitions:
        for parent, field, place, node in _sites(definition):
            for what, change in _changes(node):
                _put(parent, field, place, ast.fix_missing_locations(change))
                try:
                    code = compile(tree, name, "exec")
                except (SyntaxError, ValueError, TypeError):
                    continue
                finally:
                    _put(parent, field, place, node)
                if code != original:
                    yield Mutant(f"{name}:{getattr(node, 'lineno', 0)}: {what}", code)


def _put(parent: ast.AST, field: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def _sites(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Yield every place in a definition that holds a node, from the top down."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return
    for field, value in ast.iter_fields(node):
        is_class_keyword = field == "keywords" and not isinstance(node, ast.Call)
        if field in _NOT_LOOKED_AT - {"keywords"} or is_class_keyword:
            continue
        is_many = isinstance(value, list)
        for place, child in enumerate(cast("list[Any]", value if is_many else [value])):
            if isinstance(child, ast.AST) and not _is_docstring(child) and not _is_command(child):
                yield node, field, place if is_many else None, child
                yield from _sites(child)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_command(node: ast.AST) -> bool:
    is_emitter = any(
        isinstance(inner, ast.Attribute) and inner.attr == "emit" for inner in ast.walk(node)
    )
    return isinstance(node, ast.FunctionDef) and is_emitter


def _reached(tree: ast.Module) -> list[ast.AST]:
    """Return the `@on` methods and all definitions that they name, over any number of steps."""
    defined = dict(_definitions(tree))
    reached: dict[str, ast.AST] = {
        name: node
        for name, node in defined.items()
        if isinstance(node, ast.FunctionDef)
        and any(
            isinstance(call, ast.Call) and "on(" in ast.unparse(call)
            for call in node.decorator_list
        )
    }
    waiting = list(reached.values())
    while waiting:
        for node in ast.walk(waiting.pop()):
            name = getattr(node, "attr", getattr(node, "id", None))
            if name in defined and name not in reached:
                reached[name] = defined[name]
                waiting.append(defined[name])
    return list(reached.values())


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield functions, methods, fields and constants; of a class, each member for itself."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(node, ast.Module | ast.ClassDef):
                if isinstance(child, ast.FunctionDef) and not _is_command(child):
                    yield child.name, child
                elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
                    yield child.target.id, child


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what could stand in a node's place."""
    instead = _INSTEAD.get(type(node))
    if instead is not None:
        yield f"{type(node).__name__} becomes {instead.__name__}", instead()
    if isinstance(node, ast.stmt):
        changes = _changed_statements(node)
    elif isinstance(node, ast.Call):
        changes = _changed_calls(node)
    elif isinstance(node, ast.expr):
        changes = _changed_expressions(node)
    else:
        changes = _changed_parts(node)
    for what, change in changes:
        # What stood inside the node stays what it is, lines and all.
        yield what, change if hasattr(change, "lineno") else ast.copy_location(change, node)


def _changed_expressions(node: ast.expr) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Constant(value=value):
            for other in _other_constants(value):
                yield f"{value!r} becomes {other!r}", ast.Constant(other)
        case ast.Attribute(value=value, attr=name, ctx=context):
            yield f".{name} is renamed", ast.Attribute(value, f"{name}_", context)
        case ast.IfExp(test=test, body=body, orelse=other):
            yield "branches swapped", ast.IfExp(test, other, body)
        case ast.Slice(lower=lower, upper=upper):
            yield "bounds swapped", ast.Slice(upper, lower)
        case ast.Tuple(elts=[first, second, *rest], ctx=ast.Load()):
            yield "items swapped", ast.Tuple([second, first, *rest], ast.Load())
        case ast.Subscript(value=value, ctx=ast.Load()):
            yield "without its subscript", value
        case _:
            pass


def _changed_parts(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.keyword(arg=str(name), value=value):
            yield f"{name}= is renamed", ast.keyword(f"{name}_", value)
        case ast.comprehension(target=target, iter=values, ifs=[_, *_]):
            yield "without its if", ast.comprehension(target, values, [], 0)
        case ast.ExceptHandler(type=ast.expr(), name=name, body=body):
            other = ast.Name("ZeroDivisionError", ast.Load())
            yield "catches something else", ast.ExceptHandler(other, name, body)
        case _:
            pass


def _other_constants(value: object) -> Iterator[Any]:
    match value:
        case bool():
            yield not value
        case int() | float():
            yield value + 1
        case str():
            yield f"{value}!"
        case None:
            yield 0
        case _:
            pass


def _changed_calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    if len(node.args) > 1:
        first, second, *rest = node.args
        yield "arguments swapped", ast.Call(node.func, [second, first, *rest], node.keywords)
    if node.keywords:
        yield "one keyword fewer", ast.Call(node.func, node.args, node.keywords[1:])
    if len(node.args) == 1 and not node.keywords:
        yield "not called", node.args[0]


def _changed_statements(node: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Delete | ast.If | ast.For):
        yield "deleted", ast.Pass()
    match node:
        case ast.If(test=test, body=body, orelse=after):
            yield "condition negated", ast.If(ast.UnaryOp(ast.Not(), test), body, after)
        case ast.AugAssign(target=target, value=value):
            yield "assigned", ast.Assign([target], value)
        case ast.Return(value=ast.expr()):
            yield "returns nothing", ast.Return(ast.Constant(None))
        case ast.Try(body=body, handlers=handlers, orelse=[_, *_] as after, finalbody=final):
            # The same instructions: only what is watched over differs.
            yield "else becomes part of try", ast.Try([*body, *after], handlers, [], final)
        case ast.AnnAssign(
            target=target, annotation=ast.Name(id="int"), value=value, simple=simple
        ):
            yield "int becomes float", ast.AnnAssign(target, ast.Name("float"), value, simple)
        case _:
            pass
