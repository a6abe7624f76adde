"""Line charts as inline SVG; the page's CSS sets the colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 16, 14, 46


@dataclass(frozen=True, slots=True)
class Series:
    """A line or a filled area. tone: `a`, `b` or `c`, a colour of the page."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    tone: str
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A dashed vertical line with a label."""

    x: float
    name: str


def chart(series: Sequence[Series], x_label: str, y_label: str, marks: Sequence[Mark] = ()) -> str:
    """An SVG of lines; both axes start at 0."""
    points = [value for one in series for value in one.x] + [mark.x for mark in marks]
    x_ticks = _ticks(max(points, default=1.0))
    y_ticks = _ticks(max((value for one in series for value in one.y), default=1.0))
    scale = _Scale(x_ticks[-1], y_ticks[-1])
    words = f"{y_label} by {x_label}: {', '.join(one.name for one in series)}"
    body = [
        *(_grid_y(scale, tick) for tick in y_ticks),
        *(_grid_x(scale, tick) for tick in x_ticks),
        *(_shape(scale, one) for one in series),
        *(_mark(scale, mark, line) for line, mark in enumerate(marks)),
        _label(f'x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}"', x_label),
        _label(f'transform="translate(14 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)"', y_label),
    ]
    legend = "".join(
        f'<span class="key"><i class="swatch {one.tone}"></i>{escape(one.name)}</span>'
        for one in series
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(words)}">'
        f'{"".join(body)}</svg><p class="legend">{legend}</p>'
    )


def histogram(values: Sequence[float], name: str, tone: str, bins: np.ndarray) -> Series:
    """A distribution as a filled outline: the share of values in each bin."""
    counts, edges = np.histogram(values, bins)
    shares = counts / max(1, len(values))
    x = np.repeat(edges, 2)[1:-1]
    y = np.repeat(shares, 2)
    return Series(name, [x[0], *x, x[-1]], [0.0, *y, 0.0], tone, filled=True)


@dataclass(frozen=True, slots=True)
class _Scale:
    x_max: float
    y_max: float

    def x(self, value: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(value / self.x_max, 1.0), 1)

    def y(self, value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / self.y_max, 1)


def _ticks(top: float) -> list[float]:
    """Four to eight round numbers from 0 to at least `top`."""
    if not top > 0:
        return [0.0, 1.0]
    power = 10.0 ** np.floor(np.log10(top))
    step = next(s * power for s in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if top / (s * power) <= 7)
    count = int(np.ceil(top / step - 1e-9))
    return [round(step * index, 10) for index in range(count + 1)]


def _label(place: str, text: str) -> str:
    return f'<text class="label" {place} text-anchor="middle">{escape(text)}</text>'


def _shape(scale: _Scale, one: Series) -> str:
    path = " ".join(f"{scale.x(x)},{scale.y(y)}" for x, y in zip(one.x, one.y, strict=True))
    kind = "area" if one.filled else "line"
    return f'<polyline class="{kind} {one.tone}" points="{path}"/>'


def _grid_x(scale: _Scale, tick: float) -> str:
    return (
        f'<text class="tick" x="{scale.x(tick)}" y="{_HEIGHT - _BOTTOM + 17}" '
        f'text-anchor="middle">{tick:g}</text>'
    )


def _grid_y(scale: _Scale, tick: float) -> str:
    y = scale.y(tick)
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text class="tick" x="{_LEFT - 7}" y="{y + 4}" text-anchor="end">{tick:g}</text>'
    )


def _mark(scale: _Scale, mark: Mark, line: int) -> str:
    x = scale.x(mark.x)
    left = x > _WIDTH * 0.7
    return (
        f'<line class="mark" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text class="tick" x="{x - 5 if left else x + 5}" y="{_TOP + 11 + 16 * line}" '
        f'text-anchor="{"end" if left else "start"}">{escape(mark.name)}</text>'
    )
