"""The options of `facectl bench`, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_SCHEDULE = "Schedule"
_REQUESTS = "Requests"
_TARGETS = "Baseline and targets"
_OUTPUT = "Output"

Source = Annotated[
    list[str] | None,
    typer.Argument(
        help="Video, image, folder, pattern, camera index, or URL; default: the demo clip."
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--frames",
        min=1,
        help="Number of frames, default 100; a short source is repeated.",
        rich_help_panel=_SCHEDULE,
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        "--duration", min=0.1, help="End after this number of seconds.", rich_help_panel=_SCHEDULE
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        min=0.001,
        help="Open loop: frames per second, default 1.",
        rich_help_panel=_SCHEDULE,
    ),
]
Realtime = Annotated[
    bool,
    typer.Option(
        "--realtime", help="Open loop: by the timestamps of the source.", rich_help_panel=_SCHEDULE
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        min=1,
        max=256,
        help="Closed loop: frames in flight; an answer releases the next frame.",
        rich_help_panel=_SCHEDULE,
    ),
]
ArrivalsOption = Annotated[
    Literal["uniform", "poisson"],
    typer.Option("--arrivals", help="Equal or random intervals.", rich_help_panel=_SCHEDULE),
]
Seed = Annotated[
    int, typer.Option("--seed", help="Seed of the random arrivals.", rich_help_panel=_SCHEDULE)
]
Warmup = Annotated[
    int,
    typer.Option(
        "--warmup", min=0, help="Warm-up frames first, not counted.", rich_help_panel=_SCHEDULE
    ),
]
MaxSide = Annotated[
    int | None,
    typer.Option(
        "--max-side",
        min=16,
        help="Scale the longest side down to this number of pixels.",
        rich_help_panel=_REQUESTS,
    ),
]
Quality = Annotated[
    int,
    typer.Option("--quality", min=1, max=100, help="JPEG quality.", rich_help_panel=_REQUESTS),
]
MaxFaces = Annotated[
    int,
    typer.Option(
        "--max-faces", min=1, max=100, help="Keep the N largest faces.", rich_help_panel=_REQUESTS
    ),
]
PurgeOption = Annotated[
    bool, typer.Option("--purge", help="Empty both queues first.", rich_help_panel=_REQUESTS)
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.5,
        help="Seconds until a frame without an answer counts as unanswered.",
        rich_help_panel=_REQUESTS,
    ),
]
Baseline = Annotated[
    bool,
    typer.Option(
        "--baseline",
        "--floor",
        help="Also measure the platform alone, with no-op functions beside the pipeline.",
        rich_help_panel=_TARGETS,
    ),
]
Compare = Annotated[
    Path | None,
    typer.Option(
        "--compare", help="Compare with the JSON of an earlier run.", rich_help_panel=_TARGETS
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Expected answers: CSV with the columns Image,Results.",
        rich_help_panel=_TARGETS,
    ),
]
TargetMean = Annotated[
    float,
    typer.Option(
        "--target-mean", min=0, help="Maximum mean end to end, seconds.", rich_help_panel=_TARGETS
    ),
]
TargetP99 = Annotated[
    float | None,
    typer.Option(
        "--target-p99", min=0, help="Maximum p99 end to end, seconds.", rich_help_panel=_TARGETS
    ),
]
MaxUnanswered = Annotated[
    int,
    typer.Option(
        "--max-unanswered",
        min=0,
        help="Maximum number of frames without an answer.",
        rich_help_panel=_TARGETS,
    ),
]
PriceFile = Annotated[
    Path | None,
    typer.Option(
        "--price-file", help="Price table (JSON), default facectl's own.", rich_help_panel=_TARGETS
    ),
]
Sizes = Annotated[
    str,
    typer.Option("--memory", help="Memory sizes of both functions, in MB, separated by commas."),
]
Csv = Annotated[
    Path | None,
    typer.Option("--csv", help="Write one row for each request.", rich_help_panel=_OUTPUT),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="Write an HTML report with charts.", rich_help_panel=_OUTPUT),
]
