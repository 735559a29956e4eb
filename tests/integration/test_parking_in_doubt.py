"""The store fails, or its answer is lost, while events are parked, retried or discarded.

Whatever has become of the write: each event that is handled has its effect once, in its order.
"""

from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, new_event
from tests.faults.account import faults
from tests.integration.projecting import FORMS, Stepped

from backstory import ANY, Backstory, EventStore
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio

WALK, OTHER = "walk-1", "walk-2"


class Handler:
    """The handler of steps, by the file that has to be there for the thirteenth to be handled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def mend(self) -> None:
        """Let it handle every step."""
        self._file.touch()

    def spoil(self) -> None:
        """Let it fail on the thirteenth."""
        self._file.unlink(missing_ok=True)


@pytest.fixture
def handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Handler:
    """Return the handler, which is not mended."""
    monkeypatch.setenv("MENDED", str(tmp_path / "mended"))
    return Handler(tmp_path / "mended")


async def step(store: EventStore, stream_id: str, *numbers: int) -> None:
    events = [new_event(Stepped(number=number)) for number in numbers]
    await store.append(stream_id, events, expected_version=ANY)


async def until_read(story: Backstory, form: Any, expected: dict[str, list[int]]) -> None:
    found = None
    try:
        with anyio.fail_after(DEADLINE_SECONDS / 3):
            while found != expected:
                model = await story.read_model(form, timeout_seconds=DEADLINE_SECONDS)
                found = await model.read_steps()
                await anyio.lowlevel.checkpoint()
    except TimeoutError:
        assert found == expected


@pytest.mark.slow
@pytest.mark.fault(14, 18, 19, "T19", without="the look at what is parked after a doubt")
@pytest.mark.parametrize("fault", ["fail", "lose_answer"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("form", FORMS)
async def test_event_is_folded_once_whatever_became_of_a_write(
    store: EventStore, handler: Handler, form: str, at: int, fault: str
) -> None:
    faulty, cls = FaultyStore(store), FORMS[form]
    async with Backstory(faulty, projections=[cls]) as story:
        await step(faulty, WALK, 1)
        await until_read(story, cls, {WALK: [1]})
        getattr(faulty, fault)("put_progress", at=at)
        faults.count()
        await step(faulty, WALK, 13, 2)
        await step(faulty, OTHER, 5)
        await step(faulty, WALK, 3)
        await until_read(story, cls, {WALK: [1], OTHER: [5]})
        assert [one.version for one in await story.projections.parked(cls)] == [2]

        faulty.heal()
        handler.mend()
        getattr(faulty, fault)("put_progress", at=at)
        await story.projections.retry(cls, WALK)
        await step(faulty, WALK, 4)
        await until_read(story, cls, {WALK: [1, 13, 2, 3, 4], OTHER: [5]})
        assert await story.projections.parked(cls) == []
