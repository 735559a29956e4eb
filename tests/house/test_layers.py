"""Imports point down, nothing runs in circles, and the lower levels are pure.

The table below is the order in which Backstory can be read: each module may import what stands in
the levels above its own line, and its neighbours. What holds between whole packages is said in
pyproject.toml, under [tool.importlinter].
"""

import ast
import logging
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name

import pytest
from importlinter.cli import lint_imports

LEVELS = (
    # The pure levels: no coroutines, no clock, no randomness, no I/O, but in MAY_LOOK_OUTSIDE.
    ("_errors", "_limits", "_ids", "_clock", "_versions", "_logging", "_reason"),
    ("_events", "_upcasting", "_codec", "_recorded"),
    (
        *("_handlers", "_aggregate", "_decision", "_projection", "_filter"),
        *("_snapshot", "_progress", "_instructions", "_fingerprint"),
    ),
    # The contract of all stores.
    (
        *("_commit", "_arguments", "_pages", "_subscription", "_causality", "_statistics"),
        *("_tables", "_store"),
        *("_migration", "_completion", "_group_commit", "_watch", "_connected_store"),  # for stores
    ),
    # Folders, which do not know each other.
    ("stores", "actors"),
    ("_context", "_snapshots", "_attempts", "_idempotency", "_execution", "_repository"),
    ("_aggregate_actor", "_live_aggregates"),
    ("_table_projection", "_fold", "_correlation", "_parking", "_orders", "_registry"),
    ("_generations", "_keeper", "_build", "_pass", "_projector", "_projections"),
    ("_projector_actor", "_control"),
    # Wires, decides nothing. `__init__` is the face: it only passes names on.
    ("_store_url", "_app", "_host", "_blocking", "__init__", "operations"),
    # Parses, calls, prints.
    ("cli",),
    ("__main__",),
    # A product of its own for tests; nothing that is shipped imports it.
    ("testing",),
)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}

PURE_LEVEL_MAX = 2
MAY_LOOK_OUTSIDE = {"_clock", "_ids", "_logging"}
OUTSIDE_MODULES = {
    *("anyio", "asyncio", "subprocess", "threading"),  # waiting
    *("aiosqlite", "asyncpg", "io", "os", "shutil", "socket", "sqlite3", "tempfile"),  # I/O
    *("logging", "structlog"),
    *("random", "secrets", "time"),  # chance and clocks
}
OUTSIDE_CALLS = {
    *("input", "open", "print"),
    *("date.today", "datetime.now", "datetime.utcnow"),
    *("datetime.date.today", "datetime.datetime.now", "datetime.datetime.utcnow"),
    *("uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4"),
}


@pytest.fixture(scope="module")
def imports(modules: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return what each module imports, by dotted names, type-only and late imports included."""
    known = {dotted(file) for file in modules}
    return {dotted(file): set(imported(file, tree, known)) for file, tree in modules.items()}


def dotted(file: str) -> str:
    _, *parts = file.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join(parts)


def imported(file: str, tree: ast.Module, known: set[str]) -> Iterator[str]:
    package = dotted(file) if file.endswith("__init__.py") else dotted(file).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in known else source


def entry(module: str) -> str:
    """Return the word of the table that a module of `backstory` belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def of_backstory(imports: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    for importer, targets in imports.items():
        if importer.split(".")[0] == "backstory":
            for target in sorted(targets):
                if target.split(".")[0] == "backstory":
                    yield importer, target


def test_every_module_of_backstory_has_a_level(imports: dict[str, set[str]]) -> None:
    ours = {entry(module) for module in imports if module.split(".")[0] == "backstory"}

    unknown = sorted(ours - LEVEL_OF.keys())

    assert not unknown, f"no level for {unknown}: give each its place in LEVELS, as low as it goes"


def test_imports_point_down(imports: dict[str, set[str]]) -> None:
    upward: list[str] = []

    for importer, target in of_backstory(imports):
        above, below = entry(importer), entry(target)
        if {above, below} <= LEVEL_OF.keys() and above != below and target != "backstory":
            distance = LEVEL_OF[above] - LEVEL_OF[below]
            # On one level modules may be neighbours; folders may not.
            folders = not above.startswith("_") and not below.startswith("_")
            if distance < 0 or (distance == 0 and folders):
                upward.append(f"{importer} imports {target}")

    assert not upward, "move what is needed down a level, or hand it in as a parameter"


def test_no_imports_run_in_circles(imports: dict[str, set[str]]) -> None:
    own = {module: targets & imports.keys() for module, targets in imports.items()}

    try:
        TopologicalSorter(own).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' → '.join(error.args[1])}")


def test_nothing_inside_backstory_imports_its_face(imports: dict[str, set[str]]) -> None:
    offenders = [importer for importer, target in of_backstory(imports) if target == "backstory"]

    assert not offenders, "import from the module that defines a name, not from the face"


def test_pure_levels_neither_wait_nor_look_outside(modules: dict[str, ast.Module]) -> None:
    impure = [
        f"{file}:{line}: {what}"
        for file, tree in modules.items()
        if file.startswith("framework/")
        and LEVEL_OF.get(entry(dotted(file)), PURE_LEVEL_MAX + 1) <= PURE_LEVEL_MAX
        and entry(dotted(file)) not in MAY_LOOK_OUTSIDE
        for line, what in impurities(tree)
    ]

    assert not impure, "hand in a Clock or an IdSource, or move it above the pure levels"


def impurities(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith() | ast.Await():
                yield node.lineno, "async"
            case ast.Import():
                names = {alias.name.split(".")[0] for alias in node.names}
                yield from ((node.lineno, f"import {name}") for name in names & OUTSIDE_MODULES)
            case ast.ImportFrom() if (node.module or "").split(".")[0] in OUTSIDE_MODULES:
                yield node.lineno, f"import {node.module}"
            case ast.Call() if ast.unparse(node.func) in OUTSIDE_CALLS:
                yield node.lineno, ast.unparse(node)
            case _:
                pass


def test_contracts_between_packages_hold(pytestconfig: pytest.Config) -> None:
    configuration = str(pytestconfig.rootpath / "pyproject.toml")

    status = lint_imports(configuration, no_cache=True, no_logo=True)

    # It has set up logging for itself, and so switched off every logger that was there.
    logging.getLogger("backstory").disabled = False
    assert status == 0, "the report that is captured below names the imports"
