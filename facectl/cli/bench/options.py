"""The options of `facectl bench`, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_WHEN = "When frames are sent"
_HOW = "How they are sent"
_HELD = "What the result is held against"
_OUT = "What is written"

Source = Annotated[
    list[str] | None,
    typer.Argument(help="Video, image, folder, pattern, camera index, or URL; else the demo clip."),
]
Frames = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--frames",
        min=1,
        help="So many frames, 100 at first; a short source is repeated.",
        rich_help_panel=_WHEN,
    ),
]
Duration = Annotated[
    float | None,
    typer.Option("--duration", min=0.1, help="So many seconds.", rich_help_panel=_WHEN),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        min=0.001,
        help="Open loop: so many frames a second, 1 at first.",
        rich_help_panel=_WHEN,
    ),
]
Realtime = Annotated[
    bool,
    typer.Option("--realtime", help="Open loop: as the camera took them.", rich_help_panel=_WHEN),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        min=1,
        max=256,
        help="Closed loop: so many frames on their way; an answer lets the next one go.",
        rich_help_panel=_WHEN,
    ),
]
ArrivalsOption = Annotated[
    Literal["uniform", "poisson"],
    typer.Option("--arrivals", help="Equally spaced, or at random.", rich_help_panel=_WHEN),
]
Seed = Annotated[int, typer.Option("--seed", help="Of the random arrivals.", rich_help_panel=_WHEN)]
Warmup = Annotated[
    int,
    typer.Option(
        "--warmup", min=0, help="So many frames first that don't count.", rich_help_panel=_WHEN
    ),
]
MaxSide = Annotated[
    int | None,
    typer.Option(
        "--max-side",
        min=16,
        help="Scale the longest side down to so many pixels.",
        rich_help_panel=_HOW,
    ),
]
Quality = Annotated[
    int,
    typer.Option("--quality", min=1, max=100, help="JPEG quality.", rich_help_panel=_HOW),
]
MaxFaces = Annotated[
    int,
    typer.Option("--max-faces", min=1, max=100, help="The largest so many.", rich_help_panel=_HOW),
]
PurgeOption = Annotated[
    bool, typer.Option("--purge", help="Empty both queues first.", rich_help_panel=_HOW)
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0.5,
        help="Give up after so many seconds without an answer.",
        rich_help_panel=_HOW,
    ),
]
Floor = Annotated[
    bool,
    typer.Option(
        "--floor",
        help="Measure the platform alone too, with no-op functions beside the pipeline.",
        rich_help_panel=_HELD,
    ),
]
Compare = Annotated[
    Path | None,
    typer.Option("--compare", help="JSON of an earlier run.", rich_help_panel=_HELD),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="The right answers: CSV with Image,Results.", rich_help_panel=_HELD
    ),
]
TargetMean = Annotated[
    float,
    typer.Option("--target-mean", min=0, help="Seconds end to end.", rich_help_panel=_HELD),
]
TargetP99 = Annotated[
    float | None,
    typer.Option("--target-p99", min=0, help="Seconds end to end.", rich_help_panel=_HELD),
]
MaxUnanswered = Annotated[
    int,
    typer.Option(
        "--max-unanswered",
        min=0,
        help="So many frames may stay without an answer.",
        rich_help_panel=_HELD,
    ),
]
PriceFile = Annotated[
    Path | None,
    typer.Option("--price-file", help="Prices instead of facectl's own.", rich_help_panel=_HELD),
]
Sizes = Annotated[
    str, typer.Option("--memory", help="MB of both functions, one size after the other.")
]
Csv = Annotated[
    Path | None,
    typer.Option("--csv", help="Write one row for each request.", rich_help_panel=_OUT),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="Write a page with charts, one file.", rich_help_panel=_OUT),
]
