"""Tests wait for what happens, such as a position that is reached, and never for time to pass.

What sleeps is either too slow, or fails on a busy machine. So a test waits for a position, for an
event, for a line of another process, and has a deadline. Where time itself is the matter it is a
number: `ManualClock`, or a loop whose clock moves by itself.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

# Where time is a number: nothing in these tests waits. A conftest speaks for its folder.
TIME_IS_A_NUMBER = "SimulatedLoop"

# A program runs in a process of its own, and nobody tells it what others do there: it may look from
# time to time, and some measure how long they wait.
IS_A_PROGRAM = '__name__ == "__main__"'

# Every other module that sleeps or looks at a clock, and why.
REASONS = {
    "tests/unit/testing/test_simulation.py": "is about the loop whose clock moves by itself",
    "tests/faults/test_clocks.py": "is about clocks",
    "tests/servers/proxy.py": "holds up what it passes on, where it is told to",
}

CLOCKS = {
    *("time.time", "time.monotonic", "time.perf_counter", "time.process_time"),
    *("time.time_ns", "time.monotonic_ns", "time.perf_counter_ns", "time.process_time_ns"),
}
SLEEPS = {"anyio.sleep", "anyio.sleep_until", "asyncio.sleep", "time.sleep"}

ENDLESS = re.compile(r"mark\.timeout\((0|method)")


@pytest.fixture(scope="module")
def waits(texts: dict[str, str]) -> dict[str, list[str]]:
    """Return what sleeps, or looks at a clock, by module; benchmarks are there to measure."""
    return {
        file: sorted(f"{line}: {what}" for line, what in found)
        for file, text in texts.items()
        if file.startswith("tests/") and file.endswith(".py")
        if not file.startswith("tests/benchmarks/")
        if IS_A_PROGRAM not in text and not is_simulated(file, texts)
        if (found := set(waits_in(ast.parse(text))))
    }


def is_simulated(file: str, texts: dict[str, str]) -> bool:
    conftest = str(PurePosixPath(file).parent / "conftest.py")
    return any(TIME_IS_A_NUMBER in texts.get(name, "") for name in (file, conftest))


def waits_in(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each sleep, and of each look at a clock."""
    turns = {id(node) for call in ast.walk(module) for node in turns_in(call)}
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in turns:
            name = ast.unparse(node)
            if name in SLEEPS | CLOCKS:
                yield node.lineno, name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (name := f"{node.module}.{alias.name}") in SLEEPS | CLOCKS:
                    yield node.lineno, name


def turns_in(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what sleeps for no time at all: that is a turn for others, and no wait."""
    match node:
        case ast.Call(func=ast.Attribute() as sleep, args=[ast.Constant(value=0)]):
            yield sleep
        case ast.Call(args=[ast.Attribute() as sleep, ast.Constant(value=0)]):
            yield sleep
        case _:
            pass


def test_no_test_sleeps_or_looks_at_a_clock(waits: dict[str, list[str]]) -> None:
    unexplained = {file: found for file, found in waits.items() if file not in REASONS}

    assert not unexplained, "wait for a position or an event, or say the reason in REASONS"


def test_every_reason_is_needed(waits: dict[str, list[str]]) -> None:
    assert not REASONS.keys() - waits.keys(), "take these out of REASONS: nothing in them sleeps"


def test_every_test_has_a_deadline(texts: dict[str, str]) -> None:
    settings = tomllib.loads(texts["pyproject.toml"])["tool"]["pytest"]["ini_options"]
    endless = [file for file, text in texts.items() if ENDLESS.search(text)]

    assert settings["timeout"] == 120
    assert not endless


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("await anyio.sleep(0.1)", ["anyio.sleep"]),
        ("await asyncio.sleep(0)", []),
        ("await asyncio.sleep(seconds)", ["asyncio.sleep"]),
        ("await run_sync(time.sleep, 0)", []),
        ("await run_sync(time.sleep, 1)", ["time.sleep"]),
        ("from time import sleep", ["time.sleep"]),
        ("begun_at = time.perf_counter()", ["time.perf_counter"]),
        ("await anyio.sleep_forever()", []),
    ],
)
def test_what_waits_is_found(line: str, found: list[str]) -> None:
    assert [name for _, name in waits_in(ast.parse(f"async def test(): {line}"))] == found
