"""What the house tests look at: the texts of the checkout, the modules of the packages."""

import ast
import subprocess
from pathlib import Path

import pytest

# Recordings and pictures are kept as they came; house rules are for what we write ourselves.
KEPT_AS_THEY_CAME = {".gz", ".jsonl", ".png", ".svg"}


@pytest.fixture(scope="session")
def files(pytestconfig: pytest.Config) -> dict[str, Path]:
    """Return every file that git tracks, or would track, by its name from the top."""
    root = pytestconfig.rootpath
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - git is the developer's own
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    names = sorted(filter(None, listing.stdout.split("\0")))
    return {name: root / name for name in names if (root / name).is_file()}


@pytest.fixture(scope="session")
def texts(files: dict[str, Path]) -> dict[str, str]:
    """Return what stands in the files that are written by hand."""
    contents = {
        name: path.read_bytes()
        for name, path in files.items()
        if path.suffix not in KEPT_AS_THEY_CAME
    }
    # A NUL byte is what git, too, knows a binary file by.
    return {name: data.decode() for name, data in contents.items() if b"\0" not in data}


@pytest.fixture(scope="session")
def modules(texts: dict[str, str]) -> dict[str, ast.Module]:
    """Return the modules of the three packages, by file name."""
    roots = ("framework/", "aggregates/", "projections/")
    return {
        name: ast.parse(text, name)
        for name, text in texts.items()
        if name.startswith(roots) and name.endswith(".py")
    }
