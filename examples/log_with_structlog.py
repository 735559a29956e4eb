"""What Backstory says of itself, rendered by structlog: here, a projection that has stopped.

Backstory logs to the standard library's logger `backstory`, with its keys as attributes of the
records, and prints nothing until the program asks for it.

Output:
    {"event": "projection.retrying", "stream_id": "lottery-today", "projection": "fragile", "position": 1, "attempt": 1, "level": "warning"}
    {"event": "projection.retrying", "stream_id": "lottery-today", "projection": "fragile", "position": 1, "attempt": 2, "level": "warning"}
    {"event": "projection.failed", "projection": "fragile", "position": 1, "level": "error"}
    reason: ZeroDivisionError: division by zero
"""  # noqa: E501 - what is printed

import logging
import sys

import anyio
import structlog

from backstory import (
    Aggregate,
    Backstory,
    Event,
    OnFailure,
    Projection,
    ProjectionFailedError,
    on,
)


class NumberDrawn(Event, type="lottery:number-drawn"):
    number: int


class Lottery(Aggregate, category="lottery"):
    def draw(self, number: int) -> None:
        self.emit(NumberDrawn(number=number))


class Fragile(Projection, name="fragile", on_failure=OnFailure.STOP, attempt_count_max=2):
    inverse: float = 0.0

    @on(NumberDrawn)
    def _drawn(self, event: NumberDrawn) -> None:
        self.inverse = 1 / event.number


def show_backstory_as_json() -> None:
    keys = ["stream_id", "version", "projection", "position", "attempt"]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(keys), structlog.stdlib.add_log_level],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logger = logging.getLogger("backstory")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)  # DEBUG also tells of each retry


async def main() -> None:
    show_backstory_as_json()
    async with Backstory("memory://", projections=[Fragile]) as story:
        await story.execute(Lottery.draw, "today", 0)
        try:
            await story.read_model(Fragile)
        except ProjectionFailedError as error:
            print("reason:", error.reason)


anyio.run(main)
