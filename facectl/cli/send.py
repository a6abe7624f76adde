"""`facectl send`: send frames through the pipeline and show the answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl.cli import send_run
from facectl.cli.options import (
    REQUESTS,
    Json,
    MaxFaces,
    MaxSide,
    Quality,
    changes_deployment,
)
from facectl.cli.stream_options import VISIT_FACES, FrameOptions, VisitChoices
from facectl.console import note, warn
from facectl.context import Deployment
from facectl.errors import InputError

if TYPE_CHECKING:
    from facectl.visits.outputs import VisitOutputs


@changes_deployment
def send(
    deployment: Deployment,
    source: Annotated[
        list[str],
        typer.Argument(
            help="Video, image, folder, pattern (or several images), camera index, or URL."
        ),
    ],
    frame_options: FrameOptions,
    visit_choices: VisitChoices,
    max_side: MaxSide = None,
    quality: Quality = 95,
    max_faces: MaxFaces = 1,
    detail: Annotated[
        bool,
        typer.Option(
            "--detail", help="Ask for boxes, distances, timings.", rich_help_panel=REQUESTS
        ),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the answers.")] = True,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the interrupted run of these frames."),
    ] = False,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help="Write each frame's outcome to this file, one JSON per line."),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option("--annotate", help="Write a video with boxes and names; implies --detail."),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=0, help="Show the first N frames in the table.")
    ] = 200,
    json: Json = False,
) -> None:
    """Send frames through the pipeline and show who was recognized.

    Exit code 1 if a frame was refused, unanswered or unreadable, 3 if the run ended early.

    [bold]Examples[/bold]

    facectl send clip.mp4

    facectl send photos/ --max-faces 10 --detail --out results.jsonl

    facectl send 0 --fps 2 --max-frames 100

    facectl send rtsp://camera.local/stream --realtime --annotate seen.mp4

    facectl send 0 --fps 4 --visits visits.jsonl --keep-crops crops/

    facectl send 0 --on-visit mqtt://facectl@home.local --on-visit-only known

    facectl send 0 --visits visits.jsonl --keep-strangers

    facectl send 0 --visits visits.jsonl --keep-strangers

    facectl send clip.mp4 --resume
    """
    from facectl.stream.frames import Encoding
    from facectl.stream.live import Reconnection
    from facectl.stream.run_file import RunTask, open_run_file
    from facectl.stream.sender import RequestOptions
    from facectl.stream.session import RunOptions, as_taken
    from facectl.stream.sources import open_source

    if annotate is not None and not wait:
        raise InputError("--annotate draws the answers, but --no-wait does not wait for any")
    visit_outputs = _visit_outputs(visit_choices, wait=wait)
    if visit_outputs is not None:
        max_faces = max_faces if max_faces > 1 else VISIT_FACES
        note(f"Visits: detail and up to {max_faces} faces are requested for each frame")
    sampling = frame_options.sampling
    reconnection = Reconnection(frame_options.reconnect, warn)
    frames = open_source(source, sampling, reconnection=reconnection)
    request_options = RequestOptions(
        Encoding(max_side, quality),
        max_faces,
        detail or annotate is not None or visit_outputs is not None,
    )
    options = RunOptions(
        request_options,
        frame_options.concurrency,
        schedule=as_taken if frame_options.realtime else None,
        wait=wait,
        timeout=frame_options.timeout,
    )
    task = RunTask(deployment.key.name, tuple(source), sampling, request_options)
    run_file = open_run_file(task, live=frames.live, resume=resume)
    files = send_run.OutputFiles(out_file, annotate, visit_outputs)
    report = send_run.run(deployment, frames, options, files, rows=rows, run_file=run_file)
    send_run.finish(report, wait=wait, json=json)


def _visit_outputs(choices: VisitChoices, *, wait: bool) -> VisitOutputs | None:
    """The outputs, None for none; raises InputError where the options contradict each other."""
    outputs = choices.outputs()
    if outputs.file is None and not outputs.receivers and outputs.strangers is None:
        if outputs.crops is not None:
            raise InputError("--keep-crops keeps crops of visits", hint="add --visits FILE")
        return None
    if not wait:
        raise InputError("Visits are made of the answers, but --no-wait does not wait for any")
    return outputs
