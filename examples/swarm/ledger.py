"""The ledger: what was found in which file, in one stream that all agents write to.

An aggregate of this program's own, beside those that come with Backstory. Agents that finish at the
same moment conflict over it, and the framework lets each of them decide again on what the other has
written. Its stream grows with every file, so it is loaded from a snapshot and what came behind it.
"""

from collections import Counter
from collections.abc import Mapping

from backstory import Aggregate, Event, on


class LedgerFileEntered(Event, type="ledger:file-entered"):
    """It was said what was found in a file."""

    path: str
    """The file."""
    findings: dict[str, int]
    """How many, by rule."""


class Ledger(Aggregate, category="ledger", snapshot_every=10):
    """What was found in the files of one swarm; its id is the swarm's."""

    files: dict[str, dict[str, int]] = {}
    """What was found in each file: how many, by rule."""

    def enter(self, *, path: str, findings: Mapping[str, int]) -> None:
        """Say what was found in a file; nothing happens where that stands there already."""
        if self.files.get(path) != findings:
            self.emit(LedgerFileEntered(path=path, findings=dict(findings)))

    @on(LedgerFileEntered)
    def _file_entered(self, event: LedgerFileEntered) -> None:
        self.files[event.path] = event.findings


def totals(ledger: Ledger) -> dict[str, int]:
    """Return how many findings there are, by rule, the most frequent first."""
    counter = sum((Counter(found) for found in ledger.files.values()), Counter[str]())
    return dict(counter.most_common())
