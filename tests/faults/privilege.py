"""Permissions that hold for the superuser too."""

import ctypes
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import pytest

_VERSION_3: Final = 0x20080522
_OVERRIDE: Final = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
_EFFECTIVE: Final = 0


@contextmanager
def without_privilege() -> Generator[None]:
    """Let the permissions of files hold in this thread, and those that it begins, also for root.

    Skips the test where the superuser cannot give this up.
    """
    if sys.platform == "win32":
        pytest.skip("needs the permissions of POSIX")
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("needs Linux, or another user than root")
    before = _capabilities()
    after = list(before)
    after[_EFFECTIVE] &= ~_OVERRIDE
    _set_capabilities(after)
    try:
        yield
    finally:
        _set_capabilities(before)


def _call(name: str, data: Any) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    if getattr(library, name)(header, data):
        pytest.skip("needs capabilities of Linux, or another user than root")


def _capabilities() -> list[int]:
    data = (ctypes.c_uint32 * 6)()
    _call("capget", data)
    return list(data)


def _set_capabilities(words: list[int]) -> None:
    _call("capset", (ctypes.c_uint32 * 6)(*words))
