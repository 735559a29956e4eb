"""From a folder to a plan: the files to audit, and which of them must come before which.

An audit wants to know what its file can expect of the files that it imports, so these come first.
Imports may run in circles and tasks may not: a circle is cut open at the import that a walk from
the first file, in the order of the paths, would follow back to where it came from. The same folder
gives the same plan, whoever makes it.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from msgspec import Struct

from audit import Import, UnreadableError, imports, parse

SUFFIXES: Final = (".py", ".py.sample")
"""What is audited. A sample is a file to be copied and filled in, which no other tool looks at."""
_LEFT_OUT: Final = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages"})
_PATH_BYTES_MAX: Final = 512
"""A path becomes part of ids; a longer one, or one that is no text, is left out."""


class Source(Struct, frozen=True):
    """A file to audit."""

    path: str
    """From the folder on, with slashes."""
    links: dict[str, str]
    """The files behind the modules that it imports, by the modules' names as they are written."""

    @property
    def dependencies(self) -> list[str]:
        """The files that must be audited before, sorted."""
        return sorted(set(self.links.values()))


def make_plan(folder: Path) -> list[Source]:
    """Return the files under a folder, in the order of their paths.

    Raises:
        OSError: The folder cannot be read. A file that cannot be is planned all the same, without
            dependencies; its audit will say what is wrong with it.
    """
    index = _Index(folder, sorted(find_sources(folder)))
    links = {path: dict(_links(folder, path, index)) for path in index.paths}
    _cut_circles(links)
    return [Source(path, found) for path, found in links.items()]


def find_sources(folder: Path) -> Iterator[str]:
    """Yield the paths of the files to audit; what is hidden, built or installed is left out."""
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not _is_left_out(Path(place, name))]
        for name in files:
            path = Path(place, name).relative_to(folder).as_posix()
            if name.endswith(SUFFIXES) and not name.startswith(".") and _is_fit(path):
                yield path


def _raise(error: OSError) -> None:
    raise error


def _is_left_out(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name.endswith(".egg-info")
    return hidden or folder.name in _LEFT_OUT or (folder / "pyvenv.cfg").exists()


def _is_fit(path: str) -> bool:
    try:
        return len(path.encode()) <= _PATH_BYTES_MAX
    except UnicodeEncodeError:
        return False


class _Index:
    """Finds the file behind a module's name."""

    def __init__(self, folder: Path, paths: list[str]) -> None:
        self.paths = paths
        self._by_place = {_place(path): path for path in paths}
        self._by_name: dict[str, set[str]] = {}
        outside = _package_of(folder)
        for path in paths:
            place = PurePosixPath(_place(path))
            for name in {(*outside, *place.parts), self._parts_in_package(place)}:
                self._by_name.setdefault(".".join(name), set()).add(path)

    def _parts_in_package(self, place: PurePosixPath) -> tuple[str, ...]:
        """Return the name that a module has inside its outermost package."""
        root = place.parent
        while root.name and self._by_place.get(str(root), "").startswith(f"{root}/__init__."):
            root = root.parent
        return place.relative_to(root).parts

    def find(self, importer: str, module: str) -> str | None:
        """Return the file that `importer` means by a module's name, or None for one elsewhere."""
        name = module.lstrip(".")
        beside = PurePosixPath(importer).parent
        if level := len(module) - len(name):
            for _ in range(level - 1):
                beside = beside.parent
            return self._by_place.get(str(beside.joinpath(*filter(None, name.split(".")))))
        if name.partition(".")[0] in sys.stdlib_module_names:
            return None
        # A script sees what lies beside it; a name that several files could have means none.
        near = self._by_place.get(str(beside.joinpath(*name.split("."))))
        named = self._by_name.get(name, set())
        return near or (next(iter(named)) if len(named) == 1 else None)


def _place(path: str) -> str:
    """Return a path without its suffix; a package's folder stands for its `__init__`."""
    place = PurePosixPath(path.removesuffix(".sample").removesuffix(".py"))
    return str(place.parent if place.name == "__init__" else place)


def _package_of(folder: Path) -> tuple[str, ...]:
    """Return the name of the package that a folder is, if it is one."""
    if not (folder / "__init__.py").exists() or folder == folder.parent:
        return ()
    return (*_package_of(folder.parent), folder.name)


def _links(folder: Path, path: str, index: _Index) -> Iterator[tuple[str, str]]:
    try:
        found = list(imports(parse((folder / path).read_bytes())))
    except (UnreadableError, OSError):
        return
    for each in found:
        for module in _names(each):
            if (target := index.find(path, module)) is not None:
                if target != path:
                    yield module, target
                break


def _names(each: Import) -> list[str]:
    """Return the modules that an import may mean, the likeliest first."""
    return list(dict.fromkeys((each.whole, each.module)))


def _cut_circles(links: Mapping[str, dict[str, str]]) -> None:
    """Remove the links that lead a walk in depth back onto its own path."""
    done: set[str] = set()
    for first in links:
        path = {} if first in done else {first: _targets(links, first)}
        while path:
            here, targets = next(reversed(path.items()))
            target = next(targets, None)
            if target is None:
                done.add(here)
                del path[here]
            elif target in path:
                kept = {name: to for name, to in links[here].items() if to != target}
                links[here].clear()
                links[here].update(kept)
            elif target not in done:
                path[target] = _targets(links, target)


def _targets(links: Mapping[str, dict[str, str]], path: str) -> Iterator[str]:
    return iter(sorted(set(links[path].values())))
