"""`facectl logs`: both functions' logs, merged by time; `facectl logs report`: statistics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from facectl.aws import Clients, with_account
from facectl.cli.options import FunctionName, Json, Since, Until, reads_deployment, with_overrides
from facectl.console import err, note, out, print_json, say, warn
from facectl.context import Deployment, Overrides, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.text import Text

    from facectl.logs.parse import Line
    from facectl.logs.read import LineFilter
    from facectl.logs.report import FunctionReport
    from facectl.logs.times import Window
    from facectl.summary import Summary

app = typer.Typer(invoke_without_command=True)


@app.callback()
@with_overrides
def logs(
    overrides: Overrides,
    context: typer.Context,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Show new lines as they are logged, until Ctrl-C."),
    ] = False,
    since: Since = "10m",
    until: Until = None,
    function: FunctionName = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="Only the lines of this request.")
    ] = None,
    level: Annotated[
        str | None, typer.Option("--level", help="Minimum level: debug, info, warning or error.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", help="Only lines that match this regular expression.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Show each event unchanged.")] = False,
    poll: Annotated[
        bool, typer.Option("--poll", help="Follow without Live Tail, which AWS charges for.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the logs of both functions, merged by time; by default the last ten minutes.

    START and END lines are shown with --level debug, --raw and --json. --json
    prints one JSON object per line.

    [bold]Examples[/bold]

    facectl logs --since 1h --level error

    facectl logs --follow

    facectl logs --request-id 3f2a-000017 --json

    facectl logs report --since 1d
    """
    if context.invoked_subcommand is not None:
        return
    from facectl.cli.log_lines import line_formatter
    from facectl.logs import read, search, times
    from facectl.logs.events import functions_named
    from facectl.logs.source import LogSource

    deployment = with_account(resolve(overrides))
    functions = functions_named(function)
    selected = read.LineFilter.of(level or ("debug" if raw or json else "info"), request_id, grep)
    window = times.window(since, until, now=time.time(), ahead=follow)
    line_format = line_formatter(raw=raw, json=json)
    if follow:
        end = None if until is None else window.end
        if not poll and deployment.target == "aws":
            note(
                "AWS charges Live Tail by the minute (CloudWatch pricing); "
                "--poll follows without it."
            )
        lines = read.followed(deployment, functions, (window.start, end), live=not poll, tell=warn)
        _print(filter(selected, lines), line_format)
        return
    clients = Clients(deployment)
    pattern = "" if request_id is None else search.filter_pattern(request_id)
    with err.status("Reading the logs"):
        lines = read.lines(LogSource(clients), functions, window, pattern=pattern, tell=warn)
    if not _print(filter(selected, lines), line_format):
        _report_none(clients, selected, window, functions)


@app.command()
@reads_deployment
def report(
    deployment: Deployment,
    since: Since = "1h",
    until: Until = None,
    function: FunctionName = None,
    json: Json = False,
) -> None:
    """Summarise durations, cold starts, failures, memory and cost by function.

    [bold]Examples[/bold]

    facectl logs report

    facectl logs report --since 1d --function recognition --json
    """
    from facectl.logs import times
    from facectl.logs.events import functions_named
    from facectl.logs.report import gather

    functions = functions_named(function)
    window = times.window(since, until, now=time.time())
    with err.status("Reading the logs"):
        reports = gather(Clients(deployment), functions, window, tell=warn)
    if json:
        print_json(
            {
                "since": window.start,
                "until": window.end,
                "functions": [r.as_dict() for r in reports],
            }
        )
    else:
        _show_report(reports, window)


def _report_none(
    clients: Clients, selected: LineFilter, window: Window, functions: Sequence[str]
) -> None:
    """Report that no lines match; raises InputError if the request does not exist."""
    if selected.request_id is not None:
        from facectl.logs import search
        from facectl.logs.source import LogSource

        source = LogSource(clients)
        search.of_request(source, selected.request_id, window, functions=functions)
    note(f"No matching lines in the logs of {' and '.join(functions)} {window}")


def _print(lines: Iterable[Line], line_format: Callable[[Line], Text]) -> int:
    """Print the lines as they arrive, until Ctrl-C; returns how many were printed."""
    printed = 0
    try:
        for line in lines:
            out.print(line_format(line), soft_wrap=True)
            printed += 1
    except KeyboardInterrupt:
        note(f"Stopped after {printed} lines.")
    return printed


def _show_report(reports: Sequence[FunctionReport], window: Window) -> None:
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
    say(f"Total {_dollars(total)}, at the prices of {reports[0].price_date}.")
    for report in reports:
        if report.suggested_mb is not None:
            say(_advice(report))
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
