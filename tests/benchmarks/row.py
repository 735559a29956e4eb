"""A row of the table: what is measured, what it is held against, and what it shall reach."""

import math
import statistics
from collections.abc import Sequence

from msgspec import Struct


class Target(Struct, frozen=True):
    """A bound for the median of a row's figures."""

    bound: float
    is_least: bool
    """Whether more is better."""

    def is_met(self, figure: float) -> bool:
        """Tell whether a figure is on the right side of the bound."""
        return figure >= self.bound if self.is_least else figure <= self.bound

    def __str__(self) -> str:
        return f"{'at least' if self.is_least else 'at most'} {self.bound:g}"


def at_least(bound: float) -> Target:
    """Return the target that a figure is this much, or more."""
    return Target(bound, is_least=True)


def at_most(bound: float) -> Target:
    """Return the target that a figure is this much, or less."""
    return Target(bound, is_least=False)


class Row(Struct, frozen=True):
    """What is measured."""

    name: str
    unit: str
    """Of what both sides are quoted in: a rate ends in `/s`, a time is in `ms`."""
    against: str = "raw"
    """What ours is held against; empty where the figure stands for itself."""
    target: Target | None = None

    def value(self, count: int, seconds: float) -> float:
        """Return what doing something `count` times in `seconds` is in the unit of the row."""
        return count / seconds if self.unit.endswith("/s") else seconds / count * 1_000


class Result(Struct, frozen=True):
    """What came out."""

    row: Row
    size: str
    """Of what size it was."""
    ours: list[float]
    """One value for each round, in the unit of the row."""
    other: list[float] = []
    """The same of what ours is held against, pair by pair."""

    @property
    def figures(self) -> list[float]:
        """What is judged: the ratio of each pair or, alone, the values; sorted."""
        if not self.row.against:
            return sorted(self.ours)
        return sorted(a / b for a, b in zip(self.ours, self.other, strict=True))

    @property
    def figure(self) -> float:
        """The median of the figures."""
        return statistics.median(self.figures)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest figure."""
        return self.figures[0], self.figures[-1]

    @property
    def verdict(self) -> str:
        """`met` or `missed`; empty without a target."""
        if self.row.target is None:
            return ""
        return "met" if self.row.target.is_met(self.figure) else "missed"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of all values does not exceed.

    Args:
        values: One or more.
        share: From 0 to 1; 0.99 for what is often called p99.
    """
    rank = math.ceil(share * len(values))
    return sorted(values)[max(rank, 1) - 1]
