"""What the clients of a store asked for and were answered, written down while it happens.

Every process has a history of its own: a file with one JSON object a line. A line is written before
an append is made and another one when its answer has come, so that a process that is killed has
said what it had begun. Later the histories are laid beside the log, and judged (`check_history`).

Lines go to the operating system at once and are not synced: they outlive the end of the process,
also by SIGKILL, and not a power cut. A kill may tear the last line. If it was an answer, the append
before it stands without one, and nobody can say whether it happened. If it was the line before an
append, the append was never made, because it begins when the line is written.

Times are those of `time.monotonic_ns`. On Linux and macOS that is one clock for all processes of a
machine, which is never set back and begins anew when the machine does. So histories can be judged
together that were written on one machine between two starts of it.
"""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct

from backstory._commit import AppendCondition, Batch, Receipt
from backstory._errors import (
    BackstoryError,
    ConflictError,
    CorruptLogError,
    InvalidInputError,
    StoreUnavailableError,
)
from backstory._filter import EventFilter
from backstory._pages import LogRead
from backstory._recorded import NewEvent, RecordedEvent
from backstory._snapshot import Checkpoint
from backstory._versions import ExpectedVersion


class Result(Enum):
    """What became of an append, as far as its client was told."""

    OK = "ok"
    """It happened."""
    CONFLICT = "conflict"
    """Another writer was first; nothing happened."""
    REFUSED = "refused"
    """The call was at fault; nothing happened."""
    FAILED = "failed"
    """The store did not do it; nothing happened."""
    UNKNOWN = "unknown"
    """It may have happened or not."""


class _Line(Struct, frozen=True, tag_field="line", tag=str.lower, omit_defaults=True):
    """A line of a history; its class says of what."""

    at_ns: int
    """When it was written."""


class InvokedEvent(Struct, frozen=True, array_like=True):
    """An event that is to be appended."""

    event_id: str
    digest: str
    """The `content_digest` of what it says."""


class InvokedPart(Struct, frozen=True):
    """What is to be appended to one stream."""

    stream_id: str
    expected_version: int | ExpectedVersion
    events: tuple[InvokedEvent, ...]


class Invoked(_Line, frozen=True):
    """An append begins."""

    number: int
    """By which its answer names it."""
    parts: tuple[InvokedPart, ...]
    condition: AppendCondition | None = None

    @property
    def event_ids(self) -> tuple[str, ...]:
        """The ids of all its events, in order."""
        return tuple([event.event_id for part in self.parts for event in part.events])


class Answered(_Line, frozen=True):
    """The answer to an append has come."""

    number: int
    result: Result
    receipts: tuple[Receipt, ...] = ()
    error: str = ""
    is_documented: bool = True
    """Whether the error is one of ours."""


class Followed(_Line, frozen=True):
    """A read of the log, or a subscription, begins."""

    number: int
    after_position: int
    until_position: int | None
    where: EventFilter
    backward: bool = False
    limit: int | None = None
    is_live: bool = False
    """Whether it is a subscription."""


class Received(_Line, frozen=True):
    """A reader or a subscriber was handed an event."""

    number: int
    position: int
    stream_id: str
    version: int
    event_id: str
    digest: str


class Ended(_Line, frozen=True):
    """A read has come to its end."""

    number: int


class Checkpointed(_Line, frozen=True):
    """A checkpoint was saved, or loaded."""

    projection: str
    position: int
    fingerprint: str
    model_json: str


class Opened(_Line, frozen=True):
    """The store was opened; or it could not be, and `error` says why."""

    begun_at_ns: int
    head: int = 0
    error: str = ""
    is_documented: bool = True


class Failed(_Line, frozen=True):
    """A call other than an append raised an error."""

    verb: str
    error: str
    is_documented: bool


class Measured(_Line, frozen=True):
    """What the process held."""

    file_count: int | None
    """Open files; None where the system does not say."""
    task_count: int
    """Tasks of the event loop that are not done."""


class Closed(_Line, frozen=True):
    """The history ends here, in good order."""


Line = (
    Invoked
    | Answered
    | Followed
    | Received
    | Ended
    | Checkpointed
    | Opened
    | Failed
    | Measured
    | Closed
)

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Line)


def content_digest(event: NewEvent | RecordedEvent) -> str:
    """Return the sha256, in hexadecimal digits, of what an event says: type, schema version,
    metadata and data, with a NUL between each two.
    """  # noqa: D205 - the sentence is longer than a line
    said = (
        event.type.encode(),
        str(event.schema_version).encode(),
        event.metadata_json,
        event.data_json,
    )
    return hashlib.sha256(b"\0".join(said)).hexdigest()


class History(Struct, frozen=True):
    """What one client wrote down; from `read_history`."""

    name: str
    """Whose it is: the name of the file without its ending."""
    lines: tuple[Line, ...]
    """What happened, in order."""


def read_history(path: str | os.PathLike[str]) -> History:
    """Return a history; a last line that a kill has torn is left out.

    Raises:
        InvalidInputError: Another line is none of a history.
    """
    *whole, _torn = Path(path).read_bytes().split(b"\n")
    return History(Path(path).stem, tuple([_line(path, *line) for line in enumerate(whole, 1)]))


def _line(path: str | os.PathLike[str], number: int, text: bytes) -> Line:
    try:
        line: Line = _decoder.decode(text)
    except (msgspec.MsgspecError, InvalidInputError) as error:
        where = f"{os.fspath(path)}, line {number}"
        raise InvalidInputError(argument="history", found=where, reason=str(error)) from error
    return line


class HistoryWriter:
    """Writes the history of one client.

        with HistoryWriter(folder / f"{os.getpid()}.jsonl") as history:
            async with WitnessedStore(SQLiteStore("story.db"), history) as store:
                ...

    A `WitnessedStore` writes all there is to write, but for `measure`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Begin a history.

        Args:
            path: Its file, which must not exist: each run of a client has one of its own.
            clock_ns: What times are taken from, in nanoseconds; the same clock for all clients.

        Raises:
            InvalidInputError: The file exists.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileExistsError:
            reason = "exists; give each run of a client a history of its own"
            raise InvalidInputError(
                argument="history", found=os.fspath(path), reason=reason
            ) from None
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self._clock_ns = clock_ns
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the history; twice is harmless. What was begun must have its answer by now."""
        if not self._file.closed:
            self._write(Closed(self._clock_ns()))
            self._file.close()

    def measure(self) -> None:
        """Note how many files and tasks are open.

        The first measure of a history is what later ones are held against: measure before the store
        is opened and after it is closed, where nothing else is left open in between.
        """
        file_count = _open_file_count()
        try:
            task_count = len(asyncio.all_tasks())
        except RuntimeError:  # no event loop runs
            task_count = 0
        self._write(Measured(self._clock_ns(), file_count, task_count))

    def invoked(self, batch: Batch) -> int:
        """Note that an append begins; return its number."""
        parts = tuple(
            InvokedPart(
                part.stream_id,
                part.expected_version,
                tuple(InvokedEvent(event.event_id, content_digest(event)) for event in part.events),
            )
            for part in batch.appends
        )
        number = self._next()
        self._write(Invoked(self._clock_ns(), number, parts, batch.condition))
        return number

    def done(self, number: int, receipts: tuple[Receipt, ...]) -> None:
        """Note that an append was acknowledged."""
        self._write(Answered(self._clock_ns(), number, Result.OK, receipts))

    def not_done(self, number: int, error: BaseException) -> None:
        """Note that an append raised an error, or was cancelled."""
        self._write(
            Answered(
                self._clock_ns(),
                number,
                result_of(error),
                error=_said(error),
                is_documented=_is_documented(error),
            )
        )

    def followed(self, read: LogRead, *, limit: int | None, is_live: bool) -> int:
        """Note that a read of the log or a subscription begins; return its number."""
        number = self._next()
        self._write(
            Followed(
                self._clock_ns(),
                number,
                read.after_position,
                read.until_position,
                read.where,
                read.backward,
                limit,
                is_live,
            )
        )
        return number

    def received(self, number: int, recorded: RecordedEvent) -> None:
        """Note that an event was handed out."""
        self._write(
            Received(
                self._clock_ns(),
                number,
                recorded.position,
                recorded.stream_id,
                recorded.version,
                recorded.event_id,
                content_digest(recorded),
            )
        )

    def ended(self, number: int) -> None:
        """Note that a read has come to its end."""
        self._write(Ended(self._clock_ns(), number))

    def checkpointed(self, checkpoint: Checkpoint) -> None:
        """Note that a checkpoint was saved or loaded."""
        self._write(
            Checkpointed(
                self._clock_ns(),
                checkpoint.projection,
                checkpoint.position,
                checkpoint.fingerprint,
                checkpoint.model_json.decode(errors="replace"),
            )
        )

    def opening(self) -> int:
        """Return the time, for `opened` and `not_opened`."""
        return self._clock_ns()

    def opened(self, begun_at_ns: int, *, head: int) -> None:
        """Note that the store is open, and where its log ends."""
        self._write(Opened(self._clock_ns(), begun_at_ns, head))

    def not_opened(self, begun_at_ns: int, error: BaseException) -> None:
        """Note that the store could not be opened."""
        self._write(
            Opened(
                self._clock_ns(),
                begun_at_ns,
                error=_said(error),
                is_documented=_is_documented(error),
            )
        )

    def failed(self, verb: str, error: BaseException) -> None:
        """Note that a call other than an append raised an error."""
        self._write(Failed(self._clock_ns(), verb, _said(error), _is_documented(error)))

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _write(self, line: Line) -> None:
        text = _encoder.encode(line) + b"\n"
        while text:
            text = text[self._file.write(text) :]


def result_of(error: BaseException) -> Result:
    """Return what an error says about the append that raised it."""
    match error:
        case ConflictError():
            return Result.CONFLICT
        case StoreUnavailableError(outcome_unknown=True):
            return Result.UNKNOWN
        case StoreUnavailableError() | CorruptLogError():
            return Result.FAILED
        case BackstoryError():
            return Result.REFUSED
        case _:  # a cancellation, or an error that nobody promised
            return Result.UNKNOWN


def _is_documented(error: BaseException) -> bool:
    # What is no Exception, such as a cancellation, comes from the client and not from the store.
    return isinstance(error, BackstoryError) or not isinstance(error, Exception)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _open_file_count() -> int | None:
    """Return how many files this process has open; None where the system does not say."""
    descriptors = Path("/proc/self/fd")
    try:
        names = list(descriptors.iterdir())
    except OSError:
        return None
    return sum(map(_is_lasting, names))


def _is_lasting(descriptor: Path) -> bool:
    # What lies in /proc is opened for a moment: by this look, and by the C library, which reads
    # a setting there when a thread has ended. And what is closed meanwhile is open no more.
    try:
        return not str(descriptor.readlink()).startswith("/proc/")
    except OSError:
        return False
