"""The tests of actors run on a simulated loop: time is a number, and the order of work is drawn."""

from typing import Any

import pytest

from backstory.testing._simulated_loop import SimulatedLoop


def _fail(reason: str) -> None:
    raise RuntimeError(reason)


@pytest.fixture(params=range(3), ids="order {}".format)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Return a loop without sockets and threads, on which nobody waits, with one order of work."""
    seed = str(request.param)
    return "asyncio", {"loop_factory": lambda: SimulatedLoop(seed=seed, stuck=_fail)}
