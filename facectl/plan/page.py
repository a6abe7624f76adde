"""The HTML report of a plan: its tables and charts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facectl import paths
from facectl.bench.statistics import histogram
from facectl.plan import tables
from facectl.plan.planner import Plan
from facectl.plan.scenarios import Floats, Result
from facectl.reports import charts
from facectl.reports.charts import Axis, Chart, Figure, Point, Span, linear
from facectl.reports.page import render

_BINS = 30
# Points of a curve: a browser draws more of them slowly, and nobody sees them.
_POINTS = 300
# Seconds before a disturbance that are shown.
_BEFORE = 60
_RANKS = (0.0, 50.0, 90.0, 99.0, 99.9)


def write_page(plan: Plan, file: Path) -> None:
    """Write the page; raises InputError if the file can't be written."""
    paths.write_text(file, page(plan), mode=0o644)


def page(plan: Plan) -> str:
    """The whole page."""
    return render(
        "plan.html",
        title=f"{plan.load.cameras:,} cameras",
        heading=tables.heading(plan),
        warnings=plan.warnings,
        tiles=_tiles(plan),
        figures=list(_figures(plan)),
        tables=[tables.behaviour(plan), tables.needs(plan), tables.changes(plan)],
        sentences=[tables.halving(plan), *tables.notes(plan), *tables.cost_sentences(plan)],
        small_tables=[tables.cost_parts(plan), tables.sources(plan)],
    )


def _tiles(plan: Plan) -> list[tuple[str, str]]:
    day = plan.results["day"]
    return [
        ("a month", f"{tables.money(plan.cost.total)} {plan.cost.currency}"),
        ("1,000 frames", f"{plan.cost.thousand:.4f} {plan.cost.currency}"),
        ("frames a second at the peak", f"{plan.load.peak_rate:,.0f}"),
        ("concurrency of the account", f"{plan.one.quota:,}"),
        ("median of the day", tables.seconds(day.percentile(50))),
        ("p99 of the day", tables.seconds(day.percentile(99))),
    ]


def _figures(plan: Plan) -> Iterator[Figure]:
    day, burst, outage = (plan.results[name] for name in ("day", "burst", "outage"))
    if len(day.latencies):
        yield Figure("Latency of the day", _distribution(day), "share of the frames by seconds")
    keys = [("genuine", "━", "day"), ("far", "━", "burst"), ("roc", "━", "outage")]
    drawn = {"curve": day, "far": burst, "roc": outage}
    keys[0] = ("curve", "━", "day")
    caption = "seconds by percentile, of answered frames"
    yield Figure("Percentiles", _percentiles(drawn), caption, keys)
    keys = [("curve", "━", "face-detection"), ("far", "━", "face-recognition")]
    yield Figure("Executions over the day", _executions(plan, day), "at once", keys)
    keys = [("far", "━", "burst"), ("roc", "━", "outage")]
    backlog = _backlog({"far": burst, "roc": outage})
    yield Figure("Backlog", backlog, "messages that wait, from the end of the disturbance", keys)
    keys = [("sent", "━", "sent"), ("curve", "━", "answered")]
    yield Figure("Outage", _flow(outage), "frames a second, SQS fails between the lines", keys)
    yield Figure("Where the money goes", _costs(plan), f"{plan.cost.currency} a month")


def _distribution(result: Result) -> str:
    """A histogram of the latencies up to the 99.5th percentile."""
    most = result.percentile(99.5)
    shown = [float(each) for each in result.latencies if each <= most]
    bins = histogram(shown, _BINS)
    total = len(result.latencies)
    chart = Chart(
        "histogram of the latencies of the simulated day",
        linear(bins[0].low, bins[-1].high, "s end to end"),
        linear(0, max(each.count for each in bins) / total * 100, "%"),
    )
    for each in bins:
        if each.count:
            share = each.count / total * 100
            tooltip = f"{each.low:g} to {each.high:g} s: {share:.1f} %"
            chart.bar((each.low, each.high), share, "bar", tooltip)
    chart.vertical(result.percentile(50), f"p50 {tables.seconds(result.percentile(50))}")
    chart.vertical(result.percentile(99), f"p99 {tables.seconds(result.percentile(99))}", row=1)
    return chart.svg()


def _percentiles(results: dict[str, Result]) -> str:
    """Latency by percentile, on axes that stretch the high percentiles and the low seconds."""
    ranks = np.linspace(0.0, 3.0, _POINTS)
    drawn = {
        style: np.quantile(result.latencies, 1 - 10**-ranks)
        for style, result in results.items()
        if len(result.latencies)
    }
    least = min((values.min() for values in drawn.values()), default=0.1)
    most = max((values.max() for values in drawn.values()), default=1.0)
    ticks = [(-math.log10(1 - rank / 100), f"{rank:g}") for rank in _RANKS]
    chart = Chart(
        "percentiles of the latencies of the day, a burst and an outage",
        Axis(0.0, 3.0, ticks, "percentile"),
        _powers(float(least), float(most), "s"),
    )
    for style, values in drawn.items():
        points = zip(ranks.tolist(), np.log10(values).tolist(), strict=True)
        chart.line(list(points), style)
    return chart.svg()


def _powers(least: float, most: float, label: str) -> Axis:
    """An axis of decimal logarithms with a tick at each power of ten."""
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(max(most, least * 1.01)))
    high = max(high, low + 1)
    return Axis(low, high, [(power, f"{10.0**power:g}") for power in range(low, high + 1)], label)


def _executions(plan: Plan, result: Result) -> str:
    """Executions of both functions at once over the hours of the day."""
    hours = plan.load.hours
    most = max(float(result.detection.max()), float(result.recognition.max()), 1.0)
    chart = Chart(
        "executions at once over the hours of the day",
        linear(0, hours, "hours"),
        linear(0, most, "executions", _short),
    )
    for values, style in ((result.detection, "curve"), (result.recognition, "far")):
        chart.line(_thinned(values, hours), style)
    return chart.svg()


def _backlog(results: dict[str, Result]) -> str:
    """Messages that wait, by minutes since the disturbance ended."""
    curves = {style: _since_end(result) for style, result in results.items()}
    most = max((float(values.max()) for _, values in curves.values() if len(values)), default=1.0)
    ends = [float(minutes[-1]) for minutes, _ in curves.values() if len(minutes)]
    begins = [float(minutes[0]) for minutes, _ in curves.values() if len(minutes)]
    chart = Chart(
        "messages that wait after a burst and after an outage",
        linear(min(begins, default=0.0), max(ends, default=1.0), "minutes"),
        linear(0, max(most, 1.0), "messages", _short),
    )
    for style, (minutes, values) in curves.items():
        chart.line(_pairs(minutes, values), style)
    return chart.svg()


def _since_end(result: Result) -> tuple[Floats, Floats]:
    """Minutes since the disturbance ended and the backlog, until it has been served for long."""
    end = result.disturbed_until or 0.0
    recovery = result.recovery
    last = (
        len(result.backlog)
        if recovery is None
        else min(len(result.backlog), round(end + max(60.0, 2 * recovery)))
    )
    first = max(0, round(end) - 2 * _BEFORE)
    steps = np.arange(first, last)
    return (steps - end) / 60, (result.backlog + result.hidden)[first:last]


def _flow(result: Result) -> str:
    """Frames sent and answered a second around the outage, by minutes."""
    begin, end = result.scenario.outage or (0.0, 0.0)
    recovery = result.recovery
    first = max(0, round(begin) - 2 * _BEFORE)
    last = min(
        len(result.offered),
        round(end) + (1800 if recovery is None else max(180, round(2 * recovery))),
    )
    minutes = (np.arange(first, last) - begin) / 60
    most = max(float(result.answered[first:last].max()), float(result.offered[first:last].max()))
    chart = Chart(
        "frames sent and answered a second around the outage",
        linear(float(minutes[0]), float(minutes[-1]), "minutes"),
        linear(0, max(most, 1.0), "frames/s", _short),
    )
    chart.line(_pairs(minutes, result.offered[first:last]), "sent")
    chart.line(_pairs(minutes, result.answered[first:last]), "curve")
    chart.vertical(0.0, "SQS fails")
    chart.vertical((end - begin) / 60, "answers again", row=1)
    return chart.svg()


def _costs(plan: Plan) -> str:
    """The parts of the cost as bars, the largest first."""
    parts = sorted(plan.cost.parts.items(), key=lambda part: -part[1])
    spans = [Span(name, 0.0, cost, tables.money(cost), "work") for name, cost in parts]
    if plan.machines is not None:
        machines = plan.machines
        spans.append(
            Span("rented machines", 0.0, machines.cost, tables.money(machines.cost), "way")
        )
    described = ", ".join(f"{span.name} {span.value}" for span in spans)
    return charts.rows(f"cost of a month by service: {described}", spans)


def _thinned(values: Floats, length: float) -> list[Point]:
    """The highest value of each of some hundred intervals, over an axis of `length`."""
    return _pairs(np.linspace(0.0, length, len(values)), values)


def _pairs(places: Floats, values: Floats) -> list[Point]:
    """Points of a curve; of too many, the highest of each interval."""
    step = max(1, math.ceil(len(values) / _POINTS))
    return [
        (float(places[first]), float(values[first : first + step].max()))
        for first in range(0, len(values), step)
    ]


def _short(value: float) -> str:
    """A number for the tick of an axis, in thousands or millions from there on."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{letter}"
    return charts.plain(value)
