"""`facectl bench sweep`: latency and cost by memory size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from facectl.aws import Clients
from facectl.cli.bench.run import TerminalProgress
from facectl.cli.options import (
    AnswerTimeout,
    BenchSource,
    FrameCount,
    FramesInFlight,
    Json,
    MaxFaces,
    MaxSide,
    PriceFile,
    PurgeFirst,
    Quality,
    Rate,
    Warmup,
    changes_deployment,
)
from facectl.console import out, print_json, warn
from facectl.context import Deployment
from facectl.errors import IncompleteError

if TYPE_CHECKING:
    from facectl.bench.sweep import Swept


@changes_deployment
def sweep(
    deployment: Deployment,
    source: BenchSource = None,
    memory: Annotated[
        str,
        typer.Option(
            "--memory", help="Memory sizes of both functions, in MB, separated by commas."
        ),
    ] = "1024,1769,3008",
    frames: FrameCount = 30,
    rate: Rate = None,
    concurrency: FramesInFlight = None,
    warmup: Warmup = 5,
    max_side: MaxSide = None,
    quality: Quality = 95,
    max_faces: MaxFaces = 1,
    purge: PurgeFirst = False,
    timeout: AnswerTimeout = 60,
    price_file: PriceFile = None,
    json: Json = False,
) -> None:
    """Measure latency and cost with several memory sizes of the functions.

    Their memory is restored afterwards. On the local cloud every size has the same processor:
    only AWS shows a difference.

    [bold]Examples[/bold]

    facectl bench sweep --memory 1024,1769,3008

    facectl bench sweep clip.mp4 --memory 1769,3538 -n 100 -c 1 --json
    """
    from facectl import prices
    from facectl.bench.benchmark import BenchmarkOptions
    from facectl.bench.report import Targets
    from facectl.bench.run import load_of
    from facectl.bench.sweep import sizes_of
    from facectl.bench.sweep import sweep as measure
    from facectl.bench.workload import Workload
    from facectl.stream.frames import Encoding
    from facectl.stream.sender import RequestOptions

    workload = Workload(frames, rate, concurrency=concurrency, warmup=warmup)
    request_options = RequestOptions(Encoding(max_side, quality), max_faces, detail=True)
    load, name = load_of(source, workload, request_options, timeout)
    settings = BenchmarkOptions(
        load, name, prices.load(price_file), Targets(mean=None), purge=purge
    )
    results = measure(Clients(deployment), sizes_of(memory), settings, TerminalProgress())
    _finish(results, target=deployment.target, json=json)


def _finish(results: Sequence[Swept], *, target: str, json: bool) -> None:
    """Print the figures of each size; raises IncompleteError if a run ended early."""
    if json:
        print_json([swept.as_dict() for swept in results])
    else:
        out.print(_table(results))
    if target == "local":
        warn(
            "On the local cloud every size has the same processor: these figures are repeated "
            "measurements"
        )
    for swept in results:
        if not swept.report.run.complete:
            raise IncompleteError(
                f"The sweep ended early, at {swept.memory} MB: {swept.report.run.ended}",
                hint="facectl status",
            )


def _table(results: Sequence[Swept]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("MB", "n", "mean ms", "p50 ms", "p99 ms", "detect ms", "embed ms", "answers"):
        table.add_column(name, justify="right")
    table.add_column("per 1,000", justify="right")
    for swept in results:
        report = swept.report
        figures, warm = report.figures, report.figures.warm
        stages = [figures.stages.each.get(stage) for stage in ("detect", "embed")]
        cost = report.cost
        table.add_row(
            str(swept.memory),
            str(warm.count),
            *(_ms(value) for value in (warm.mean, warm.p50, warm.p99)),
            *(_ms(None if stage is None else stage.mean) for stage in stages),
            f"{figures.answered} of {figures.answered + figures.without_answer}",
            "" if cost is None else f"{cost.thousand:.4f} {cost.prices.currency}",
        )
    return table


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.0f}"
