"""Prints the report of `facectl logs report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from facectl.console import err, out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl.logs.report import FunctionReport
    from facectl.logs.times import Window
    from facectl.summary import Summary


def show_report(reports: Sequence[FunctionReport], window: Window) -> None:
    """Print one column per function, one row per figure."""
    table = Table("", *(report.function for report in reports), title=str(window))
    rows = [
        ("invocations", [str(report.invocations) for report in reports]),
        ("failed", [str(report.errors) for report in reports]),
        ("timed out", [str(report.timeouts) for report in reports]),
        ("cold starts", [_share(report) for report in reports]),
        ("duration, warm", [_summary(report.duration_ms) for report in reports]),
        ("duration, cold", [_summary(report.cold_duration_ms) for report in reports]),
        ("cold start", [_summary(report.init_ms) for report in reports]),
        ("memory used, configured", [_memory(report) for report in reports]),
        ("billed", [f"{report.billed_seconds:.1f} s" for report in reports]),
        ("cost", [_dollars(report.cost) for report in reports]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    out.print(table)
    total = sum(report.cost for report in reports)
    out.print(f"Total {_dollars(total)}, at the prices of {reports[0].price_date}.")
    for report in reports:
        if report.suggested_mb is not None:
            out.print(_advice(report), soft_wrap=True)
    if not any(report.invocations for report in reports):
        err.print(
            f"No invocation ended {window}.  Next: [bold]facectl logs report --since 1d[/bold]"
        )


def _share(report: FunctionReport) -> str:
    if not report.cold_starts:
        return "0"
    return f"{report.cold_starts} ({report.cold_starts / report.invocations:.0%})"


def _summary(summary: Summary) -> str:
    if summary.p50 is None:
        return "-"
    return (
        f"p50 {summary.p50:.0f}, p90 {summary.p90:.0f}, p99 {summary.p99:.0f}, "
        f"max {summary.most:.0f} ms ({summary.count})"
    )


def _memory(report: FunctionReport) -> str:
    return f"{_or_dash(report.used_mb)}, {_or_dash(report.memory_mb)} MB"


def _or_dash(figure: int | None) -> str:
    return "-" if figure is None else str(figure)


def _dollars(amount: float) -> str:
    return f"${amount:.6f}" if amount < 0.01 else f"${amount:.2f}"


def _advice(report: FunctionReport) -> str:
    more = (report.suggested_mb or 0) > (report.memory_mb or 0)
    why = (
        "it used nearly all of it"
        if more
        else "it never used more; less memory also means less CPU, so measure it"
    )
    return (
        f"{report.function}: {report.used_mb} of {report.memory_mb} MB used; "
        f"facectl deploy --memory {report.suggested_mb} ({why})"
    )
