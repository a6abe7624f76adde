"""The options of `facectl send` and `facectl watch`, in bundles: a field is an option.

`facectl.cli.options` makes options of the fields of a parameter whose type is a bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl.cli.options import FRAMES, REQUESTS, VISITS
from facectl.errors import InputError

if TYPE_CHECKING:
    from facectl.stream.sampling import Sampling
    from facectl.visits.outputs import VisitOutputs

# The faces of a frame that visits ask for; the largest.
VISIT_FACES = 10


@dataclass(frozen=True, slots=True)
class FrameOptions:
    """Which frames are sent, when, and how many at once."""

    every: Annotated[
        int, typer.Option("--every", min=1, help="Every n-th frame.", rich_help_panel=FRAMES)
    ] = 1
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=0.001,
            help="Maximum frames per second; for images, the frame rate.",
            rich_help_panel=FRAMES,
        ),
    ] = None
    max_frames: Annotated[
        int | None,
        typer.Option("--max-frames", min=1, help="Stop after N frames.", rich_help_panel=FRAMES),
    ] = None
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime", help="Send frames at the rate of the source.", rich_help_panel=FRAMES
        ),
    ] = False
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency",
            "-c",
            min=1,
            max=256,
            help="Concurrent requests.",
            rich_help_panel=REQUESTS,
        ),
    ] = 4
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=1,
            help="Seconds until a frame without an answer counts as unanswered.",
            rich_help_panel=REQUESTS,
        ),
    ] = 60

    @property
    def sampling(self) -> Sampling:
        """The selection of frames; raises InputError for two that contradict each other."""
        from facectl.stream.sampling import Sampling

        return Sampling(self.every, self.fps, self.max_frames)


@dataclass(frozen=True, slots=True)
class VisitChoices:
    """What is a visit, and where its events go."""

    visits: Annotated[
        Path | None,
        typer.Option(
            "--visits",
            help="Append visits to this file, one JSON per event; send requests detail for it and, "
            f"instead of one face, up to {VISIT_FACES}.",
            rich_help_panel=VISITS,
        ),
    ] = None
    visit_gap: Annotated[
        float,
        typer.Option(
            "--visit-gap",
            min=0.1,
            help="Seconds without the person after which a visit ends.",
            rich_help_panel=VISITS,
        ),
    ] = 10
    visit_frames: Annotated[
        int,
        typer.Option(
            "--visit-frames",
            min=1,
            help="Frames that a visit needs, and that must agree on a name.",
            rich_help_panel=VISITS,
        ),
    ] = 3
    keep_crops: Annotated[
        Path | None,
        typer.Option(
            "--keep-crops",
            help="Write the best crop of each visit to this folder.",
            rich_help_panel=VISITS,
        ),
    ] = None
    on_visit: Annotated[
        list[str] | None,
        typer.Option(
            "--on-visit",
            help="Send the events of visits to http(s)://URL, mqtt(s)://USER@HOST, "
            "sns:TOPIC_ARN or command:PROGRAM; can be repeated.",
            rich_help_panel=VISITS,
        ),
    ] = None
    on_visit_only: Annotated[
        list[str] | None,
        typer.Option(
            "--on-visit-only",
            help="Send only visits of known, of unknown, or of this NAME; can be repeated.",
            rich_help_panel=VISITS,
        ),
    ] = None
    on_visit_ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--on-visit-ignore",
            help="Do not send visits of this NAME; can be repeated.",
            rich_help_panel=VISITS,
        ),
    ] = None
    webhook_secret: Annotated[
        Path | None,
        typer.Option(
            "--webhook-secret",
            help="File with the secret that signs webhooks; default: $FACECTL_WEBHOOK_SECRET.",
            rich_help_panel=VISITS,
        ),
    ] = None

    keep_strangers: Annotated[
        bool,
        typer.Option(
            "--keep-strangers",
            help="Keep faces of unknown people, and a few of each visit, on this computer: "
            "facectl strangers names them.",
            rich_help_panel=VISITS,
        ),
    ] = False
    strangers_days: Annotated[
        float,
        typer.Option(
            "--strangers-days",
            min=0.001,
            help="Days after which kept faces are deleted.",
            rich_help_panel=VISITS,
        ),
    ] = 7

    def outputs(self, *, crops: bool = False) -> VisitOutputs:
        """What is written of visits; `crops`: crops are made without --keep-crops too.

        Raises InputError where the options contradict each other.
        """
        from facectl.visits.outputs import VisitOutputs
        from facectl.visits.tracker import VisitOptions

        if (self.on_visit_only or self.on_visit_ignore) and not self.on_visit:
            option = "--on-visit-only" if self.on_visit_only else "--on-visit-ignore"
            raise InputError(f"{option} selects what --on-visit sends", hint="add --on-visit")
        return VisitOutputs(
            self.visits,
            VisitOptions(self.visit_gap, self.visit_frames, crops or self.keep_crops is not None),
            self.keep_crops,
            tuple(self.on_visit or ()),
            tuple(self.on_visit_only or ()),
            tuple(self.on_visit_ignore or ()),
            self.webhook_secret,
            timedelta(days=self.strangers_days) if self.keep_strangers else None,
        )
