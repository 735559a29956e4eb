"""The classes that a command reads events by: of installed packages, and of modules it is told."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from backstory._aggregate import Aggregate
from backstory._errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])


def import_option(command: F) -> F:
    """Give a command `--import MODULE`, as its parameter `modules`."""
    return click.option(
        "--import",
        "modules",
        metavar="MODULE",
        multiple=True,
        help="Import this module of yours first, also from the current folder; may be repeated.",
    )(command)


def import_classes(modules: tuple[str, ...]) -> dict[str, type[Aggregate]]:
    """Import modules and the classes that installed packages name; return aggregates by category.

    A class of a named module counts before an installed one of its category.

    Raises:
        ConfigurationError: One cannot be imported.
    """
    named = import_modules(modules)
    installed = {point.name: load_aggregate(point) for point in _installed()}
    return installed | named


def import_modules(modules: tuple[str, ...]) -> dict[str, type[Aggregate]]:
    """Import modules, and return the aggregate classes in them by category.

    Raises:
        ConfigurationError: One cannot be imported.
    """
    # A script has the folder of its program on the path, and not the one that it is called in.
    sys.path.insert(0, str(Path.cwd()))
    return {cls.category: cls for name in modules for cls in _aggregates_in(name)}


def _aggregates_in(name: str) -> Iterator[type[Aggregate]]:
    try:
        module = import_module(name)
    except Exception as error:
        raise ConfigurationError(f"--import {name}: {error}") from error
    members: list[Any] = list(vars(module).values())
    for member in members:
        if isinstance(member, type) and issubclass(member, Aggregate) and member.category:
            yield member


def find_aggregate(category: str, modules: tuple[str, ...]) -> type[Aggregate]:
    """Return the aggregate class of a category.

    Raises:
        ConfigurationError: There is none, or a module cannot be imported.
    """
    named = import_modules(modules)
    if category in named:
        return named[category]
    installed = {point.name: point for point in _installed()}
    if category in installed:
        return load_aggregate(installed[category])
    raise ConfigurationError(
        f"no installed package names an aggregate for category {category!r}; "
        f"known: {', '.join(sorted(installed)) or 'none'}; or name its module with --import"
    )


def _installed() -> Iterator[EntryPoint]:
    yield from entry_points(group="backstory.aggregates")


def load_aggregate(point: EntryPoint) -> type[Aggregate]:
    """Return the aggregate class that an installed package names.

    Raises:
        ConfigurationError: It cannot be loaded.
    """
    try:
        return cast("type[Aggregate]", point.load())
    except Exception as error:
        raise ConfigurationError(f"{point.value} cannot be loaded: {error}") from error
