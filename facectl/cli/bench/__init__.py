"""`facectl bench`: latency end to end, by stage, and cost."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from facectl.aws import Clients
from facectl.cli.bench import options as option
from facectl.cli.options import Json, changes_deployment
from facectl.context import Deployment


class _RunByDefault(TyperGroup):
    """Adds the default command: `facectl bench -n 100` is `facectl bench run -n 100`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first not in self.commands and first not in {"-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_RunByDefault)


@app.callback()
def bench() -> None:
    """Measure latency end to end, by stage, and cost.

    [bold]facectl bench -n 100[/bold] means [bold]facectl bench run -n 100[/bold]; all options:
    [bold]facectl bench run --help[/bold].
    """


@app.command("run")
@changes_deployment
def run(
    deployment: Deployment,
    source: option.Source = None,
    frames: option.Frames = None,
    duration: option.Duration = None,
    rate: option.Rate = None,
    realtime: option.Realtime = False,
    concurrency: option.Concurrency = None,
    arrivals: option.ArrivalsOption = "uniform",
    seed: option.Seed = 0,
    warmup: option.Warmup = 0,
    max_side: option.MaxSide = None,
    quality: option.Quality = 95,
    max_faces: option.MaxFaces = 1,
    purge: option.PurgeOption = False,
    timeout: option.Timeout = 60,
    baseline: option.Baseline = False,
    compare: option.Compare = None,
    labels: option.Labels = None,
    target_mean: option.TargetMean = 3.0,
    target_p99: option.TargetP99 = None,
    max_unanswered: option.MaxUnanswered = 0,
    price_file: option.PriceFile = None,
    csv: option.Csv = None,
    html: option.Html = None,
    json: Json = False,
) -> None:
    """Send frames like a camera, and report latency, stages and cost.

    Latency counts from when a frame was due, so that it includes delays of the client. Exit
    code 1 if a target is missed, 3 if the run ended early.

    [bold]Examples[/bold]

    facectl bench -n 100

    facectl bench run clip.mp4 --rate 5 --duration 60 --target-p99 1

    facectl bench -c 4 -n 1000 --max-side 640 --warmup 10 --csv requests.csv

    facectl bench --baseline -c 1

    facectl bench photos/ --labels labels.csv --json
    """
    from facectl import prices
    from facectl.bench.benchmark import BenchmarkOptions, benchmark
    from facectl.bench.report import Targets
    from facectl.bench.run import load_of
    from facectl.bench.workload import Workload
    from facectl.cli.bench.progress import TerminalWatch
    from facectl.cli.bench.report import finish
    from facectl.stream.frames import Encoding
    from facectl.stream.sender import RequestOptions

    workload = Workload(
        frames, rate, realtime, concurrency, arrivals, seed, warmup=warmup, duration=duration
    )
    request_options = RequestOptions(Encoding(max_side, quality), max_faces, detail=True)
    load, name = load_of(source, workload, request_options, timeout)
    settings = BenchmarkOptions(
        load=load,
        source_name=name,
        prices=prices.load(price_file),
        targets=Targets(target_mean, target_p99, max_unanswered),
        labels=labels,
        purge=purge,
        baseline=baseline,
        compare=compare,
    )
    report = benchmark(Clients(deployment), settings, TerminalWatch())
    finish(report, csv=csv, html=html, json=json)


@app.command("sweep")
@changes_deployment
def sweep(
    deployment: Deployment,
    source: option.Source = None,
    memory: option.Sizes = "1024,1769,3008",
    frames: option.Frames = 30,
    rate: option.Rate = None,
    concurrency: option.Concurrency = None,
    warmup: option.Warmup = 5,
    max_side: option.MaxSide = None,
    quality: option.Quality = 95,
    max_faces: option.MaxFaces = 1,
    purge: option.PurgeOption = False,
    timeout: option.Timeout = 60,
    price_file: option.PriceFile = None,
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
    from facectl.bench.sweep import sizes_of, sweep
    from facectl.bench.workload import Workload
    from facectl.cli.bench.progress import TerminalWatch
    from facectl.cli.bench.sweep import finish_sweep
    from facectl.stream.frames import Encoding
    from facectl.stream.sender import RequestOptions

    workload = Workload(frames, rate, concurrency=concurrency, warmup=warmup)
    request_options = RequestOptions(Encoding(max_side, quality), max_faces, detail=True)
    load, name = load_of(source, workload, request_options, timeout)
    settings = BenchmarkOptions(
        load, name, prices.load(price_file), Targets(mean=None), purge=purge
    )
    results = sweep(Clients(deployment), sizes_of(memory), settings, TerminalWatch())
    finish_sweep(results, target=deployment.target, json=json)
