"""`facectl bench run`, and the progress of a benchmark on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from facectl.aws import Clients
from facectl.cli.options import (
    OUTPUT,
    SCHEDULE,
    TARGETS,
    AnswerTimeout,
    BenchSource,
    Detect,
    FrameCount,
    FramesInFlight,
    Json,
    MaxFaces,
    MaxSide,
    MinFaceSize,
    PriceFile,
    PurgeFirst,
    Quality,
    Rate,
    Reply,
    Warmup,
    changes_deployment,
)
from facectl.cli.run_report import run_bar
from facectl.console import err, note
from facectl.context import Deployment

if TYPE_CHECKING:
    from facectl.bench.run import Load
    from facectl.stream.outcomes import FrameCounts


@changes_deployment
def run(
    deployment: Deployment,
    source: BenchSource = None,
    frames: FrameCount = None,
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration",
            min=0.1,
            help="End after this number of seconds.",
            rich_help_panel=SCHEDULE,
        ),
    ] = None,
    rate: Rate = None,
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime",
            help="Open loop: by the timestamps of the source.",
            rich_help_panel=SCHEDULE,
        ),
    ] = False,
    concurrency: FramesInFlight = None,
    arrivals: Annotated[
        Literal["uniform", "poisson"],
        typer.Option("--arrivals", help="Equal or random intervals.", rich_help_panel=SCHEDULE),
    ] = "uniform",
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the random arrivals.", rich_help_panel=SCHEDULE)
    ] = 0,
    warmup: Warmup = 0,
    max_side: MaxSide = None,
    quality: Quality = 95,
    max_faces: MaxFaces = 1,
    min_face_size: MinFaceSize = None,
    detect: Detect = "cloud",
    reply: Reply = "shared",
    purge: PurgeFirst = False,
    timeout: AnswerTimeout = 60,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline",
            "--floor",
            help="Also measure the platform alone, with no-op functions beside the pipeline.",
            rich_help_panel=TARGETS,
        ),
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare", help="Compare with the JSON of an earlier run.", rich_help_panel=TARGETS
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="Expected answers: CSV with the columns Image,Results.",
            rich_help_panel=TARGETS,
        ),
    ] = None,
    target_mean: Annotated[
        float,
        typer.Option(
            "--target-mean",
            min=0,
            help="Maximum mean end to end, seconds.",
            rich_help_panel=TARGETS,
        ),
    ] = 3.0,
    target_p99: Annotated[
        float | None,
        typer.Option(
            "--target-p99", min=0, help="Maximum p99 end to end, seconds.", rich_help_panel=TARGETS
        ),
    ] = None,
    max_unanswered: Annotated[
        int,
        typer.Option(
            "--max-unanswered",
            min=0,
            help="Maximum number of frames without an answer.",
            rich_help_panel=TARGETS,
        ),
    ] = 0,
    price_file: PriceFile = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Write one row for each request.", rich_help_panel=OUTPUT),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write an HTML report with charts.", rich_help_panel=OUTPUT),
    ] = None,
    json: Json = False,
) -> None:
    """Send frames like a camera, and report latency, stages and cost.

    Sends 100 frames, unless -n or --duration is given. Latency counts from when a frame was
    due, so that it includes delays of the client. Exit code 1 if a target is missed, 3 if the
    run ended early.

    [bold]Examples[/bold]

    facectl bench -n 100

    facectl bench run clip.mp4 --rate 5 --duration 60 --target-p99 1

    facectl bench -c 4 -n 1000 --max-side 640 --warmup 10 --csv requests.csv

    facectl bench --detect edge -n 300

    facectl bench --baseline -c 1

    facectl bench photos/ --labels labels.csv --json
    """
    from facectl import prices
    from facectl.bench.benchmark import BenchmarkOptions, benchmark
    from facectl.bench.report import Targets
    from facectl.bench.run import load_of
    from facectl.bench.workload import Workload
    from facectl.cli.bench.report import finish
    from facectl.stream.frames import Encoding
    from facectl.stream.sender import RequestOptions

    workload = Workload(
        frames, rate, realtime, concurrency, arrivals, seed, warmup=warmup, duration=duration
    )
    request_options = RequestOptions(
        Encoding(max_side, quality), max_faces, detail=True, min_face_size=min_face_size
    )
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
        private_replies=reply == "private",
        edge=detect == "edge",
    )
    report = benchmark(Clients(deployment), settings, TerminalProgress())
    finish(report, csv=csv, html=html, json=json)


class TerminalProgress:
    """Shows progress as spinners and progress bars."""

    def tell(self, sentence: str) -> None:
        """Print a line."""
        note(sentence)

    @contextmanager
    def status(self, doing: str) -> Iterator[Callable[[str], None]]:
        """Show a spinner; yields a function that updates its details."""
        with err.status(escape(doing)) as status:
            yield lambda more: status.update(escape(f"{doing}: {more}"))

    def frames(
        self, load: Load, doing: str
    ) -> AbstractContextManager[Callable[[FrameCounts], None]]:
        """Show a progress bar of the frames, or a spinner if only the duration ends them."""
        return run_bar(load.workload.limit, doing=doing)
