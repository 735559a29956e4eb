"""A handler that ends the process, and a process that ends wherever it may: nothing is lost or
folded twice.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.conftest import new_event
from tests.faults.account import faults
from tests.integration.poisoned import Stepped
from tests.integration.process import start

from backstory import ANY, store_of

pytestmark = pytest.mark.anyio

POISON = 13
ENDED = 9


async def write(url: str, *steps: tuple[str, int]) -> None:
    async with store_of(url) as store:
        for stream_id, by in steps:
            event = new_event(Stepped(by=by))
            await store.append(stream_id, [event], expected_version=ANY)


def run(url: str, form: str, poison: int = 0, moment: str = "-", rebuild: str = "") -> Any:
    """Run the program once; return what it says, or None when it was ended."""
    process = start("poisoned.py", url, form, poison, moment, *([rebuild] if rebuild else []))
    written, said = process.communicate(timeout=100)
    if process.returncode == ENDED:
        faults.count()
        return None
    process.stdout, process.stderr = None, None
    assert process.returncode == 0, said.decode()
    return json.loads(written)


@pytest.mark.fault(18, 19, "T19", without="the count of attempts over processes")
@pytest.mark.parametrize("form", ["memory", "tables"])
async def test_event_that_ends_the_process_is_parked_after_its_attempts(
    url_of: Callable[[str], str], form: str
) -> None:
    url = url_of("story")
    before = [(f"counter-{number % 4}", number + 100) for number in range(40)]
    after = [(f"counter-{number % 4}", number + 200) for number in range(40)]
    await write(url, *before, ("counter-1", POISON), *after)

    rounds = 1
    while (said := run(url, form, POISON)) is None:
        rounds += 1
        assert rounds < 12, "it is never parked"

    expected: dict[str, list[int]] = {}
    for stream_id, by in [*before, *(one for one in after if one[0] != "counter-1")]:
        expected.setdefault(stream_id, []).append(by)
    assert said["steps"] == expected
    assert said["parked"] == {"counter-1": [41, 3]}
    # One to find out, one for the page, three attempts, one that parks.
    assert rounds == 6

    mended = run(url, form)
    assert mended["retried"]["counter-1"] == [
        by for stream_id, by in [*before, ("counter-1", POISON), *after] if stream_id == "counter-1"
    ]


CALLS = ["put_progress", "put_notes", "drop_checkpoint"]


@pytest.mark.fault(19, 20, "T7", without="one transaction of changes and checkpoint")
@pytest.mark.slow  # some hundred processes
@pytest.mark.timeout(600)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("form", ["memory", "tables"])
async def test_process_that_ends_anywhere_loses_and_doubles_nothing(
    url_of: Callable[[str], str], form: str, call: str, when: str
) -> None:
    """It is ended at the first, the second … such call, also in a rebuild, and started again."""
    for rebuild in ("", "rebuild"):
        for number in range(1, 30):
            url = url_of(f"{rebuild}_{number}")
            steps = [(f"counter-{one % 3}", one + 100) for one in range(9)]
            await write(url, *steps[:5])
            assert run(url, form) is not None
            await write(url, *steps[5:])

            is_ended = run(url, form, moment=f"{call}:{number}:{when}", rebuild=rebuild) is None
            said = run(url, form, rebuild=rebuild if number % 2 else "")

            expected: dict[str, list[int]] = {}
            for stream_id, by in steps:
                expected.setdefault(stream_id, []).append(by)
            assert said is not None
            assert (said["steps"], said["parked"]) == (expected, {}), (rebuild, number)
            if not is_ended:
                break
        else:
            pytest.fail("it has no end")


async def test_handler_that_ends_the_process_in_a_retry_parks_again(
    url_of: Callable[[str], str],
) -> None:
    url = url_of("story")
    await write(url, ("counter-1", POISON), ("counter-2", 1))
    said = [run(url, "tables", POISON) for _ in range(6)][-1]

    assert said["parked"] == {"counter-1": [1, 3]}
    assert run(url, "tables")["retried"] == {"counter-1": [POISON], "counter-2": [1]}
