"""A peer: another way to do the same things, and what it is asked for."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar


class Peer(ABC):
    """A library on a file in a folder of its own; `open` comes first and `aclose` last."""

    name: ClassVar[str]
    setting: ClassVar[str]
    """How it is set up, for the page."""

    @abstractmethod
    async def open(self, folder: Path) -> None:
        """Make a store on a file."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of it."""

    @abstractmethod
    async def append_one_by_one(self, append_count: int) -> None:
        """Append one event after the other to one stream, each durable before the next."""

    @abstractmethod
    async def append_at_once(self, writer_count: int, append_count: int) -> None:
        """Do so from many tasks or threads, each to a stream of its own."""

    @abstractmethod
    async def append_batch(self, event_count: int) -> None:
        """Append so many events in one transaction, to a stream that `load` then loads."""

    @abstractmethod
    async def load(self, event_count: int) -> None:
        """Load the aggregate of that stream, which has so many events, without a snapshot."""

    @abstractmethod
    async def replay(self) -> int:
        """Read the log from its beginning, each event as an object; return how many there are."""
