"""The levels of the framework, from the table that the house tests hold it to."""

import ast
import re
import textwrap
from pathlib import Path
from typing import Final

from drawings.picture import box, picture, words

TABLE: Final = Path(__file__).parents[2] / "tests" / "house" / "test_layers.py"
PACKAGE: Final = Path(__file__).parents[2] / "framework" / "backstory"

_WIDTH: Final = 720
_LEFT: Final = 60
_LINE: Final = 22
_GAP: Final = 8
_CHARACTERS: Final = 84  # of a line, in a box of this width


def levels() -> list[list[str]]:
    """Return the modules that exist, level by level, the lowest first."""
    tree = ast.parse(TABLE.read_text("utf-8"))
    [table] = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Tuple)
        and ast.unparse(node.targets[0]) == "LEVELS"
    ]
    named = [re.findall(r"'(\w+)'", ast.unparse(level)) for level in table.elts]
    there = [[name for name in names if _exists(name)] for names in named]
    return [names for names in there if names]


def _exists(name: str) -> bool:
    # The table may have a place ready for a module that is still to come.
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def draw_levels() -> str:
    """Return the levels as a picture, the highest first."""
    parts: list[str] = []
    top = 0.0
    for number, names in reversed(list(enumerate(levels()))):
        lines = textwrap.wrap(" · ".join(names), _CHARACTERS, break_long_words=False)
        height = _LINE * len(lines) + _GAP
        parts.append(box(_LEFT, top, _WIDTH - _LEFT, height, ""))
        parts.append(words(_LEFT / 2, top + height / 2, f"L{number}"))
        parts += [
            words((_LEFT + _WIDTH) / 2, top + _GAP / 2 + _LINE * (place + 0.5), line)
            for place, line in enumerate(lines)
        ]
        top += height + _GAP
    return picture("The levels of the framework", _WIDTH, top, parts)
