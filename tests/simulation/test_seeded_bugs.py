"""The simulation finds the mistakes that it is there to find, and blames nobody else."""

import pytest
from tests.simulation.seeded_bugs import BUGS

from backstory.testing import Scenario, Simulation, SimulationFailedError, simulate


@pytest.mark.parametrize("bug", BUGS)
def test_mistake_is_found_and_can_be_seen_again(bug: type[Scenario]) -> None:
    with pytest.raises(SimulationFailedError) as first:
        simulate(bug)

    with pytest.raises(SimulationFailedError) as again:
        Simulation(bug, seed=first.value.seed, plan=first.value.plan).run()
    assert again.value.plan == first.value.plan
    assert again.value.trace == first.value.trace


@pytest.mark.parametrize("mended", BUGS.values())
def test_program_without_the_mistake_passes(mended: type[Scenario]) -> None:
    simulate(mended, seeds=range(10))


@pytest.mark.slow
@pytest.mark.parametrize("mended", BUGS.values())
def test_program_without_the_mistake_passes_every_seed(mended: type[Scenario]) -> None:
    simulate(mended, seeds=range(200))
