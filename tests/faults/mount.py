"""Small disks of memory, mounted inside a test's own folder."""

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_MOUNT: Final = shutil.which("mount")
_UMOUNT: Final = shutil.which("umount")


@contextmanager
def mounted(folder: Path, *options: str) -> Generator[Path]:
    """Mount a tmpfs on a new folder, and take it away again; skip the test where that cannot be."""
    if _MOUNT is None or _UMOUNT is None or os.geteuid() != 0:
        pytest.skip("needs root, mount and tmpfs")
    folder.mkdir()
    command = [_MOUNT, "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs root, mount and tmpfs")
    try:
        yield folder
    finally:
        if subprocess.run([_UMOUNT, str(folder)], check=False).returncode:
            # Something there is still open, which is a fault; the folder goes all the same.
            subprocess.run([_UMOUNT, "--lazy", str(folder)], check=True)
            pytest.fail("a file on the disk is still open")


def remount(folder: Path, option: str) -> None:
    """Change a mounted folder."""
    command = [str(_MOUNT), "-o", f"remount,{option}", str(folder)]
    subprocess.run(command, check=True)
