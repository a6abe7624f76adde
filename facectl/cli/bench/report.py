"""Prints a benchmark report on stdout: tables, a histogram and the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from facectl.cli.run_report import SYNTHETIC, printable
from facectl.console import err, out, print_json
from facectl.errors import IncompleteError

if TYPE_CHECKING:
    from facectl.bench.compare import Comparison
    from facectl.bench.report import BenchmarkReport, Figures
    from facectl.bench.truth import Truth
    from facectl.summary import Summary

_BINS = 20
_BAR = 40
# Maximum names in a row or column of the confusion matrix.
_MOST_NAMES = 8
_MOST_CONFUSIONS = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def finish(
    report: BenchmarkReport,
    *,
    csv: Path | None = None,
    html: Path | None = None,
    json: bool = False,
) -> None:
    """Write the requested files, print the report, and exit with the verdict's code."""
    if csv is not None:
        from facectl.bench.report import write_csv

        write_csv(report, csv)
    if html is not None:
        from facectl.bench.html import write_html

        write_html(report, html)
    if json:
        print_json(report.as_dict())
    else:
        print_report(report)
    for line in remarks(report):
        err.print(f"[yellow]{escape(printable(line))}[/yellow]", soft_wrap=True)
    if not report.run.complete:
        raise IncompleteError(
            f"The run ended early: {report.run.ended}. The report covers the frames until then: "
            f"{report.figures.answered} answered",
            hint="facectl status   or   facectl logs",
        )
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def print_report(report: BenchmarkReport) -> None:
    """Print the whole report, the verdict last."""
    figures = report.figures
    if not report.run.complete:
        out.print("[bold red]INCOMPLETE[/bold red]: the run ended early")
    out.print(_conditions(report))
    out.print(_end_to_end(figures))
    out.print(_stage_table(report))
    out.print(histogram_of([s.latency for s in report.run.samples if s.latency is not None]))
    out.print(_counts(figures), soft_wrap=True)
    out.print(_rates(figures), soft_wrap=True)
    if report.run.offset is not None:
        out.print(f"Clocks: {report.run.offset}; it separates POST from poll", soft_wrap=True)
    else:
        out.print("Clocks: the offset to SQS is unknown, so POST includes poll", soft_wrap=True)
    _print_baseline(report)
    if report.truth is not None:
        _print_truth(report.truth)
    out.print(_cost(report), soft_wrap=True)
    if report.comparison is not None:
        _print_comparison(report.comparison)
    _print_verdict(report)


def remarks(report: BenchmarkReport) -> list[str]:
    """Warnings about the figures, a sentence each."""
    figures, lines = report.figures, list(report.run.problems)
    if (
        figures.client_too_slow
        and figures.target_rate is not None
        and figures.actual_rate is not None
    ):
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
    if report.synthetic:
        lines.append(SYNTHETIC)
    return lines


def histogram_of(samples: list[float]) -> Text:
    """A bar chart of frames by seconds end to end."""
    from facectl.bench.statistics import histogram

    text = Text()
    bins = histogram(samples, _BINS)
    most = max((each.count for each in bins), default=1)
    for each in bins:
        eighths = round(each.count / most * _BAR * 8)
        bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
        if each.count and not bar:
            bar = _EIGHTHS[1]
        text.append(f"{each.low * 1e3:>8.0f} to {each.high * 1e3:<8.0f}ms ")
        text.append(bar, style="cyan")
        text.append(f" {each.count}\n" if each.count else "\n")
    return text


def _conditions(report: BenchmarkReport) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in report.conditions.items():
        if value is not None:
            table.add_row(f"[dim]{escape(name)}[/dim]", escape(printable(str(value))))
    return table


def _end_to_end(figures: Figures) -> Table:
    table = _table("end to end, ms")
    for name, summary in (
        ("warm", figures.warm),
        ("cold start", figures.cold),
        ("all", figures.everything),
    ):
        if summary.count:
            table.add_row(*_row(name, summary))
    if figures.post.count:
        table.add_row(*_row("[dim]POST alone[/dim]", figures.post))
    for function, summary in figures.starts.items():
        table.add_row(*_row(f"[dim]{function}[/dim]", summary, factor=1e-3))
    return table


def _stage_table(report: BenchmarkReport) -> Table:
    from facectl.bench.stages import STAGES, WORDS

    stages = report.figures.stages
    table = _table(f"stages of {stages.frames} warm frames, ms")
    table.add_column("share", justify="right")
    baseline = None if report.baseline is None else report.baseline.stages
    if baseline is not None:
        table.add_column("baseline", justify="right")
    for stage in STAGES:
        if stage in stages.each:
            row = _row(WORDS[stage], stages.each[stage])
            row.append(_ms(stages.shares[stage]))
            if baseline is not None:
                row.append(_ms(baseline.shares.get(stage, 0.0)))
            table.add_row(*row)
    if stages.shares:
        total = _ms(sum(stages.shares.values()))
        sums = [total] if baseline is None else [total, _ms(sum(baseline.shares.values()))]
        table.add_row("[bold]sum[/bold]", *[""] * 8, *sums)
    return table


def _print_baseline(report: BenchmarkReport) -> None:
    above, baseline = report.above_baseline, report.baseline
    worked = report.figures.stages.in_functions
    if baseline is None or above is None or worked is None or baseline.warm.mean is None:
        return
    table = _table("the platform alone, ms")
    table.add_row(*_row("end to end", baseline.warm))
    out.print(table)
    times = f", {above / worked:.2f} times that" if worked > 0 else ""
    out.print(
        f"Baseline: {_ms(baseline.warm.mean)} ms of the mean are the platform's, "
        f"{_ms(above)} ms are the pipeline's; detect and embed take {_ms(worked)} ms{times}",
        soft_wrap=True,
    )


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for name in ("n", "mean", "min", "p50", "p90", "p95", "p99", "max"):
        table.add_column(name, justify="right", no_wrap=True)
    # A terminal of 80 columns holds it.
    table.padding = (0, 0, 0, 1)
    return table


def _ms(seconds: float) -> str:
    """Milliseconds, with one decimal below 10."""
    ms = seconds * 1e3
    return f"{ms:.1f}" if abs(ms) < 10 else f"{ms:.0f}"


def _row(name: str, summary: Summary, *, factor: float = 1.0) -> list[str]:
    values = (
        summary.mean,
        summary.least,
        summary.p50,
        summary.p90,
        summary.p95,
        summary.p99,
        summary.most,
    )
    return [
        name,
        str(summary.count),
        *("" if value is None else _ms(value * factor) for value in values),
    ]


def _counts(figures: Figures) -> str:
    parts = [
        f"{figures.sent} sent",
        f"{figures.answered} answered",
        *(
            f"{figures.statuses.get(status, 0)} {words}"
            for status, words in (("refused", "refused"), ("unanswered", "unanswered"))
        ),
        f"{figures.duplicates} duplicate",
    ]
    parts += [
        f"{figures.statuses[status]} {words}"
        for status, words in (
            ("failed", "not delivered"),
            ("unsent", "not sent"),
            ("in-flight", "in flight"),
        )
        if figures.statuses.get(status)
    ]
    if figures.late:
        parts.append(f"{figures.late} answered late")
    if figures.retried:
        parts.append(f"{figures.retried} retried")
    return ", ".join(parts)


def _rates(figures: Figures) -> str:
    parts = []
    if figures.throughput is not None:
        parts.append(f"throughput {figures.throughput:.2f} frames/s")
    if figures.target_rate is not None and figures.actual_rate is not None:
        parts.append(
            f"sent at {figures.actual_rate:.2f} of {figures.target_rate:.2f} requested frames/s"
        )
    if figures.course_average is not None:
        parts.append(f"the course's average (wall time ÷ requests) {figures.course_average:.3f} s")
    return ", ".join(parts)


def _print_truth(truth: Truth) -> None:
    accuracy = "" if truth.accuracy is None else f" ({truth.accuracy:.1%})"
    out.print(
        f"Truth: {truth.correct} correct{accuracy}, {truth.wrong} wrong, "
        f"{truth.unlabelled} without a label"
    )
    labels = sorted({label for label, _ in truth.confusion})
    results = sorted({result for _, result in truth.confusion})
    if not truth.wrong:
        return
    if len(labels) > _MOST_NAMES or len(results) > _MOST_NAMES:
        wrong = [(n, pair) for pair, n in truth.confusion.items() if pair[0] != pair[1]]
        for count, (label, result) in sorted(wrong, reverse=True)[:_MOST_CONFUSIONS]:
            out.print(printable(f"  {label} answered as {result}: {count}"), markup=False)
        return
    table = Table(title="confusion: label by answer", title_justify="left")
    table.add_column("")
    for result in results:
        table.add_column(escape(printable(result)), justify="right")
    for label in labels:
        cells = [str(truth.confusion.get((label, result), "")) for result in results]
        table.add_row(escape(printable(label)), *cells)
    out.print(table)


def _cost(report: BenchmarkReport) -> str:
    cost = report.cost
    if cost is None:
        return f"Cost: unknown, {escape(report.cost_missing or 'nothing was billed')}"
    currency = escape(cost.prices.currency)
    return (
        f"Cost: {cost.thousand:.4f} {currency} for 1,000 frames, "
        f"{cost.camera_month:.2f} {currency} for a camera of {cost.rate:g} fps in a month "
        f"(prices of {escape(cost.prices.date)}, {escape(cost.prices.region)})"
    )


def _print_comparison(comparison: Comparison) -> None:
    table = Table(
        title=f"against {printable(comparison.earlier)}, ms",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
    )
    table.padding = (0, 0, 0, 1)
    table.add_column("", no_wrap=True)
    for name in ("before", "now", "change", "95 % interval", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.rows:
        ratio = "" if row.ratio is None else f" ({row.ratio:+.0%})"
        interval = f"{_ms(row.interval.low)} to {_ms(row.interval.high)}"
        verdict = "noise" if row.noise else "[bold]changed[/bold]"
        change = f"{_ms(row.change)}{ratio}"
        table.add_row(row.what, _ms(row.before), _ms(row.after), change, interval, verdict)
    out.print(table)
    for what, before, after in comparison.conditions:
        out.print(f"  {what}: {before}, now {after}", markup=False, soft_wrap=True)


def _print_verdict(report: BenchmarkReport) -> None:
    for check in report.verdict:
        mark = "[green]met[/green]   " if check.met else "[red]missed[/red]"
        measured = "nothing measured" if check.measured is None else f"{check.measured:.4g}"
        line = f"{mark} {check.what}: {measured} of at most {check.target:g} {check.unit}"
        out.print(line.rstrip())
