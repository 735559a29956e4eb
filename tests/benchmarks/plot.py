"""A picture of a report: each ratio with its spread, and its target."""

from importlib import import_module
from pathlib import Path
from typing import Any

from tests.benchmarks.report import Report


def plot(report: Report, path: Path) -> None:
    """Draw the rows that have a ratio.

    Args:
        report: What to draw.
        path: Where to; its end says as what: `.png`, `.svg` or `.pdf`.

    Raises:
        ImportError: Matplotlib is not installed; the group `bench` of pyproject.toml has it.
    """
    figure: Any = import_module("matplotlib.figure").Figure(
        figsize=(9, 0.5 + 0.4 * len(report.results)), layout="constrained"
    )
    axes = figure.subplots()
    results = [result for result in reversed(report.results) if result.row.against]
    for height, result in enumerate(results):
        low, high = result.spread
        axes.plot([low, high], [height, height], color="silver", linewidth=6)
        axes.plot(result.figure, height, "o", color="black")
        if result.row.target is not None:
            axes.plot(result.row.target.bound, height, "|", color="red", markersize=16)
    axes.set_yticks(
        range(len(results)), [_label(result.row.name, result.row.against) for result in results]
    )
    axes.set_ylim(-0.5, len(results) - 0.5)
    axes.set_xscale("log")
    ticker: Any = import_module("matplotlib.ticker")
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.FormatStrFormatter("%g"))
    axes.set_xlabel("ours to the other; a red line is the target")
    figure.savefig(path)


def _label(name: str, against: str) -> str:
    return f"{name} / {against}"
