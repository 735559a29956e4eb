import builtins
import sys
from pathlib import Path
from typing import Any

from docutils.nodes import Text, document
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

# So that the docs describe this checkout, whatever is installed; and draw it (docs/drawings).
for root in ("framework", "aggregates", "projections", "docs"):
    sys.path.insert(0, str(Path(__file__).parents[1] / root))

project = "Backstory"
author = "The Backstory authors"
html_title = "Backstory"
html_theme = "furo"
html_show_copyright = False

extensions = [
    "drawings",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

# Names appear in the order they are taught in, and without the private modules they live in.
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
add_module_names = False

# Links to a section are written as they work on a page of the checkout too.
myst_heading_anchors = 2

# Docstrings say `code` with one backtick, as everything else here does.
default_role = "code"
napoleon_custom_sections = [("Class keywords", "params_style")]


def unlink_builtins(_app: Sphinx, doctree: document) -> None:
    """Keep `type[Event]` from being linked to whatever field is called `type`."""
    for reference in list(doctree.findall(pending_xref)):
        if hasattr(builtins, reference["reftarget"]):
            reference.replace_self(Text(reference["reftarget"]))


def read_as_written(_app: Sphinx, what: str, *rest: Any) -> None:
    """Keep two things that docstrings say plainly from being read as markup."""
    lines: list[str] = rest[-1]
    if what in {"attribute", "data", "property"}:
        # Napoleon takes what stands before a colon in the first line for a type; it may have an
        # empty comment for that.
        lines[:0] = ["..", ""]
    for number in reversed(range(1, len(lines) - 1)):
        before, blank, after = lines[number - 1 : number + 2]
        # An indented paragraph is code, as in Markdown.
        if before.strip() and before[0] != " " and not blank and after.startswith("    "):
            lines[number:number] = ["", "::"]


def setup(app: Sphinx) -> None:
    """Hook into the build."""
    app.connect("doctree-read", unlink_builtins)
    # Before napoleon has its turn, at 500.
    app.connect("autodoc-process-docstring", read_as_written, priority=400)
