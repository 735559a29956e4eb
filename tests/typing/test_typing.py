"""The mistakes that a type checker can find are found, by mypy and by pyright, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
GOOD, WRONG = FOLDER / "must_type_check.py", FOLDER / "must_not_type_check.py"
BESIDE_PYTHON = Path(sys.executable).parent


def tool(name: str) -> str:
    """Return where a checker is, or skip the test."""
    found = shutil.which(name, path=os.pathsep.join([str(BESIDE_PYTHON), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def mypy(file: Path, cache: Path) -> dict[int, list[str]]:
    """Return what mypy says about a file, by line."""
    ran = subprocess.run(
        [tool("mypy"), f"--cache-dir={cache}", "--no-error-summary", "--no-pretty", str(file)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    said: dict[int, list[str]] = {}
    for line in ran.stdout.splitlines():
        if found := re.fullmatch(r"(.+\.py):(\d+): error: (.*)", line):
            assert Path(found[1]).name == file.name, line
            said.setdefault(int(found[2]), []).append(found[3])
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return said


def pyright(file: Path, folder: Path) -> dict[int, list[str]]:
    """Return what pyright says about a file, by line."""
    # A copy elsewhere: pyright says nothing of a file that its configuration leaves out.
    copy = shutil.copy(file, folder)
    ran = subprocess.run(
        [tool("pyright"), "--outputjson", "--pythonpath", sys.executable, str(copy)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    said: dict[int, list[str]] = {}
    for found in json.loads(ran.stdout)["generalDiagnostics"]:
        line = int(found["range"]["start"]["line"]) + 1
        said.setdefault(line, []).append(found["message"])
    return said


def mistakes(*marks: str) -> set[int]:
    lines = WRONG.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith(marks)}


@pytest.mark.slow
def test_mypy_finds_nothing_in_a_good_program(tmp_path: Path) -> None:
    assert mypy(GOOD, tmp_path) == {}


@pytest.mark.slow
def test_mypy_finds_every_mistake_and_nothing_else(tmp_path: Path) -> None:
    assert set(mypy(WRONG, tmp_path)) == mistakes("# mistake")


@pytest.mark.slow
def test_pyright_finds_nothing_in_a_good_program(tmp_path: Path) -> None:
    assert pyright(GOOD, tmp_path) == {}


@pytest.mark.slow
def test_pyright_finds_every_mistake_and_nothing_else(tmp_path: Path) -> None:
    assert set(pyright(WRONG, tmp_path)) == mistakes("# mistake", "# mistake, to pyright")
