"""Orders to projectors: asked about first, given, waited for, and what became of them."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
import click
from msgspec import Struct

from backstory._orders import OrderKind, load_orders
from backstory._projections import ProjectionInfo, Projections
from backstory._store import EventStore
from backstory.cli._output import print_json, print_line, printable
from backstory.cli._session import open_store

F = TypeVar("F", bound=Callable[..., Any])

_LOOK_SECONDS: Final = 0.1
"""Between two looks at whether an order is carried out."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of an order."""

    projection: str
    """The projection."""
    order: OrderKind
    """What it was told."""
    is_done: bool
    """Whether that is done; else the order waits in the store."""
    is_paused: bool
    """Whether the projection is paused, and so carries nothing out."""


def wait_option(command: F) -> F:
    """Give a command `--wait`, as its parameter `wait_seconds`."""
    return click.option(
        "--wait",
        "wait_seconds",
        type=click.FloatRange(min=0),
        default=0.0,
        metavar="SECONDS",
        help="Wait so long for it to be carried out, and fail if it is not; 0 only gives the "
        "order.",
    )(command)


def yes_option(command: F) -> F:
    """Give a command `--yes`, as its parameter `is_sure`."""
    return click.option("--yes", "is_sure", is_flag=True, help="Do not ask whether it is meant.")(
        command
    )


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask whether it is meant, unless that has been said.

    Raises:
        UsageError: Nobody can be asked.
        ClickException: It is not meant.
    """
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked whether that is meant: give --yes")
    if not click.confirm(question, err=True):
        raise click.ClickException("nothing was done")


async def look(url: str, name: str) -> ProjectionInfo:
    """Return what a store knows of a projection; a store that is not there is not created.

    Raises:
        InvalidInputError: None of this name has run on the store.
        StoreError: The store did not answer.
    """
    async with open_store(url, read_only=True) as store:
        return await Projections(store).show(name)


async def carry_out(
    store: EventStore,
    name: str,
    kind: OrderKind,
    give: Callable[[], Awaitable[object]],
    *,
    wait_seconds: float,
    watch: Callable[[], Awaitable[object]] | None = None,
) -> Outcome:
    """Give an order, and wait for whoever runs the projection to carry it out.

    Args:
        store: An open store.
        name: The projection's name.
        kind: What it is told.
        give: What gives the order.
        wait_seconds: How long to wait.
        watch: Called at each look while it waits.

    Raises:
        StoreError: The store did not answer; the order may have been given.
    """
    before = (await load_orders(store, name)).orders
    await give()
    told = await load_orders(store, name)
    # Normally one; somebody else's order of this very moment is waited for too.
    given = told.orders.keys() - before.keys()
    with anyio.move_on_after(wait_seconds):
        while given & told.orders.keys():
            await anyio.sleep(_LOOK_SECONDS)
            if watch is not None:
                await watch()
            told = await load_orders(store, name)
    return Outcome(
        projection=name,
        order=kind,
        is_done=not given & told.orders.keys(),
        is_paused=told.is_paused,
    )


def report(
    outcome: Outcome, done: str, *, wait_seconds: float, as_json: bool, **further: object
) -> None:
    """Print what became of an order.

    Args:
        outcome: What became of it.
        done: The line that says that it is done.
        wait_seconds: How long it was waited for.
        as_json: Print JSON.
        further: What the JSON holds beside the outcome.

    Raises:
        ClickException: It was waited for, and is not done.
    """
    if as_json:
        print_json({**_named(outcome), **further})
    elif outcome.is_done:
        print_line(done)
    elif not wait_seconds:
        print_line(f"{_told(outcome)}; it {_waits(outcome)}")
    if wait_seconds and not outcome.is_done:
        raise click.ClickException(
            f"{_told(outcome)}, and not carried out within {wait_seconds:g} s; it {_waits(outcome)}"
        )


def _named(outcome: Outcome) -> dict[str, object]:
    return {name: getattr(outcome, name) for name in outcome.__struct_fields__}


def _told(outcome: Outcome) -> str:
    return f"{printable(outcome.projection)}: the {outcome.order.value} is ordered"


def _waits(outcome: Outcome) -> str:
    if outcome.is_paused:
        return "waits until the projection is resumed"
    return "waits for a program that runs the projection"
