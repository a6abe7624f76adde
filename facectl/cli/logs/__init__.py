"""`facectl logs`: both functions' logs, merged by time; `facectl logs report`: statistics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from facectl.aws import Clients, with_account
from facectl.cli.options import Json, reads_deployment, with_overrides
from facectl.console import err, out, print_json
from facectl.context import Deployment, Overrides, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.text import Text

    from facectl.logs.parse import Line
    from facectl.logs.read import LineFilter
    from facectl.logs.times import Window

app = typer.Typer(invoke_without_command=True)

Since = Annotated[
    str, typer.Option("--since", help="Start time: 10m, 2h ago, 1d, 2026-03-01T12:00.")
]
Until = Annotated[str | None, typer.Option("--until", help="End time; default now.")]
FunctionName = Annotated[
    str | None, typer.Option("--function", help="Only one function: detection or recognition.")
]


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
    from facectl.cli.logs.lines import line_formatter
    from facectl.logs import read, search, times
    from facectl.logs.events import FUNCTIONS, function_named
    from facectl.logs.source import LogSource

    deployment = with_account(resolve(overrides))
    functions = FUNCTIONS if function is None else (function_named(function),)
    selected = read.LineFilter.of(level or ("debug" if raw or json else "info"), request_id, grep)
    window = times.window(since, until, now=time.time(), ahead=follow)
    line_format = line_formatter(raw=raw, json=json)
    if follow:
        end = None if until is None else window.end
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
    from facectl.cli.logs.report import show_report
    from facectl.logs import times
    from facectl.logs.events import FUNCTIONS, function_named
    from facectl.logs.report import gather

    functions = FUNCTIONS if function is None else (function_named(function),)
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
        show_report(reports, window)


def _report_none(
    clients: Clients, selected: LineFilter, window: Window, functions: Sequence[str]
) -> None:
    """Report that no lines match; raises InputError if the request does not exist."""
    if selected.request_id is not None:
        from facectl.logs import search
        from facectl.logs.source import LogSource

        source = LogSource(clients)
        search.of_request(source, selected.request_id, window, functions=functions)
    err.print(f"No matching lines in the logs of {' and '.join(functions)} {window}")


def _print(lines: Iterable[Line], line_format: Callable[[Line], Text]) -> int:
    """Print the lines as they arrive, until Ctrl-C; returns how many were printed."""
    printed = 0
    try:
        for line in lines:
            out.print(line_format(line), soft_wrap=True)
            printed += 1
    except KeyboardInterrupt:
        err.print(f"Stopped after {printed} lines.")
    return printed


def warn(message: str) -> None:
    """Print a warning to stderr."""
    err.print(f"[yellow]{escape(message)}[/yellow]", soft_wrap=True)
