"""How `facectl logs report` looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from facectl.console import err, out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl.logs.report import FunctionReport, Spread
    from facectl.logs.times import Window


def show_report(reports: Sequence[FunctionReport], window: Window) -> None:
    """One column a function, one row a figure."""
    table = Table("", *(report.function for report in reports), title=str(window))
    rows = [
        ("invocations", [str(report.invocations) for report in reports]),
        ("failed", [str(report.errors) for report in reports]),
        ("timed out", [str(report.timeouts) for report in reports]),
        ("cold starts", [_share(report) for report in reports]),
        ("duration, warm", [_spread(report.duration_ms) for report in reports]),
        ("duration, cold", [_spread(report.cold_duration_ms) for report in reports]),
        ("cold start itself", [_spread(report.init_ms) for report in reports]),
        ("memory used, given", [_memory(report) for report in reports]),
        ("billed", [f"{report.billed_seconds:.1f} s" for report in reports]),
        ("cost", [_dollars(report.cost) for report in reports]),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    out.print(table)
    total = sum(report.cost for report in reports)
    out.print(f"Together {_dollars(total)}, at the prices of {reports[0].price_date}.")
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


def _spread(spread: Spread) -> str:
    if spread.p50 is None:
        return "-"
    return (
        f"p50 {spread.p50:.0f}, p90 {spread.p90:.0f}, p99 {spread.p99:.0f}, "
        f"max {spread.most:.0f} ms ({spread.count})"
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
        "it used nearly all it has"
        if more
        else "it never used more, though fewer MB are also less computing power: measure it"
    )
    return (
        f"{report.function}: {report.used_mb} of {report.memory_mb} MB used; "
        f"facectl deploy --memory {report.suggested_mb} ({why})"
    )
