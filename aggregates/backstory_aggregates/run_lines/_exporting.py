"""Recorded runs out of a store: the events of swarms as lines, in the order of the log.

The numbers: a line that was imported keeps its n. An event that never was a line, because a program
of one's own emitted it, gets the number behind the largest one that its swarm has had so far. So
what was imported comes back as it was, and what was lived through comes out as 1, 2, 3 …

Where a swarm has both, or where lines were skipped or mended, the numbers of a swarm may jump, fall
back or stand twice. Then the export is as complete as ever, and an import of it would stop at such
a line; `stray_count` says how many there are.
"""

from collections.abc import AsyncIterator

from msgspec.structs import replace

from backstory import EventStore, where
from backstory_aggregates.run_lines._line import RunLine, format_run_line
from backstory_aggregates.run_lines._mapping import to_line
from backstory_aggregates.run_lines._plan import CATEGORIES


class RunLineExport:
    """The lines of a store, each with its line break; iterate over it, once, with `async for`.

    Memory is constant, however long the log is.
    """

    def __init__(self, store: EventStore, *, until_position: int | None = None) -> None:
        self._store = store
        self._until_position = until_position
        self._last_n: dict[str, int] = {}
        self.line_count = 0
        """Lines given so far."""
        self.left_out_count = 0
        """Events of agents, tasks, memories and swarms that are no lines: of no swarm, or of a type
        that the format does not have."""
        self.stray_count = 0
        """Lines whose number does not follow the one before in their swarm."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the lines, in the order of the log.

        Raises:
            DecodeError: An event does not fit its class.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        log = self._store.read_log(
            until_position=self._until_position, where=where(categories=CATEGORIES)
        )
        async for recorded in log:
            line = to_line(recorded)
            if line is None:
                self.left_out_count += 1
                continue
            self.line_count += 1
            yield format_run_line(self._numbered(line)) + b"\n"

    def _numbered(self, line: RunLine) -> RunLine:
        last = self._last_n.get(line.swarm, 0)
        if not line.n:
            line = replace(line, n=last + 1)
        elif line.n != last + 1:
            self.stray_count += 1
        self._last_n[line.swarm] = max(last, line.n)
        return line


def export_run_lines(store: EventStore, *, until_position: int | None = None) -> RunLineExport:
    """Return the lines of a store, to be iterated over with `async for`.

    Args:
        store: An open store.
        until_position: As if the log ended at this position; None for its end.
    """
    return RunLineExport(store, until_position=until_position)
