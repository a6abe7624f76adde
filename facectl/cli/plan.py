"""`facectl plan`: what a number of cameras needs on AWS, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facectl.cli.options import OUTPUT, Json, PriceFile
from facectl.console import err, out, print_json, say, warn
from lambda_src.settings import MB_PER_VCPU

if TYPE_CHECKING:
    from facectl.plan.planner import Plan

_LOAD = "Load"
_FUNCTIONS = "Functions"
_EVENTS = "Simulation"


def plan(
    cameras: Annotated[
        int, typer.Option("--cameras", help="Number of cameras.", rich_help_panel=_LOAD)
    ] = 1000,
    fps: Annotated[
        float,
        typer.Option("--fps", help="Mean frames per second of a camera.", rich_help_panel=_LOAD),
    ] = 2.0,
    faces: Annotated[
        float, typer.Option("--faces", help="Mean faces in a frame.", rich_help_panel=_LOAD)
    ] = 1.3,
    hours: Annotated[
        float,
        typer.Option("--hours", help="Hours a day in which they send.", rich_help_panel=_LOAD),
    ] = 12.0,
    day_curve: Annotated[
        str,
        typer.Option(
            "--day-curve",
            help="flat, day, peaks, or relative rates over these hours, such as 1,3,5,2.",
            rich_help_panel=_LOAD,
        ),
    ] = "day",
    frame_kb: Annotated[
        float,
        typer.Option("--frame-kb", help="Kilobytes of a frame's JPEG.", rich_help_panel=_LOAD),
    ] = 90.0,
    memory: Annotated[
        int,
        typer.Option("--memory", help="Memory of both functions, MB.", rich_help_panel=_FUNCTIONS),
    ] = MB_PER_VCPU,
    architecture: Annotated[
        Literal["x86_64", "arm64"],
        typer.Option(
            "--architecture", help="Processor of the functions.", rich_help_panel=_FUNCTIONS
        ),
    ] = "x86_64",
    precision: Annotated[
        Literal["fp32", "int8"],
        typer.Option("--precision", help="Precision of the embedder.", rich_help_panel=_FUNCTIONS),
    ] = "int8",
    pollers: Annotated[
        str | None,
        typer.Option(
            "--pollers",
            metavar="LEAST:MOST",
            help="Provisioned pollers instead of the mapping's own.",
            rich_help_panel=_FUNCTIONS,
        ),
    ] = None,
    concurrency_limit: Annotated[
        int | None,
        typer.Option(
            "--concurrency-limit",
            help="Concurrent executions of the account; default: as many as needed.",
            rich_help_panel=_FUNCTIONS,
        ),
    ] = None,
    bench: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Service times of a report of facectl bench --json; default: facectl's own.",
            rich_help_panel=_FUNCTIONS,
        ),
    ] = None,
    burst: Annotated[
        float,
        typer.Option(
            "--burst", help="A minute with this multiple of the peak.", rich_help_panel=_EVENTS
        ),
    ] = 3.0,
    outage: Annotated[
        float,
        typer.Option("--outage", help="Minutes without SQS.", rich_help_panel=_EVENTS),
    ] = 10.0,
    crashes: Annotated[
        float,
        typer.Option(
            "--crashes", help="Share of batches that lose their worker.", rich_help_panel=_EVENTS
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the simulation.", rich_help_panel=_EVENTS)
    ] = 0,
    region: Annotated[
        str | None, typer.Option("--region", help="Region of the prices.", rich_help_panel=OUTPUT)
    ] = None,
    price_file: PriceFile = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write an HTML report with charts.", rich_help_panel=OUTPUT),
    ] = None,
    json: Json = False,
) -> None:
    """Plan a deployment: executions, quotas, cost of a month, bursts and faults.

    Computes what a number of cameras needs on AWS and simulates a day, a burst and an
    outage. It calls no AWS API. docs/CAPACITY.md has the formulas and their sources.

    [bold]Examples[/bold]

    facectl plan --cameras 1000 --fps 2 --faces 1.3 --hours 12

    facectl plan --cameras 50 --fps 5 --day-curve peaks --memory 1769 --html plan.html

    facectl bench -c 1 -n 200 --json > bench.json

    facectl plan --cameras 200 --from bench.json --concurrency-limit 1000 --json
    """
    from facectl import prices
    from facectl.deploy.options import parse_pollers
    from facectl.plan.inputs import DayCurve, Load, Settings
    from facectl.plan.planner import Events, make_plan
    from facectl.plan.times import DEFAULT, from_bench

    load = Load(cameras, fps, faces, hours, DayCurve.parse(day_curve), frame_kb)
    settings = Settings(
        memory,
        architecture,
        precision,
        concurrency_limit=concurrency_limit,
        pollers=None if pollers is None else parse_pollers(pollers),
    )
    events = Events(burst, outage, crashes, seed)
    table = prices.load_plan(price_file, region)
    times = DEFAULT if bench is None else from_bench(bench)
    with err.status("Simulating a day, a burst and an outage"):
        made = make_plan(load, settings, times, table, events)
    if html is not None:
        from facectl.plan.page import write_page

        write_page(made, html)
    if json:
        print_json(made.as_dict())
    else:
        _show(made)
    for line in made.warnings:
        warn(line)


def _show(made: Plan) -> None:
    """Print the plan, one screen."""
    from facectl.cli.tables import rich_table
    from facectl.plan import tables

    say(tables.heading(made))
    for table in (tables.needs(made), tables.cost_parts(made)):
        out.print(rich_table(table))
    for sentence in tables.cost_sentences(made):
        say(sentence)
    out.print(rich_table(tables.changes(made)))
    for sentence in (tables.halving(made), *tables.notes(made)):
        say(sentence)
    out.print(rich_table(tables.behaviour(made)))
    say(f"Service times: {made.capacity.times.source}")
