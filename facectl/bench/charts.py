"""The charts of a benchmark report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from facectl.bench.recorder import FrameTiming
from facectl.bench.report import BenchmarkReport
from facectl.bench.stages import FUNCTIONS, STAGES, WORDS
from facectl.bench.statistics import histogram, round_step
from facectl.bench.svg import WIDTH, Axis, Chart, linear, milliseconds, plain, svg
from facectl.summary import percentile

_BINS = 30
_SPANS = 40
# A browser draws more dots slowly: the slowest and cold frames are kept, the rest is sampled.
_MOST_DOTS = 3000
_NINES = ((0.0, "0"), (50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"), (99.99, "99.99"))
_ROW = 25.0
_LABELS = 140.0
_VALUES = 58.0


def latencies(report: BenchmarkReport) -> list[float]:
    """Seconds end to end of the answered frames, ascending."""
    return sorted(s.latency for s in report.run.samples if s.latency is not None)


def distribution(report: BenchmarkReport) -> str:
    """A histogram of the latencies."""
    ordered = latencies(report)
    bins = histogram(ordered, _BINS)
    chart = Chart(
        f"histogram of {len(ordered)} end-to-end times",
        linear(bins[0].low, bins[-1].high, "ms end to end", milliseconds),
        linear(0, max(each.count for each in bins), "frames", plain),
    )
    for each in bins:
        if each.count:
            span = f"{milliseconds(each.low)} to {milliseconds(each.high)} ms"
            chart.bar((each.low, each.high), each.count, "bar", f"{span}: {each.count} frames")
    mean, p99 = sum(ordered) / len(ordered), percentile(ordered, 99)
    chart.upright(mean, "mark", f"mean {_ms(mean)}")
    chart.upright(p99, "mark", f"p99 {_ms(p99)}", row=1)
    return chart.drawn()


def percentile_curve(report: BenchmarkReport) -> str:
    """Latency by percentile, on an axis that stretches the high percentiles."""
    ordered = latencies(report)
    most = max(_stretched(99), _stretched(100 * (1 - 1 / len(ordered))))
    ticks = [(_stretched(rank), label) for rank, label in _NINES if _stretched(rank) <= most + 1e-9]
    chart = Chart(
        f"percentiles of {len(ordered)} end-to-end times",
        Axis(0.0, most, ticks, "percentile"),
        linear(0, ordered[-1], "ms", milliseconds),
    )
    # A step at each sample, without interpolation.
    points = []
    for index, latency in enumerate(ordered):
        points.append((_stretched(100 * index / len(ordered)), latency))
        if index + 1 < len(ordered):
            points.append((_stretched(100 * (index + 1) / len(ordered)), latency))
    chart.line(points, "curve")
    if report.targets.mean is not None and report.targets.mean <= chart.y.high:
        chart.level(report.targets.mean, "limit", f"target of the mean {_ms(report.targets.mean)}")
    return chart.drawn()


def timeline(report: BenchmarkReport) -> str:
    """Latency of each frame by due time: warm, cold, or without an answer."""
    samples = report.run.samples
    start = min(sample.due for sample in samples)
    ordered = latencies(report)
    top = ordered[-1] if ordered else 1.0
    chart = Chart(
        "each frame's time by when it was due",
        linear(0, max(sample.due for sample in samples) - start, "s since the first", plain),
        linear(0, top, "ms", milliseconds),
    )
    for sample in _thinned(samples):
        due = sample.due - start
        if sample.latency is None:
            tooltip = f"frame {sample.index}: {sample.status}"
            chart.cross((due, chart.y.high), "lost", tooltip)
            continue
        kind = "cold" if sample.cold else "warm"
        tooltip = f"frame {sample.index}, {kind}: {_ms(sample.latency)}, {sample.result}"
        chart.dot((due, sample.latency), kind, tooltip)
    return chart.drawn()


def flow(report: BenchmarkReport) -> str:
    """Frames sent and answered per second over time, with cold starts."""
    samples = report.run.samples
    start = min(sample.due for sample in samples)
    sent = [sample.post.sent - start for sample in samples if sample.post is not None]
    answered = [sample.answered - start for sample in samples if sample.answered is not None]
    end = max([*sent, *answered])
    width = round_step(max(end, 1e-3) / _SPANS)
    rates = [_rates(times, width, end) for times in (sent, answered)]
    chart = Chart(
        "frames sent and answered a second, over time",
        linear(0, end, "s since the first", plain),
        linear(0, max(rate for each in rates for _, rate in each), "frames a second", plain),
    )
    for sample in samples:
        if sample.cold:
            chart.cross((sample.due - start, 0.0), "start", f"frame {sample.index}: cold start")
    chart.line(rates[0], "sent")
    chart.line(rates[1], "curve")
    return chart.drawn()


def _rates(times: Sequence[float], width: float, end: float) -> list[tuple[float, float]]:
    """A step line of events per second in intervals of `width` seconds, until `end`."""
    counts = [0] * (math.floor(end / width) + 1)
    for at in times:
        counts[max(0, math.floor(at / width))] += 1
    points = []
    for number, count in enumerate(counts):
        # The last span may be cut short by the end.
        span = min(width, end - number * width)
        if span > width / 2:
            rate = count / span
            points += [(number * width, rate), (number * width + span, rate)]
    return points


def waterfall(report: BenchmarkReport) -> str:
    """The stages of the mean warm frame; below each the baseline's, if measured."""
    shares = report.figures.stages.shares
    baseline = None if report.baseline is None else report.baseline.stages.shares
    total = max(sum(shares.values()), sum((baseline or {}).values()), 1e-9)
    rows = [stage for stage in STAGES if stage in shares]
    parts, begun, baseline_begun = [], 0.0, 0.0
    for number, stage in enumerate(rows):
        top = number * _ROW
        style = "work" if stage in FUNCTIONS else "way"
        place = f'x="{_LABELS - 6}" y="{top + 15}" text-anchor="end"'
        parts.append(f"<text {place}>{escape(WORDS[stage])}</text>")
        parts.append(_span(begun, shares[stage], total, (top + 4, 14), style))
        begun += shares[stage]
        parts.append(
            f'<text x="{_right(begun, total):.1f}" y="{top + 15}">{_ms(shares[stage])}</text>'
        )
        if baseline is not None:
            own = baseline.get(stage, 0.0)
            parts.append(_span(baseline_begun, own, total, (top + 19, 3), "baseline"))
            baseline_begun += own
    description = ", ".join(f"{WORDS[stage]} {_ms(shares[stage])}" for stage in rows)
    return svg(f"the mean frame's stages: {description}", len(rows) * _ROW + 6, "".join(parts))


def _span(
    begun: float, seconds: float, total: float, place: tuple[float, float], style: str
) -> str:
    top, height = place
    width = WIDTH - _LABELS - _VALUES
    left = _LABELS + max(0.0, begun) / total * width
    return (
        f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" rx="1.5" '
        f'width="{max(0.8, seconds / total * width):.1f}" height="{height}"/>'
    )


def _right(ended: float, total: float) -> float:
    return _LABELS + ended / total * (WIDTH - _LABELS - _VALUES) + 5


def _thinned(samples: Sequence[FrameTiming]) -> list[FrameTiming]:
    """All samples, or the outliers and an even selection of the rest."""
    if len(samples) <= _MOST_DOTS:
        return list(samples)
    slow = percentile(sorted(s.latency for s in samples if s.latency is not None), 99)
    every = math.ceil(len(samples) / _MOST_DOTS)
    return [
        sample
        for sample in samples
        if sample.latency is None
        or sample.cold
        or sample.latency >= slow
        or sample.index % every == 0
    ]


def _stretched(rank: float) -> float:
    """0, 1, 2, 3 for the percentiles 0, 90, 99, 99.9."""
    return -math.log10(max(1e-9, 1 - rank / 100))


def _ms(seconds: float) -> str:
    ms = seconds * 1e3
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
