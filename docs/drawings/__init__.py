"""Draws what the docs show of the code: from the code, at every build.

A line `<!-- drawn: NAME ARGUMENTS -->` in a page is replaced by what the drawing of that name
returns, as Markdown. So nothing that is generated lies in the checkout, and no picture is older
than what it shows. A drawing that does not find what it draws fails the build.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from drawings.aggregate import draw_aggregate
from drawings.command import draw_help
from drawings.door import draw_door
from drawings.level import draw_levels
from drawings.projector import draw_projector
from drawings.state import draw_states

DRAWINGS: Final[dict[str, Callable[..., str]]] = {
    "aggregate": draw_aggregate,
    "door": draw_door,
    "help": draw_help,
    "levels": draw_levels,
    "projector": draw_projector,
    "states": draw_states,
}

_MARK: Final = re.compile(r"^<!-- drawn: (\w+)(.*) -->$", re.MULTILINE)


def draw(text: str) -> str:
    """Return a page with every drawing in its place."""
    return _MARK.sub(lambda mark: DRAWINGS[mark[1]](*mark[2].split()), text)


def _draw(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = draw(source[0])


def _drawn_pages(
    _app: Sphinx, env: BuildEnvironment, _added: set[str], _changed: set[str], _removed: set[str]
) -> list[str]:
    # The code may have changed where the page has not.
    pages = {page: Path(env.doc2path(page)) for page in env.found_docs}
    return [page for page, path in pages.items() if _MARK.search(path.read_text("utf-8"))]


def setup(app: Sphinx) -> dict[str, bool]:
    """Hook into the build."""
    app.connect("source-read", _draw)
    app.connect("env-get-outdated", _drawn_pages)
    return {"parallel_read_safe": True}
