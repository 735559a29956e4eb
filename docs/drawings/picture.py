"""Pictures as SVG text: boxes, arrows and words, in the colour of the page's own text."""

from collections.abc import Iterable
from html import escape
from typing import Final

_FONT: Final = 'font-family="inherit" font-size="14" fill="currentColor" text-anchor="middle"'
_HEAD: Final = 8  # how long the head of an arrow is


def words(x: float, y: float, text: str) -> str:
    """Return a line of text around a point."""
    return f'<text x="{x}" y="{y}" dy="0.35em" {_FONT}>{escape(text)}</text>'


def box(x: float, y: float, width: float, height: float, text: str) -> str:
    """Return a rounded box with text in its middle."""
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6"'
    return f'{frame} fill="none" stroke="currentColor"/>' + words(
        x + width / 2, y + height / 2, text
    )


def arrow(*points: tuple[float, float]) -> str:
    """Return a line through points, level or plumb, with a head at the last one."""
    (x, y), (before_x, before_y) = points[-1], points[-2]
    along_x, along_y = _direction(x - before_x), _direction(y - before_y)
    back_x, back_y = x - along_x * _HEAD, y - along_y * _HEAD
    side_x, side_y = along_y * _HEAD / 2, along_x * _HEAD / 2
    head = [(x, y), (back_x + side_x, back_y + side_y), (back_x - side_x, back_y - side_y)]
    return (
        f'<polyline points="{_path(points)}" fill="none" stroke="currentColor"/>'
        f'<polygon points="{_path(head)}" fill="currentColor"/>'
    )


def _direction(distance: float) -> int:
    return (distance > 0) - (distance < 0)


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def picture(title: str, width: float, height: float, parts: Iterable[str]) -> str:
    """Return a whole picture, as Markdown for a page; the title is read to those who cannot see."""
    svg = (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="-1 -1 {width + 2} {height + 2}" '
        f'width="100%" style="max-width:{width}px" xmlns="http://www.w3.org/2000/svg">'
    )
    return "\n".join(["```{raw} html", svg, *parts, "</svg>", "```"])
