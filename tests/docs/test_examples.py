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
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example_prints_what_it_promises(example: Path, tmp_path: Path) -> None:
    roots = (str(ROOT / root) for root in ("framework", "aggregates", "projections"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(roots), "PYTHONUTF8": "1"}

    run = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.rstrip("\n") == promised_output(example)


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
