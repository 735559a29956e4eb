"""What an import has to say: its summary, and why it stopped.

    RunLineError                  an import of run lines stopped; `summary` says how far it came
    ├── BadRunLineError           a line is none of the format, or the store refuses it
    └── RunLineGapError           a swarm's lines do not follow one another

Whatever stood before the named line is in the store. Importing again adds it no second time, so the
way on is always the same: mend the file, and import it again.
"""

from typing import Final, Literal

from msgspec import Struct

from backstory import BackstoryError

SKIPPED_LINE_COUNT_MAX: Final = 100
"""Skipped lines that a summary names; more are only counted."""

OnError = Literal["stop", "skip"]
"""What to do about a bad line."""


class SkippedLine(Struct, frozen=True):
    """A line that an import passed over."""

    line: int
    """Its number in the file, from 1."""
    reason: str
    """What is wrong with it."""


class ImportSummary(Struct):
    """How far an import has come."""

    line_count: int = 0
    """Lines read; blank ones do not count."""
    added_count: int = 0
    """Lines that were added as events. Exact when nobody else imports them at the same moment."""
    present_count: int = 0
    """Lines that the store had already."""
    skipped_count: int = 0
    """Bad lines that were passed over."""
    skipped: list[SkippedLine] = []
    """The first 100 of them."""

    def skip(self, line: int, reason: str) -> None:
        """Count a line that is passed over."""
        self.skipped_count += 1
        if len(self.skipped) < SKIPPED_LINE_COUNT_MAX:
            self.skipped.append(SkippedLine(line, reason))


class RunLineError(BackstoryError):
    """An import of run lines stopped; all lines before the named one are in the store."""

    summary: ImportSummary | None = None
    """How far the import came; None outside an import."""


class BadRunLineError(RunLineError, ValueError):
    """A line is none of the format, or says what the store cannot keep; it was not added."""

    def __init__(
        self,
        *,
        reason: str,
        line: int | None = None,
        swarm: str | None = None,
        n: int | None = None,
    ) -> None:
        where = "run line" if line is None else f"line {line}"
        super().__init__(f"{where}: {reason}")
        self.reason = reason
        """What is wrong with it and what would be right."""
        self.line = line
        """Its number in the file, from 1; None outside an import."""
        self.swarm = swarm
        """Its swarm, where that could be read."""
        self.n = n
        """Its number in the swarm, where that could be read."""

    def at(self, line: int) -> "BadRunLineError":
        """Return the same error with the line's number in the file."""
        return BadRunLineError(reason=self.reason, line=line, swarm=self.swarm, n=self.n)


class RunLineGapError(RunLineError):
    """A line does not follow the one before it in its swarm; it was not added."""

    def __init__(self, *, line: int, swarm: str, expected_n: int, found_n: int) -> None:
        super().__init__(
            f"line {line}: swarm {swarm!r} goes on with n {found_n}, expected {expected_n}; "
            "import the lines in between first, or restore their order"
        )
        self.line = line
        """The line's number in the file, from 1."""
        self.swarm = swarm
        """The swarm."""
        self.expected_n = expected_n
        """The number that follows in the swarm."""
        self.found_n = found_n
        """The number that the line has."""
