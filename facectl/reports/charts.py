"""SVG charts: two axes with bars, lines, areas, dots and labels, or rows of spans.

CSS classes of `facectl/reports/templates/style.css` set the colours, for light and dark
mode. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from facectl.bench.statistics import round_step

Point = tuple[float, float]

_WIDTH, _HEIGHT = 400.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 20.0, 24.0, 40.0
_TICKS = 5
# Rows of spans: height of a row, width of the labels and of the values beside the bars.
_ROW, _LABELS, _VALUES = 25.0, 140.0, 58.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its title. `keys`: its legend, as (CSS class, sign, meaning)."""

    title: str
    svg: str
    caption: str = ""
    keys: Sequence[tuple[str, str, str]] = ()


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


def plain(value: float) -> str:
    """Format a number without trailing zeros."""
    return f"{round(value, 6):g}"


def linear(least: float, most: float, label: str, shown: Callable[[float], str] = plain) -> Axis:
    """An axis with round ticks that contains both values."""
    step = round_step(max(most - least, 1e-9) / _TICKS)
    low = math.floor(least / step + 1e-9) * step
    count = max(1, math.ceil((most - low) / step - 1e-9))
    ticks = [(low + n * step, shown(low + n * step)) for n in range(count + 1)]
    return Axis(low, low + count * step, ticks, label)


@dataclass
class Chart:
    """A chart with two axes; `alt` is its text alternative."""

    alt: str
    x: Axis
    y: Axis
    _marks: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """The coordinates of a point in the SVG."""
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return _LEFT + self.x.part(x) * width, _HEIGHT - _BOTTOM - self.y.part(y) * height

    def bar(self, span: Point, top: float, style: str, tooltip: str) -> None:
        """Add a bar over a range of x values."""
        (left, upper), (right, lower) = self.at(span[0], top), self.at(span[1], self.y.low)
        gap = min(1.0, (right - left) / 6)
        size = f'width="{max(0.5, right - left - gap):.1f}" height="{max(0.0, lower - upper):.1f}"'
        place = f'x="{left + gap / 2:.1f}" y="{upper:.1f}" {size}'
        self._marks.append(f'<rect class="{style}" {place}>{_tooltip(tooltip)}</rect>')

    def line(self, points: Sequence[Point], style: str) -> None:
        """Add a line through the points; a style may fill it as an area."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        self._marks.append(f'<polyline class="{style}" points="{places}"/>')

    def dot(self, point: Point, style: str, tooltip: str) -> None:
        """Add a dot with a tooltip."""
        x, y = self.at(*point)
        place = f'cx="{x:.1f}" cy="{y:.1f}" r="2.4"'
        self._marks.append(f'<circle class="{style}" {place}>{_tooltip(tooltip)}</circle>')

    def cross(self, point: Point, style: str, tooltip: str) -> None:
        """Add a cross with a tooltip."""
        x, y = self.at(*point)
        shape = f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"
        self._marks.append(f'<path class="{style}" d="{shape}">{_tooltip(tooltip)}</path>')

    def vertical(self, x: float, label: str, row: int = 0) -> None:
        """Add a vertical line with a label at its top, in line `row` of the labels."""
        place, _ = self.at(x, self.y.low)
        self._marks.append(_path("mark", f"M{place:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"))
        anchor, shift = ("end", -4) if place > _WIDTH * 0.7 else ("start", 4)
        self._marks.append(_text((place + shift, _TOP + 9 + row * 14), anchor, label, "mark-label"))

    def horizontal(self, y: float, label: str) -> None:
        """Add a horizontal line, a limit, with a label at its left end."""
        _, place = self.at(self.x.low, y)
        self._marks.append(_path("limit", f"M{_LEFT} {place:.1f}H{_WIDTH - _RIGHT}"))
        self._marks.append(_text((_LEFT + 4, place - 4), "start", label, "limit-label"))

    def svg(self) -> str:
        """The whole chart as an SVG element."""
        return _svg(self.alt, _HEIGHT, [*self._frame(), *self._marks])

    def _frame(self) -> list[str]:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        parts = []
        for value, label in self.y.ticks:
            _, y = self.at(self.x.low, value)
            parts.append(_path("grid", f"M{_LEFT} {y:.1f}H{right}"))
            parts.append(_text((_LEFT - 6, y + 4), "end", label))
        for value, label in self.x.ticks:
            x, _ = self.at(value, self.y.low)
            parts.append(_path("axis", f"M{x:.1f} {bottom}v4"))
            parts.append(_text((x, bottom + 16), "middle", label))
        parts.append(_path("axis", f"M{_LEFT} {bottom}H{right}"))
        parts.append(_text((right, _HEIGHT - 6), "end", self.x.label))
        parts.append(_text((4, 11), "start", self.y.label))
        return parts


@dataclass(frozen=True, slots=True)
class Span:
    """A bar of a row chart: where it begins, its length, and the label at its right end.

    `other`: begin and length of a thin bar below it.
    """

    name: str
    begin: float
    length: float
    value: str
    style: str
    other: Point | None = None


def rows(alt: str, spans: Sequence[Span]) -> str:
    """A chart with one row for each span; the longest row fills its width."""
    bars = [bar for span in spans for bar in ((span.begin, span.length), span.other) if bar]
    longest = max((begin + length for begin, length in bars), default=0.0)
    scale = (_WIDTH - _LABELS - _VALUES) / max(longest, 1e-9)
    parts = []
    for number, span in enumerate(spans):
        top = number * _ROW
        parts.append(_text((_LABELS - 6, top + 15), "end", span.name))
        parts.append(_row_bar((span.begin, span.length), scale, (top + 4, 14), span.style))
        end = _LABELS + (span.begin + span.length) * scale + 5
        parts.append(_text((end, top + 15), "start", span.value))
        if span.other is not None:
            parts.append(_row_bar(span.other, scale, (top + 19, 3), "baseline"))
    return _svg(alt, len(spans) * _ROW + 6, parts)


def _row_bar(bar: Point, scale: float, place: Point, style: str) -> str:
    (begin, length), (top, height) = bar, place
    left, width = _LABELS + max(0.0, begin) * scale, max(0.8, length * scale)
    return (
        f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" rx="1.5" '
        f'width="{width:.1f}" height="{height}"/>'
    )


def _path(style: str, shape: str) -> str:
    return f'<path class="{style}" d="{shape}"/>'


def _text(place: Point, anchor: str, text: str, style: str = "") -> str:
    named = f'class="{style}" ' if style else ""
    x, y = place
    return f'<text {named}x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _tooltip(text: str) -> str:
    return f"<title>{escape(text)}</title>"


def _svg(alt: str, height: float, parts: Sequence[str]) -> str:
    """An SVG element that scales to its container."""
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(alt)}">{"".join(parts)}</svg>'
    )
