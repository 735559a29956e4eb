"""Whether the lines of each swarm follow one another.

The rules:

- In each swarm n goes 1, 2, 3 …, or goes on from what the store has.
- A bad line takes its n with it, if swarm and n could be read: exactly that one.
- A bad line of which they could not be read may have been any, so it explains one missing n, once,
  in whichever swarm misses it first.
- Everything else is an error. A line that is missing is a fact that is lost, and what comes behind
  it would tell a story that did not happen.
"""

from backstory_aggregates.run_lines._report import RunLineGapError


class Numbering:
    """Counts along. It holds one number for each swarm, however long the file is."""

    def __init__(self) -> None:
        self._expected: dict[str, int] = {}
        self.unread_count = 0
        """Lines that could not be read and have not explained a gap yet."""

    def knows(self, swarm: str) -> bool:
        """Tell whether a swarm has begun."""
        return swarm in self._expected

    def begin(self, swarm: str, *, expected_n: int) -> None:
        """Let a swarm go on where the store ends."""
        self._expected[swarm] = expected_n

    def accept(self, *, line: int, swarm: str, n: int) -> None:
        """Count a line of which swarm and n could be read.

        Raises:
            RunLineGapError: It does not follow.
        """
        expected = self._expected.get(swarm, 1)
        missing = n - expected
        if not 0 <= missing <= self.unread_count:
            raise RunLineGapError(line=line, swarm=swarm, expected_n=expected, found_n=n)
        self.unread_count -= missing
        self._expected[swarm] = n + 1

    def pass_unread(self) -> None:
        """Count a line that could not be read."""
        self.unread_count += 1
