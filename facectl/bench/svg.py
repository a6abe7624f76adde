"""SVG charts: two axes with bars, lines, dots and labels.

CSS classes of the page set the colours, for light and dark mode. All text is
escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from facectl.bench.statistics import round_step

WIDTH, HEIGHT = 400.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 20.0, 14.0, 40.0
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from `low` to `high`; `ticks` are values with their labels."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    label: str

    def part(self, value: float) -> float:
        """The position of a value: 0 at `low`, 1 at `high`."""
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0


def linear(least: float, most: float, label: str, shown: Callable[[float], str]) -> Axis:
    """An axis with round ticks that contains both values."""
    step = round_step(max(most - least, 1e-9) / _TICKS)
    low = math.floor(least / step + 1e-9) * step
    count = max(1, math.ceil((most - low) / step - 1e-9))
    ticks = [(low + n * step, shown(low + n * step)) for n in range(count + 1)]
    return Axis(low, low + count * step, ticks, label)


def milliseconds(seconds: float) -> str:
    """Format seconds as milliseconds for an axis."""
    return f"{seconds * 1e3:g}" if seconds < 10 else f"{seconds * 1e3:.0f}"


def plain(value: float) -> str:
    """Format a number without trailing zeros."""
    return f"{round(value, 6):g}"


@dataclass
class Chart:
    """A chart; `alt` is its text alternative."""

    alt: str
    x: Axis
    y: Axis
    height: float = HEIGHT
    left: float = LEFT
    _marks: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The coordinates of a point in the SVG."""
        width, height = WIDTH - self.left - RIGHT, self.height - TOP - BOTTOM
        return (
            self.left + self.x.part(x) * width,
            self.height - BOTTOM - self.y.part(y) * height,
        )

    def bar(self, span: tuple[float, float], top: float, style: str, tooltip: str) -> None:
        """Add a bar over a range of x values."""
        (left, upper), (right, lower) = self.at(span[0], top), self.at(span[1], self.y.low)
        gap = min(1.0, (right - left) / 6)
        self._marks.append(
            f'<rect class="{style}" x="{left + gap / 2:.1f}" y="{upper:.1f}" '
            f'width="{max(0.5, right - left - gap):.1f}" height="{max(0.0, lower - upper):.1f}">'
            f"<title>{escape(tooltip)}</title></rect>"
        )

    def line(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """Add a line through the points."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        self._marks.append(f'<polyline class="{style}" points="{places}"/>')

    def dot(self, point: tuple[float, float], style: str, tooltip: str) -> None:
        """Add a dot with a tooltip."""
        x, y = self.at(*point)
        self._marks.append(
            f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="2.4">'
            f"<title>{escape(tooltip)}</title></circle>"
        )

    def cross(self, point: tuple[float, float], style: str, tooltip: str) -> None:
        """Add a cross with a tooltip."""
        x, y = self.at(*point)
        self._marks.append(
            f'<path class="{style}" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6">'
            f"<title>{escape(tooltip)}</title></path>"
        )

    def upright(self, x: float, style: str, label: str, row: int = 0) -> None:
        """Add a vertical line with a label at its top, in line `row` of the labels."""
        place, _ = self.at(x, self.y.low)
        left = place > WIDTH - 90
        anchor, shift = ("end", -4) if left else ("start", 4)
        self._marks.append(
            f'<path class="{style}" d="M{place:.1f} {TOP}V{self.height - BOTTOM:.1f}"/>'
            f'<text class="{style}-label" x="{place + shift:.1f}" y="{TOP + 9 + row * 14:.1f}" '
            f'text-anchor="{anchor}">{escape(label)}</text>'
        )

    def level(self, y: float, style: str, label: str) -> None:
        """Add a horizontal line with a label at its left end."""
        _, place = self.at(self.x.low, y)
        self._marks.append(
            f'<path class="{style}" d="M{self.left} {place:.1f}H{WIDTH - RIGHT}"/>'
            f'<text class="{style}-label" x="{self.left + 4:.1f}" y="{place - 4:.1f}">'
            f"{escape(label)}</text>"
        )

    def drawn(self) -> str:
        """The whole chart as an SVG element."""
        return svg(self.alt, self.height, self._frame() + "".join(self._marks))

    def _frame(self) -> str:
        parts = []
        bottom = self.height - BOTTOM
        for value, label in self.y.ticks:
            _, y = self.at(self.x.low, value)
            parts.append(
                f'<path class="grid" d="M{self.left} {y:.1f}H{WIDTH - RIGHT}"/>'
                + _text(self.left - 6, y + 4, "end", label)
            )
        for value, label in self.x.ticks:
            x, _ = self.at(value, self.y.low)
            parts.append(
                f'<path class="axis" d="M{x:.1f} {bottom}v4"/>'
                + _text(x, bottom + 16, "middle", label)
            )
        parts.append(
            f'<path class="axis" d="M{self.left} {bottom}H{WIDTH - RIGHT}"/>'
            f'<text class="name" x="{WIDTH - RIGHT}" y="{self.height - 6}" text-anchor="end">'
            f"{escape(self.x.label)}</text>"
        )
        return "".join(parts)


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def svg(alt: str, height: float, content: str) -> str:
    """An SVG element that scales to its container."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(alt)}">{content}</svg>'
    )
