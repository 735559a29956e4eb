"""A group of rows: one module, with one function that measures them."""

from collections.abc import Awaitable, Callable

from msgspec import Struct
from tests.benchmarks.bench import Bench
from tests.benchmarks.row import Result, Row


class Group(Struct, frozen=True):
    """Rows that are measured together."""

    name: str
    """What `--only` says."""
    rows: tuple[Row, ...]
    measure: Callable[[Bench], Awaitable[list[Result]]]
    """Measures all of them, in their order; or notes why they are left out, and none of them."""
