"""Prints a benchmark report on stdout: tables, a histogram and the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from facectl.cli.run_report import SYNTHETIC
from facectl.cli.tables import rich_table, safe
from facectl.console import err, out, print_json
from facectl.errors import IncompleteError

if TYPE_CHECKING:
    from facectl.bench.report import BenchmarkReport

_BINS = 20
_BAR = 40
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
    from facectl.bench.tables import remarks

    if csv is not None:
        from facectl.bench.report import write_csv

        write_csv(report, csv)
    if html is not None:
        from facectl.bench.page import write_page

        write_page(report, html)
    if json:
        print_json(report.as_dict())
    else:
        print_report(report)
    for line in [*remarks(report), *([SYNTHETIC] if report.synthetic else [])]:
        err.print(f"[yellow]{safe(line)}[/yellow]", soft_wrap=True)
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
    from facectl.bench import tables

    if not report.run.complete:
        out.print("[bold red]INCOMPLETE[/bold red]: the run ended early")
    out.print(rich_table(tables.conditions(report)))
    out.print(rich_table(tables.end_to_end(report.figures)))
    out.print(rich_table(tables.stages(report)))
    out.print(histogram_of([s.latency for s in report.run.samples if s.latency is not None]))
    _print_sentence(", ".join(f"{count} {name}" for name, count in tables.counts(report.figures)))
    _print_sentence(", ".join(f"{name} {value}" for name, value in tables.rates(report.figures)))
    if report.baseline is not None:
        out.print(rich_table(tables.platform_alone(report.baseline)))
    _print_sentence(tables.platform_share(report))
    if report.truth is not None:
        _print_sentence(tables.accuracy(report.truth))
        if report.truth.wrong:
            out.print(rich_table(tables.confusion(report.truth, _MOST_CONFUSIONS)))
    _print_sentence(tables.cost_sentence(report))
    if report.comparison is not None:
        out.print(rich_table(tables.comparison(report.comparison)))
        for what, before, now in tables.differences(report.comparison).rows:
            _print_sentence(f"  {what}: {before}, now {now}")
    for what, measured, target, state in tables.verdict(report).rows:
        color = "green" if state == "met" else "red"
        mark = f"[{color}]{state}[/{color}]" + " " * (len("missed") - len(state))
        out.print(f"{mark} {what}: {measured} of at most {target}")


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


def _print_sentence(sentence: str | None) -> None:
    if sentence is not None:
        out.print(safe(sentence), soft_wrap=True)
