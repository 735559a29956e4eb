"""Who owns a name, such as a projection's: one store at a time, over all processes on a file.

A name is owned by a lock on a file of its own, beside the database. The lock goes with its process:
when the owner is killed, the next one who asks has it. A forked child has a part in it for as long
as it lives; so who closes lets go of the lock itself, and not only of the file.
"""

import hashlib
import os
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from backstory.stores.sqlite._turn import open_beside


class Ownership:
    """The names that one open store owns."""

    def __init__(self, path: Path) -> None:
        """Own nothing yet; `path` is the database file."""
        self._path = path
        self._descriptors: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """Tell whether the name is owned here, and own it if nobody else does.

        Raises:
            OSError: Its lock file could not be opened.
        """
        if name in self._descriptors:
            return True
        # Not the name itself, which may be anything: no path, too long, another one's in capitals.
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        descriptor = open_beside(self._path, f"owner-{digest}")
        if lock_descriptor(descriptor, blocking=False):
            self._descriptors[name] = descriptor
            return True
        os.close(descriptor)
        return False

    def close(self) -> None:
        """Own nothing any more."""
        for descriptor in self._descriptors.values():
            unlock_descriptor(descriptor)
            os.close(descriptor)
        self._descriptors.clear()
