"""The tables and sentences of a benchmark report, for the terminal and for HTML."""

from __future__ import annotations

from facectl.bench.compare import Comparison
from facectl.bench.cost import Cost
from facectl.bench.report import BenchmarkReport, Figures
from facectl.bench.stages import STAGES, WORDS
from facectl.bench.truth import Truth
from facectl.reports.tables import Table, milliseconds
from facectl.summary import Summary

_SUMMARY = ("", "n", "mean", "min", "p50", "p90", "p95", "p99", "max")
# Maximum names in a row or column of the confusion matrix.
_MOST_NAMES = 8


def conditions(report: BenchmarkReport) -> Table:
    """The conditions of the run, and the clock offset."""
    clocks = report.run.offset or "the offset to SQS is unknown, so POST includes poll"
    facts = [*report.conditions.items(), ("clocks", clocks)]
    rows = [(name, str(value)) for name, value in facts if value is not None]
    return Table("Conditions", ("", ""), rows, words=True)


def end_to_end(figures: Figures) -> Table:
    """Latency of warm and cold frames, of the POST alone, and the functions' start times."""
    rows = [
        _summary(name, summary)
        for name, summary in (
            ("warm", figures.warm),
            ("cold start", figures.cold),
            ("all", figures.everything),
            ("POST alone", figures.post),
        )
        if summary.count
    ]
    # Start times are in ms.
    rows += [_summary(f"start of {name}", each, 1e-3) for name, each in figures.starts.items()]
    return Table("End to end, ms", _SUMMARY, rows)


def stages(report: BenchmarkReport) -> Table:
    """Latency by stage, the mean share of each stage and, if measured, the baseline's."""
    own = report.figures.stages
    shares = {"share": own.shares}
    if report.baseline is not None:
        shares["baseline"] = report.baseline.stages.shares
    rows = [
        [
            *_summary(WORDS[stage], own.each[stage]),
            *(milliseconds(each.get(stage, 0.0)) for each in shares.values()),
        ]
        for stage in STAGES
        if stage in own.each
    ]
    if rows:
        sums = (milliseconds(sum(each.values())) for each in shares.values())
        rows.append(["sum", *[""] * (len(_SUMMARY) - 1), *sums])
    title = f"Stages of {own.frames} warm frames, ms"
    return Table(title, (*_SUMMARY, *shares), rows, marked={len(rows) - 1})


def platform_alone(baseline: Figures) -> Table:
    """Latency of the no-op functions."""
    return Table("The platform alone, ms", _SUMMARY, [_summary("end to end", baseline.warm)])


def platform_share(report: BenchmarkReport) -> str | None:
    """The platform's share of the mean, as a sentence; None if the baseline was not measured."""
    above, baseline = report.above_baseline, report.baseline
    worked = report.figures.stages.in_functions
    if baseline is None or above is None or worked is None:
        return None
    times = f", {above / worked:.2f} times that" if worked > 0 else ""
    return (
        f"Baseline: {milliseconds(baseline.warm.mean)} ms of the mean are the platform's, "
        f"{milliseconds(above)} ms are the pipeline's; detect and embed take "
        f"{milliseconds(worked)} ms{times}"
    )


def counts(figures: Figures) -> list[tuple[str, int]]:
    """The number of frames by outcome; rare outcomes only if there are any."""
    statuses = figures.statuses
    rare = [
        ("not delivered", statuses.get("failed", 0)),
        ("not sent", statuses.get("unsent", 0)),
        ("in flight", statuses.get("in-flight", 0)),
        ("answered late", figures.late),
        ("retried", figures.retried),
    ]
    return [
        ("sent", figures.sent),
        ("answered", figures.answered),
        ("refused", statuses.get("refused", 0)),
        ("unanswered", statuses.get("unanswered", 0)),
        ("duplicate", figures.duplicates),
        *(each for each in rare if each[1]),
    ]


def rates(figures: Figures) -> list[tuple[str, str]]:
    """The throughput, the rates, and what a frame takes of this client, as far as measured."""
    found = []
    if figures.throughput is not None:
        found.append(("throughput", f"{figures.throughput:.2f} frames/s"))
    if figures.target_rate is not None and figures.actual_rate is not None:
        sent = f"{figures.actual_rate:.2f} of {figures.target_rate:.2f} requested frames/s"
        found.append(("sent at", sent))
    if figures.course_average is not None:
        average = f"{figures.course_average:.3f} s"
        found.append(("wall time ÷ requests", average))
    if figures.bytes_sent is not None:
        found.append(("sent per frame", f"{figures.bytes_sent / 1e3:.1f} kB"))
    if figures.client_cpu is not None:
        found.append(("CPU of this client per frame", f"{milliseconds(figures.client_cpu)} ms"))
    return found


def frames(figures: Figures) -> Table:
    """The frames by outcome, and the rates."""
    rows = [(name, str(count)) for name, count in counts(figures)] + rates(figures)
    return Table("Frames", ("", ""), rows, words=True)


def verdict(report: BenchmarkReport) -> Table:
    """Each target: measured, at most, met or missed."""
    rows = [
        (
            check.what,
            "nothing measured" if check.measured is None else f"{check.measured:.4g}",
            f"{check.target:g} {check.unit}".rstrip(),
            "met" if check.met else "missed",
        )
        for check in report.verdict
    ]
    columns = ("", "measured", "at most", "verdict")
    missed = {number for number, check in enumerate(report.verdict) if not check.met}
    return Table("Verdict", columns, rows, marked=missed)


def comparison(found: Comparison) -> Table:
    """The change of each figure since the earlier run."""
    rows = [
        (
            row.what,
            milliseconds(row.before),
            milliseconds(row.after),
            milliseconds(row.change) + ("" if row.ratio is None else f" ({row.ratio:+.0%})"),
            f"{milliseconds(row.interval.low)} to {milliseconds(row.interval.high)}",
            "noise" if row.noise else "changed",
        )
        for row in found.rows
    ]
    columns = ("", "before", "now", "change", "95 % interval", "verdict")
    changed = {number for number, row in enumerate(found.rows) if not row.noise}
    return Table(f"Against {found.earlier}, ms", columns, rows, marked=changed)


def differences(found: Comparison) -> Table:
    """The conditions that differ between the two runs."""
    return Table("What differs", ("", "before", "now"), found.conditions, words=True)


def accuracy(truth: Truth) -> str:
    """The number of correct and wrong answers."""
    share = "" if truth.accuracy is None else f" ({truth.accuracy:.1%})"
    return (
        f"Truth: {truth.correct} correct{share}, {truth.wrong} wrong, "
        f"{truth.unlabelled} without a label"
    )


def confusion(truth: Truth, most: int) -> Table:
    """Frames by label and answer: a matrix, or with many names a list of `most` pairs.

    The list has wrong answers first, then the frequent ones.
    """
    labels = sorted({label for label, _ in truth.confusion})
    results = sorted({result for _, result in truth.confusion})
    if len(labels) > _MOST_NAMES or len(results) > _MOST_NAMES:
        pairs = sorted(truth.confusion.items(), key=_wrong_and_frequent)
        listed = [(label, result, str(count)) for (label, result), count in pairs[:most]]
        return Table("Confusion", ("label", "answer", "frames"), listed)
    rows = [
        [label, *(str(truth.confusion.get((label, result), "")) for result in results)]
        for label in labels
    ]
    return Table("Confusion: label by answer", ("", *results), rows)


def _wrong_and_frequent(pair: tuple[tuple[str, str], int]) -> tuple[bool, int]:
    (label, result), count = pair
    return label == result, -count


def cost_sentence(report: BenchmarkReport) -> str:
    """The cost of 1,000 frames and of a camera, or why it is unknown."""
    cost = report.cost
    if cost is None:
        return f"Cost: unknown, {report.cost_missing or 'nothing was billed'}"
    prices = cost.prices
    return (
        f"Cost: {cost.thousand:.4f} {prices.currency} for 1,000 frames, "
        f"{cost.camera_month:.2f} {prices.currency} for a camera of {cost.rate:g} fps in a month "
        f"(prices of {prices.date}, {prices.region})"
    )


def cost_parts(cost: Cost) -> Table:
    """The cost of 1,000 frames by kind, and the sum."""
    rows = [(name, f"{value:.5f}") for name, value in cost.parts.items()]
    rows.append(("sum", f"{cost.thousand:.5f}"))
    columns = ("", cost.prices.currency)
    return Table("Cost of 1,000 frames", columns, rows, marked={len(rows) - 1})


def _summary(name: str, summary: Summary, unit: float = 1.0) -> list[str]:
    """A row of a name and its summary; `unit`: seconds of a sample's unit."""
    values = (
        summary.mean,
        summary.least,
        summary.p50,
        summary.p90,
        summary.p95,
        summary.p99,
        summary.most,
    )
    shown = (milliseconds(None if value is None else value * unit) for value in values)
    return [name, str(summary.count), *shown]


def remarks(report: BenchmarkReport) -> list[str]:
    """Warnings about the figures, a sentence each."""
    figures, lines = report.figures, list(report.run.problems)
    if figures.client_too_slow:
        lines.append(
            f"This client could not keep up: {figures.actual_rate:.2f} frames a second were sent, "
            f"{figures.target_rate:.2f} were requested. The latencies include this delay"
        )
    if report.run.unclaimed:
        lines.append(
            "The response queue holds answers to other clients, which delay these. "
            "facectl purge removes them"
        )
    waits = figures.stages.each.get("request_queue")
    if waits is not None and waits.p50 == 0:
        lines.append(
            "The request-queue wait is 0 for most frames: the function's clock is behind SQS's"
        )
    if 0 < figures.everything.count < 100:
        lines.append(
            f"{figures.everything.count} samples: with fewer than 100 the 99th percentile is the "
            "maximum"
        )
    errors = [s.error for s in report.run.samples if s.error is not None]
    lines += [f"{len(errors)} frames failed, the first with: {errors[0]}"] if errors else []
    return lines
