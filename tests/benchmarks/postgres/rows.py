"""What is measured on PostgreSQL; the rows are known where no server is, and asyncpg is not."""

from typing import Final

from tests.benchmarks import delivery
from tests.benchmarks.row import Row, at_least, at_most

ONE: Final = Row("on PostgreSQL, append one event after the other", "events/s")
MANY: Final = Row(
    "on PostgreSQL, append from 64 tasks to 64 streams", "events/s", target=at_least(0.6)
)
BATCH: Final = Row("on PostgreSQL, append a batch of 1,000", "events/s", target=at_least(0.6))
TWO: Final = Row(
    "on PostgreSQL, append from 64 tasks in each of two processes",
    "events/s",
    against="one process",
    target=at_least(1),
)
LOAD: Final = Row(
    "on PostgreSQL, load an aggregate without a snapshot", "events/s", target=at_least(0.6)
)
REPLAY: Final = Row("on PostgreSQL, replay the log, typed", "events/s", target=at_least(0.6))
CATCH_UP: Final = Row(
    "on PostgreSQL, catch up with the log in a projection", "events/s", target=at_least(0.5)
)
TABLES: Final = Row(
    "on PostgreSQL, catch up with the log in tables", "events/s", target=at_least(0.5)
)

ALONE: Final = delivery.rows(
    "on PostgreSQL, acknowledged to projected in another process, one at a time", at_most(20)
)
STEADY: Final = delivery.rows(
    f"on PostgreSQL, acknowledged to projected in another process, at {delivery.RATE} a second",
    at_most(20),
)
