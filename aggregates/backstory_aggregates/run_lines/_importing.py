"""Recorded runs into a store: streamed, in batches, each line at most once."""

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from msgspec import Struct

from backstory import ANY, DuplicateEventError, EventStore, InvalidInputError, StreamAppend
from backstory_aggregates.run_lines._line import LINE_BYTES_MAX, parse_run_line
from backstory_aggregates.run_lines._mapping import run_line_event_id, to_new_event
from backstory_aggregates.run_lines._numbering import Numbering
from backstory_aggregates.run_lines._report import (
    BadRunLineError,
    ImportSummary,
    OnError,
    RunLineError,
)

_BATCH_LINE_COUNT: Final = 500
_BATCH_BYTES: Final = 7_000_000
"""A batch that has so many bytes is appended; as an event has 1 MB at most, none exceeds 8 MB."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


async def import_run_lines(
    store: EventStore, lines: Iterable[bytes], *, on_error: OnError = "stop"
) -> ImportSummary:
    """Append every line of recorded runs as an event, in the order of the lines.

    Memory is constant, however many lines there are. What was imported before is found again and
    not added twice, so after any interruption the whole file is simply imported again. A file may
    go on where the store ends. Blank lines are passed over.

    Args:
        store: An open store.
        lines: The lines, with or without their line breaks; see `read_run_lines` for files.
        on_error: Stop at the first bad line, or skip bad lines and say so in the summary.

    Returns:
        How many lines were read, added, present already and skipped.

    Raises:
        BadRunLineError: A line is none of the format, or the store refuses it, with `"stop"`.
        RunLineGapError: A line does not follow the one before it in its swarm.
        StoreUnavailableError: The store did not do it; some lines before may be in it.
        StoreClosedError: The store is not open.
    """
    importing = _Import(store, on_error)
    try:
        for number, text in enumerate(lines, 1):
            await importing.read(number, text)
        await importing.append_gathered()
    except RunLineError as error:
        error.summary = importing.summary
        raise
    return importing.summary


def read_run_lines(file: BinaryIO) -> Iterator[bytes]:
    """Iterate over the lines of a file, of which none takes more memory than a line may have.

    Of a line that is longer, its beginning is given, which `import_run_lines` refuses.
    """
    while text := file.readline(LINE_BYTES_MAX + 1):
        yield text
        while len(text) > LINE_BYTES_MAX and not text.endswith(b"\n"):
            text = file.readline(LINE_BYTES_MAX + 1)


class _Gathered(Struct, frozen=True):
    """A line that waits to be appended."""

    number: int
    append: StreamAppend


class _Import:
    """An import on its way."""

    def __init__(self, store: EventStore, on_error: OnError) -> None:
        self.summary = ImportSummary()
        self._store = store
        self._on_error = on_error
        self._numbering = Numbering()
        self._gathered: list[_Gathered] = []
        self._gathered_bytes = 0

    async def read(self, number: int, text: bytes) -> None:
        """Take in the next line."""
        if number == 1:
            text = text.removeprefix(_BYTE_ORDER_MARK)
        if not text.strip():
            return
        self.summary.line_count += 1
        try:
            line = parse_run_line(text)
            stream_id, event = to_new_event(line)
        except BadRunLineError as error:
            await self._refuse(number, error)
            return
        await self._follow(number, line.swarm, line.n)
        self._gathered.append(_Gathered(number, StreamAppend(stream_id, (event,), ANY)))
        self._gathered_bytes += len(event.data_json) + len(event.metadata_json)
        is_large = self._gathered_bytes >= _BATCH_BYTES
        if is_large or len(self._gathered) == _BATCH_LINE_COUNT:
            await self.append_gathered()

    async def _refuse(self, number: int, error: BadRunLineError) -> None:
        if error.swarm is None or error.n is None:
            self._numbering.pass_unread()
        elif self._on_error == "skip":
            await self._follow(number, error.swarm, error.n)
        await self._pass_over(error.at(number), number)

    async def _pass_over(self, error: BadRunLineError, number: int) -> None:
        if self._on_error == "stop":
            # What stands before a bad line is imported, whatever batch it is in.
            await self.append_gathered()
            raise error
        self.summary.skip(number, error.reason)

    async def _follow(self, number: int, swarm: str, n: int) -> None:
        """Count a line, or raise where it does not follow."""
        if n > 1 and not self._numbering.knows(swarm):
            await self._find_begin(swarm, n)
        try:
            self._numbering.accept(line=number, swarm=swarm, n=n)
        except RunLineError:
            await self.append_gathered()
            raise

    async def _find_begin(self, swarm: str, n: int) -> None:
        """Find where the store ends, as far back as unreadable lines may explain a gap."""
        earliest = max(0, n - 2 - self._numbering.unread_count)
        for known_n in range(n, earliest, -1):
            if await self._store.read_event(run_line_event_id(swarm, known_n)) is not None:
                self._numbering.begin(swarm, expected_n=min(n, known_n + 1))
                return

    async def append_gathered(self) -> None:
        """Append what waits."""
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered:
            await self._append(gathered)

    async def _append(self, gathered: Sequence[_Gathered]) -> None:
        head = await self._store.head()
        try:
            receipts = await self._store.append_many([line.append for line in gathered])
        except (DuplicateEventError, InvalidInputError) as error:
            await self._append_apart(gathered, error)
            return
        # A repetition is answered with its first receipt, which lies before this append.
        added_count = sum(receipt.first_position > head for receipt in receipts)
        self.summary.added_count += added_count
        self.summary.present_count += len(receipts) - added_count

    async def _append_apart(self, gathered: Sequence[_Gathered], error: Exception) -> None:
        """Append in halves what was refused as a whole, until the line at fault stands alone."""
        if len(gathered) > 1:
            middle = len(gathered) // 2
            await self._append(gathered[:middle])
            await self._append(gathered[middle:])
            return
        number = gathered[0].number
        await self._pass_over(BadRunLineError(reason=str(error), line=number), number)
