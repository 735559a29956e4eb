"""Event ids that are the same in every run."""

from uuid import UUID


class SequentialIds:
    """An `IdSource` that counts: its ids are UUIDs that end in 1, 2, 3 and so on.

        repository = Repository(store, ids=SequentialIds())

    It is one for one store: another one would give the same ids again.
    """

    def __init__(self) -> None:
        self._count = 0

    def new(self) -> str:
        """Return the next id, in its written form."""
        self._count += 1
        return str(UUID(int=(0x7 << 76) | (0b10 << 62) | self._count))
