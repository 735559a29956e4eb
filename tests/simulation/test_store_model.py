"""Every store answers every call as the model does; and stores that do not are found.

A failure prints its steps, made as few as possible, and a line that runs them again.
"""

from pathlib import Path
from typing import ClassVar, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.contract import faulty_stores
from tests.simulation.store_machine import SQLiteMachine, StoreMachine

from backstory import EventStore
from backstory.stores.in_memory import InMemoryStore

# What fails is made smaller, which takes longer than to find it.
pytestmark = pytest.mark.timeout(600)

MACHINES: Final = {"in_memory": StoreMachine, "sqlite": SQLiteMachine}

COMMON: Final = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
QUICK: Final = {
    "in_memory": settings(COMMON, max_examples=40, stateful_step_count=30),
    "sqlite": settings(COMMON, max_examples=25, stateful_step_count=30),
}
LONG: Final = {
    "in_memory": settings(COMMON, max_examples=400, stateful_step_count=60),
    "sqlite": settings(COMMON, max_examples=150, stateful_step_count=60),
}

FAULTY: Final = [
    faulty
    for faulty in vars(faulty_stores).values()
    if isinstance(faulty, type)
    and issubclass(faulty, InMemoryStore)
    # The last one forgets nothing before there are a thousand events, which is too far for steps.
    and faulty not in (InMemoryStore, faulty_stores.RemembersTheLastThousandIds)
]


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages be short, so that a few events reach over several."""
    for module in ("_pages", "_store", "_subscription"):
        monkeypatch.setattr(f"backstory.{module}.PAGE_EVENT_COUNT", 3)


@pytest.mark.parametrize("name", MACHINES)
def test_store_answers_as_the_model(name: str) -> None:
    run_state_machine_as_test(MACHINES[name], settings=QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_store_answers_as_the_model_for_long(name: str) -> None:
    run_state_machine_as_test(MACHINES[name], settings=LONG[name])


@pytest.mark.slow
@pytest.mark.parametrize("faulty", FAULTY, ids=lambda faulty: faulty.__name__)
def test_store_with_a_fault_is_found(
    faulty: type[InMemoryStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    class FaultyMachine(StoreMachine):
        store_class: ClassVar = faulty

        def make_store(self, folder: Path) -> EventStore:
            return self.store_class(clock=self.clock)

    monkeypatch.setattr("tests.simulation.store_machine.DEADLINE_SECONDS", 1)
    # The quick profile, the same in every run, and with nothing done to make the steps fewer.
    quick = settings(QUICK["in_memory"], derandomize=True, phases=[Phase.generate])

    with pytest.raises((AssertionError, LookupError, TimeoutError)):
        run_state_machine_as_test(FaultyMachine, settings=quick)
