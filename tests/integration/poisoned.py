"""Runs a projection whose handler ends the process on some events, or at a named call of the store.

    poisoned.py URL FORM POISON MOMENT

FORM is `memory` or `tables`. The handler ends the process on an event that counts by POISON; 0 for
none. MOMENT ends it at a call of the store: `put_progress:3:before` at the third, with nothing
done, `put_progress:3:after` when it is done and not answered; `-` for none. When all is folded, the
steps of each stream and what is parked are written as one line of JSON.
"""

import json
import os
import sys
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio

from backstory import Backstory, Event, Projection, RecordedEvent, TableProjection, on, store_of

# Where a fingerprint does not look: the mended program is to go on from the same checkpoint.
poison: ContextVar[int] = ContextVar("poison")


class Stepped(Event, type="poisoned:stepped"):
    """A counter went on."""

    by: int


def handle(by: int) -> None:
    if by == poison.get():
        os._exit(9)


class StepsInMemory(Projection, name="steps"):
    steps: dict[str, list[int]] = {}

    @on(Stepped)
    def _stepped(self, event: Stepped, recorded: RecordedEvent) -> None:
        self.steps.setdefault(recorded.stream_id, []).append(event.by)
        handle(event.by)

    async def all(self) -> dict[str, list[int]]:
        return self.steps


class StepsInTables(TableProjection, name="steps"):
    schema = ("CREATE TABLE {steps} (position INTEGER PRIMARY KEY, stream TEXT, by INTEGER)",)

    @on(Stepped)
    def _stepped(self, event: Stepped, recorded: RecordedEvent) -> None:
        self.execute(
            "INSERT INTO {steps} VALUES ($1, $2, $3)",
            recorded.position,
            recorded.stream_id,
            event.by,
        )
        handle(event.by)

    async def all(self) -> dict[str, list[int]]:
        steps: dict[str, list[int]] = {}
        for stream, by in await self.read_rows("SELECT stream, by FROM {steps} ORDER BY position"):
            steps.setdefault(stream, []).append(by)
        return steps


class Moment:
    """A call of the store at which the process ends."""

    def __init__(self, text: str) -> None:
        self._call, _, rest = text.partition(":")
        number, _, self._when = rest.partition(":")
        self._left = int(number or 0)

    def let_end(self, store: Any, call: str) -> None:
        """Let a call of a store end the process, where this is the moment."""
        method = getattr(store, call)

        async def counted(argument: Any) -> None:
            self._count(call, "before")
            await method(argument)
            self._count(call, "after")

        setattr(store, call, counted)

    def _count(self, call: str, when: str) -> None:
        if call == self._call and when == self._when:
            self._left -= 1
            if self._left == 0:
                os._exit(9)


async def main(url: str, form: str, poisonous: str, moment: str, rebuild: str = "") -> None:
    poison.set(int(poisonous))
    cls: Any = StepsInTables if form == "tables" else StepsInMemory
    ending = Moment(moment)
    async with store_of(url) as store, Backstory(store, projections=[cls]) as story:
        for call in ("put_progress", "put_notes", "drop_checkpoint"):
            ending.let_end(store, call)
        if rebuild:
            assert await story.projections.rebuild(cls)
        steps = await (await story.read_model(cls)).all()
        parked = await story.projections.parked(cls)
        retried = [
            await story.projections.retry(cls, one.stream_id) for one in parked if poison.get() == 0
        ]
        after = await (await story.read_model(cls)).all() if retried else steps
        said = {
            "steps": steps,
            "parked": {one.stream_id: [one.position, one.attempt_count] for one in parked},
            "retried": after,
        }
        sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:]))
