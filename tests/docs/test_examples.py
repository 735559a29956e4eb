"""Every example runs by itself and prints what it says it prints.

The output stands at the foot of the module's docstring, indented under a line `Output:`. The first
example is the README's program, and its output is the README's too.
"""

import ast
import os
import re
import subprocess
import sys
import textwrap
from itertools import count
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example_prints_what_it_promises(example: Path, tmp_path: Path) -> None:
    assert output_of(example, tmp_path) == promised_output(example)


URL = re.compile(r'f?"(memory://|sqlite:///[^"]*)"')
OF_ONE_STORE = {
    "back_up_sqlite": "is about SQLite's own backup",
    "choosing_a_store": "says which stores there are",
    "crash_and_recover": "looks at the file",
    "table_read_model": "reads the table with SQLite",
}
ELSEWHERE = [
    path
    for path in EXAMPLES
    if URL.search(path.read_text(encoding="utf-8")) and path.stem not in OF_ONE_STORE
]


@pytest.mark.slow
@pytest.mark.parametrize("example", ELSEWHERE, ids=[path.stem for path in ELSEWHERE])
def test_example_prints_the_same_with_the_url_of_a_postgresql(
    example: Path, tmp_path: Path, postgres_url: str
) -> None:
    """A store in memory is another one each time; a file is the same one."""
    numbers, schemas = count(1), dict[str, str]()

    def schema_of(url: str) -> str:
        name = f"story_{next(numbers)}"
        return name if url == "memory://" else schemas.setdefault(url, name)

    text = example.read_text(encoding="utf-8")
    moved = tmp_path / example.name
    moved.write_text(URL.sub(lambda m: f'"{postgres_url}?schema={schema_of(m[1])}"', text))

    assert output_of(moved, tmp_path) == promised_output(example)


def test_examples_of_one_store_are_there() -> None:
    assert OF_ONE_STORE.keys() <= {path.stem for path in EXAMPLES}


def output_of(example: Path, folder: Path) -> str:
    """Return what an example prints when it runs in a folder."""
    roots = (str(ROOT / root) for root in ("framework", "aggregates", "projections"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "PYTHONUTF8": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.rstrip("\n")


def promised_output(example: Path) -> str:
    if example.stem == "first_stream":
        return output_in_readme()
    docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    _, found, output = docstring.partition("\nOutput:\n")
    assert found, f"{example.name}: say what it prints, at the foot of the docstring"
    return textwrap.dedent(output).strip("\n")


def output_in_readme() -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # Nothing but prose may stand between the two blocks.
    blocks = re.search(
        r"^```python\n.*?^```\n(?:(?!^```).)*^```text\n(.*?)^```", readme, re.DOTALL | re.MULTILINE
    )
    assert blocks, "README.md: show the output in a text block right after the first program"
    return blocks[1].rstrip("\n")
