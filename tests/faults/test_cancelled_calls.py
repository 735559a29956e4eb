"""Calls of the levels above the store are cancelled at each place where they wait."""

from collections.abc import Callable
from functools import partial

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, Noted, drain, new_event, noted
from tests.faults.account import faults
from tests.integration.test_cancellation import (
    STEPS,
    WAITS_MAX,
    Operation,
    Step,
    Totals,
    Watched,
)

from backstory import (
    Backstory,
    Decision,
    EventFilter,
    EventStore,
    Metadata,
    on,
    stream_id_of,
    where,
)
from backstory.operations import export_events, verify

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> Step:
    return STEPS[request.param]


class Numbered(Decision):
    """Counts the numbered notes, and adds one."""

    count: int = 0

    def query(self) -> EventFilter:
        return where(types=[Noted])

    @on(Noted)
    def _noted(self, event: Noted) -> None:
        self.count += 1

    def decide(self) -> int:
        self.emit(Noted(text=str(self.count)), stream_id=stream_id_of("note", str(self.count)))
        return self.count


@pytest.mark.fault(28, "T31", without="the look for what a key has recorded")
async def test_cancelled_decision_takes_effect_once_or_not(store: EventStore, step: Step) -> None:
    watched = Watched()
    async with Backstory(store) as story:
        for at in range(1, WAITS_MAX):
            before = await count_notes(store)
            scope = story.using(idempotency_key=f"key {at}")
            is_cancelled = await step(partial(scope.decide, Numbered()), at)
            faults.count(is_cancelled)

            assert await count_notes(store) in (before, before + 1)
            assert await scope.decide(Numbered()) == before
            assert await count_notes(store) == before + 1
            if not is_cancelled:
                break
        else:
            pytest.fail("it never ended undisturbed")
    await watched.check()


async def count_notes(store: EventStore) -> int:
    notes = await drain(store.read_log(where=where(types=[Noted])))
    assert [recorded.data for recorded in notes] == [Noted(text=str(n)) for n in range(len(notes))]
    return len(notes)


def calls_of(store: EventStore, event_id: str) -> dict[str, Callable[[], Operation]]:
    """Return calls that write nothing, each by its name."""

    async def export() -> None:
        assert [line async for line in export_events(store)]

    async def replay() -> None:
        async with Backstory(store) as story:
            assert [recorded async for recorded in story.replay()]

    async def read_model() -> None:
        async with Backstory(store, projections=[Totals]) as story:
            assert (await story.read_model(Totals)).total == 1

    return {
        "read_causes": lambda: partial(drain, store.read_causes(event_id)),
        "read_effects": lambda: partial(drain, store.read_effects(event_id)),
        "statistics": lambda: store.statistics,
        "verify": lambda: partial(verify, store),
        "export": lambda: export,
        "replay": lambda: replay,
        "read_model": lambda: read_model,
    }


NAMES = (
    "read_causes",
    "read_effects",
    "statistics",
    "verify",
    "export",
    "replay",
    "read_model",
)


@pytest.mark.fault(28, without="the return of a reader whose caller is gone")
@pytest.mark.parametrize("name", NAMES)
async def test_cancelled_call_leaves_nothing_and_can_be_made_again(
    store: EventStore, step: Step, name: str
) -> None:
    event = new_event(Counted())
    await store.append("tally-1", [event], expected_version=0)
    effect = new_event(metadata=Metadata(causation_id=event.event_id))
    await store.append("note-1", [effect], expected_version=0)
    watched = Watched()

    for at in range(1, WAITS_MAX):
        make = calls_of(store, effect.event_id)[name]
        is_cancelled = await step(make(), at)
        faults.count(is_cancelled)
        with anyio.fail_after(DEADLINE_SECONDS):
            await make()()
        if not is_cancelled:
            break
    else:
        pytest.fail("it never ended undisturbed")

    await watched.check()
    assert (await store.append("tally-1", noted("a"), expected_version=1)).last_version == 2
