"""What every command does around its work: takes a store, runs an event loop."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
import click

from backstory._store import EventStore
from backstory._store_url import store_of

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

DEFAULT_STORE: Final = "sqlite:///backstory.db"


def store_option(command: F) -> F:
    """Give a command `--store URL`, as its parameter `store`."""
    return click.option(
        "--store",
        metavar="URL",
        envvar="BACKSTORY_STORE",
        default=DEFAULT_STORE,
        show_default=True,
        show_envvar=True,
        help="The store's URL.",
    )(command)


def json_option(command: F) -> F:
    """Give a command `--json`, as its parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        command
    )


def open_store(url: str, *, read_only: bool) -> EventStore:
    """Return a store for `async with`; one that is only read is never created.

    Raises:
        ConfigurationError: The URL names no store.
    """
    return store_of(url, read_only=read_only)


def run(function: Callable[[], Awaitable[R]]) -> R:
    """Run a command's work in an event loop and return what it returns."""
    return anyio.run(function)
