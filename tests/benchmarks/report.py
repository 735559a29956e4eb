"""The report of a run, and its JSON."""

import msgspec
from msgspec import Struct
from tests.benchmarks.row import Result


class Report(Struct, frozen=True):
    """All of a run."""

    date: str
    """The day, in UTC."""
    machine: dict[str, str]
    rounds: int
    """How often ours and the other were run in turn."""
    results: list[Result]
    notes: list[str]


def to_json(report: Report) -> bytes:
    """Return the report with what follows from its values, for programs that read it."""
    whole = msgspec.to_builtins(report)
    for shown, result in zip(whole["results"], report.results, strict=True):
        low, high = result.spread
        shown |= {"figure": result.figure, "low": low, "high": high, "verdict": result.verdict}
    return msgspec.json.format(msgspec.json.encode(whole)) + b"\n"
