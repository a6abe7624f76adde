"""The HTML report of a benchmark: its figures and charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from facectl import paths
from facectl.bench import tables
from facectl.bench.recorder import FrameTiming
from facectl.bench.report import BenchmarkReport
from facectl.bench.stages import FUNCTIONS, STAGES, WORDS
from facectl.bench.statistics import histogram, round_step
from facectl.reports import charts
from facectl.reports.charts import Axis, Chart, Figure, Point, Span, linear
from facectl.reports.page import render
from facectl.reports.tables import MISSING, Table, milliseconds
from facectl.summary import percentile

_BINS = 30
_SPANS = 40
# A browser draws more dots slowly: the slowest and cold frames are kept, the rest is sampled.
_MOST_DOTS = 3000
_MOST_CONFUSIONS = 60
_NINES = ((0.0, "0"), (50.0, "50"), (90.0, "90"), (99.0, "99"), (99.9, "99.9"), (99.99, "99.99"))


def write_page(report: BenchmarkReport, file: Path) -> None:
    """Write the page; raises InputError if the file can't be written."""
    paths.write_text(file, page(report), mode=0o644)


def page(report: BenchmarkReport) -> str:
    """The whole page."""
    facts = report.conditions
    return render(
        "bench.html",
        source=facts.get("source", ""),
        facts=[facts[n] for n in ("source", "workload", "target", "measured") if n in facts],
        met=report.exit_code == 0,
        ended=None if report.run.complete else report.run.ended,
        synthetic=report.synthetic,
        remarks=tables.remarks(report),
        tiles=_tiles(report),
        figures=list(_figures(report)) if report.figures.answered else [],
        verdict=tables.verdict(report),
        tables=list(_wide(report)),
        sentences=list(_sentences(report)),
        small_tables=list(_small(report)),
    )


def _tiles(report: BenchmarkReport) -> list[tuple[str, str]]:
    figures, cost = report.figures, report.cost
    latency, rate = figures.everything, figures.throughput
    return [
        ("mean end to end", _ms(latency.mean)),
        ("median", _ms(latency.p50)),
        ("p99", _ms(latency.p99)),
        ("answered", f"{figures.answered} of {figures.answered + figures.without_answer}"),
        ("throughput", MISSING if rate is None else f"{rate:.2f} frames/s"),
        (
            "1,000 frames",
            MISSING if cost is None else f"{cost.thousand:.4f} {cost.prices.currency}",
        ),
    ]


def _wide(report: BenchmarkReport) -> Iterator[Table]:
    yield tables.end_to_end(report.figures)
    yield tables.stages(report)
    if report.baseline is not None:
        yield tables.platform_alone(report.baseline)
    if report.comparison is not None:
        yield tables.comparison(report.comparison)


def _sentences(report: BenchmarkReport) -> Iterator[str]:
    share = tables.platform_share(report)
    if share is not None:
        yield share
    if report.truth is not None:
        yield tables.accuracy(report.truth)
    yield tables.cost_sentence(report)


def _small(report: BenchmarkReport) -> Iterator[Table]:
    yield tables.frames(report.figures)
    if report.truth is not None:
        yield tables.confusion(report.truth, _MOST_CONFUSIONS)
    if report.cost is not None:
        yield tables.cost_parts(report.cost)
    if report.comparison is not None and report.comparison.conditions:
        yield tables.differences(report.comparison)
    yield tables.conditions(report)


def _figures(report: BenchmarkReport) -> Iterator[Figure]:
    """The charts of a run with an answer."""
    latencies = sorted(s.latency for s in report.run.samples if s.latency is not None)
    cold = bool(report.figures.cold.count)
    yield Figure("Distribution", distribution(latencies), "frames by time end to end")
    curve = percentile_curve(latencies, report.targets.mean)
    yield Figure("Percentiles", curve, "latency in ms by percentile")
    keys = [("warm", "●", "answered")]
    keys += [("cold", "●", "cold start")] if cold else []
    keys += [("lost", "✕", "no answer")] if report.figures.without_answer else []
    chart = timeline(report.run.samples, latencies[-1])
    yield Figure("Timeline", chart, "ms of each frame, by when it was due", keys)
    keys = [("sent", "━", "sent"), ("curve", "━", "answered")]
    keys += [("cold", "✕", "cold start")] if cold else []
    yield Figure("Sent and answered", flow(report.run.samples), "frames a second", keys)
    if report.figures.stages.shares:
        beneath = "; thin: the platform alone" if report.baseline is not None else ""
        caption = f"the mean of {report.figures.stages.frames} warm frames{beneath}"
        yield Figure("Where the time goes", waterfall(report), caption)


def distribution(latencies: Sequence[float]) -> str:
    """A histogram of latencies, ascending, in seconds."""
    bins = histogram(latencies, _BINS)
    chart = Chart(
        f"histogram of {len(latencies)} end-to-end times",
        linear(bins[0].low, bins[-1].high, "ms end to end", _on_axis),
        linear(0, max(each.count for each in bins), "frames"),
    )
    for each in bins:
        if each.count:
            span = f"{_on_axis(each.low)} to {_on_axis(each.high)} ms"
            chart.bar((each.low, each.high), each.count, "bar", f"{span}: {each.count} frames")
    mean, p99 = sum(latencies) / len(latencies), percentile(latencies, 99)
    chart.vertical(mean, f"mean {_ms(mean)}")
    chart.vertical(p99, f"p99 {_ms(p99)}", row=1)
    return chart.svg()


def percentile_curve(latencies: Sequence[float], target: float | None) -> str:
    """Latency by percentile, on an axis that stretches the high percentiles."""
    count = len(latencies)
    most = max(_stretched(99), _stretched(100 * (1 - 1 / count)))
    ticks = [(_stretched(rank), label) for rank, label in _NINES if _stretched(rank) <= most + 1e-9]
    chart = Chart(
        f"percentiles of {count} end-to-end times",
        Axis(0.0, most, ticks, "percentile"),
        linear(0, latencies[-1], "ms", _on_axis),
    )
    # A step at each sample, without interpolation.
    points = []
    for index, latency in enumerate(latencies):
        points.append((_stretched(100 * index / count), latency))
        if index + 1 < count:
            points.append((_stretched(100 * (index + 1) / count), latency))
    chart.line(points, "curve")
    if target is not None and target <= chart.y.high:
        chart.horizontal(target, f"target of the mean {_ms(target)}")
    return chart.svg()


def timeline(samples: Sequence[FrameTiming], slowest: float) -> str:
    """Latency of each frame by due time: warm, cold, or without an answer."""
    start = min(sample.due for sample in samples)
    chart = Chart(
        "each frame's time by when it was due",
        linear(0, max(sample.due for sample in samples) - start, "s since the first"),
        linear(0, slowest, "ms", _on_axis),
    )
    for sample in _thinned(samples):
        due, frame = sample.due - start, f"frame {sample.index}"
        if sample.latency is None:
            chart.cross((due, chart.y.high), "lost", f"{frame}: {sample.status}")
            continue
        kind = "cold" if sample.cold else "warm"
        tooltip = f"{frame}, {kind}: {_ms(sample.latency)}, {sample.result}"
        chart.dot((due, sample.latency), kind, tooltip)
    return chart.svg()


def flow(samples: Sequence[FrameTiming]) -> str:
    """Frames sent and answered per second over time, with cold starts."""
    start = min(sample.due for sample in samples)
    sent = [sample.post.sent - start for sample in samples if sample.post is not None]
    answered = [sample.answered - start for sample in samples if sample.answered is not None]
    end = max([*sent, *answered])
    width = round_step(max(end, 1e-3) / _SPANS)
    rates = [_rates(times, width, end) for times in (sent, answered)]
    chart = Chart(
        "frames sent and answered a second, over time",
        linear(0, end, "s since the first"),
        linear(0, max(rate for each in rates for _, rate in each), "frames/s"),
    )
    for sample in samples:
        if sample.cold:
            chart.cross((sample.due - start, 0.0), "start", f"frame {sample.index}: cold start")
    chart.line(rates[0], "sent")
    chart.line(rates[1], "curve")
    return chart.svg()


def _rates(times: Sequence[float], width: float, end: float) -> list[Point]:
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
    spans: list[Span] = []
    begin = baseline_begin = 0.0
    for stage in STAGES:
        if stage not in shares:
            continue
        length, other = shares[stage], None
        if baseline is not None:
            other = (baseline_begin, baseline.get(stage, 0.0))
            baseline_begin += other[1]
        style = "work" if stage in FUNCTIONS else "way"
        spans.append(Span(WORDS[stage], begin, length, _ms(length), style, other))
        begin += length
    described = ", ".join(f"{span.name} {span.value}" for span in spans)
    return charts.rows(f"the mean frame's stages: {described}", spans)


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


def _ms(seconds: float | None) -> str:
    return MISSING if seconds is None else f"{milliseconds(seconds)} ms"


def _on_axis(seconds: float) -> str:
    """Milliseconds for the tick of an axis."""
    return f"{seconds * 1e3:g}" if seconds < 10 else f"{seconds * 1e3:.0f}"
