"""The groups of PostgreSQL. What measures them is imported when a server can be had."""

from functools import partial
from importlib import import_module
from typing import Final

from tests.benchmarks.bench import Bench
from tests.benchmarks.group import Group
from tests.benchmarks.postgres import rows
from tests.benchmarks.row import Result, Row


async def _measure(bench: Bench, *, module: str) -> list[Result]:
    """Measure the rows of a module, or say why there is nothing to measure them on."""
    if (reason := why_left_out()) is not None:
        note = f"what is measured on PostgreSQL is left out: {reason}"
        if note not in bench.notes:
            bench.notes.append(note)
        return []
    results: list[Result] = await import_module(f"tests.benchmarks.postgres.{module}").measure(
        bench
    )
    return results


def why_left_out() -> str | None:
    """Return why PostgreSQL cannot be measured here, or None where it can."""
    try:
        import_module("backstory.stores.postgres")
        reason: str | None = import_module("tests.servers.postgres").why_absent()
    except ImportError as error:
        return str(error)
    return reason


def _group(module: str, *of: Row) -> Group:
    return Group(f"postgres-{module}", of, partial(_measure, module=module))


GROUPS: Final = (
    _group("appends", rows.ONE, rows.MANY, rows.BATCH, rows.TWO),
    _group("reads", rows.LOAD, rows.REPLAY, rows.CATCH_UP, rows.TABLES),
    _group("delivery", *rows.ALONE, *rows.STEADY),
)
