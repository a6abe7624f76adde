"""`facectl send`: send frames through the pipeline and show the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl.cli import send_cameras, send_run
from facectl.cli.options import (
    FRAMES,
    OUTPUT,
    REQUESTS,
    Detect,
    Json,
    MaxFaces,
    MaxSide,
    MinFaceSize,
    Quality,
    Reply,
    announced,
    with_deployment,
)
from facectl.cli.stream_options import VISIT_FACES, FrameOptions, VisitChoices
from facectl.console import note, warn
from facectl.context import Deployment
from facectl.errors import InputError

if TYPE_CHECKING:
    from facectl.stream.cameras import Camera
    from facectl.stream.frames import Encoding
    from facectl.stream.sampling import Sampling
    from facectl.visits.outputs import VisitOutputs


@with_deployment
def send(
    deployment: Deployment,
    source: Annotated[
        list[str] | None,
        typer.Argument(
            help="Video, image, folder, pattern (or several images), camera index, or URL; several "
            "of these are sent side by side."
        ),
    ] = None,
    cameras: Annotated[
        Path | None,
        typer.Option(
            "--cameras",
            help="YAML file with the sources: `cameras:`, a list with source, name, fps, every, "
            "max_frames, max_side, quality of each.",
            rich_help_panel=FRAMES,
        ),
    ] = None,
    frame_options: FrameOptions = FrameOptions(),  # noqa: B008 - nothing of it can change
    reconnect: Annotated[
        float,
        typer.Option(
            "--reconnect",
            min=0,
            help="Seconds for which a camera or stream that is gone is opened again; inf: for "
            "good, and also one that can't be opened at the start.",
            rich_help_panel=FRAMES,
        ),
    ] = 60,
    max_side: MaxSide = None,
    quality: Quality = 95,
    max_faces: MaxFaces = 1,
    min_face_size: MinFaceSize = None,
    detail: Annotated[
        bool,
        typer.Option(
            "--detail", help="Ask for boxes, distances, timings.", rich_help_panel=REQUESTS
        ),
    ] = False,
    detect: Detect = "cloud",
    reply: Reply = "shared",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the answers.")] = True,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the interrupted run of these frames."),
    ] = False,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write each frame's outcome to this file, one JSON per line.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(
            "--annotate",
            help="Write a video with boxes and names, for several sources one each; implies "
            "--detail.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    visit_choices: VisitChoices = VisitChoices(),  # noqa: B008 - as above
    rows: Annotated[
        int,
        typer.Option(
            "--rows", min=0, help="Show the first N frames in the table.", rich_help_panel=OUTPUT
        ),
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

    facectl send door.mp4 yard.mp4 rtsp://camera.local/stream

    facectl send --cameras cameras.yaml --visits visits.jsonl

    facectl send 0 --fps 4 --visits visits.jsonl --keep-crops crops/

    facectl send 0 --on-visit mqtt://facectl@home.local --on-visit-only known

    facectl send 0 --visits visits.jsonl --keep-strangers

    facectl send 0 --fps 2 --detect edge

    facectl send clip.mp4 --resume
    """
    from facectl.edge import memory
    from facectl.strangers import store as strangers
    from facectl.stream.frames import Encoding
    from facectl.stream.live import Reconnection
    from facectl.stream.run_file import RunTask, open_run_file
    from facectl.stream.sender import RequestOptions
    from facectl.stream.session import RunOptions, as_taken
    from facectl.stream.sources import open_source

    # A service of cameras starts while the network is away, too.
    deployment = announced(deployment, offline=detect == "edge")
    if detect == "edge":
        memory.one_heap()
    # Kept faces are deleted in time, whether this run keeps some or not.
    strangers.prune(deployment.asu_id)
    if annotate is not None and not wait:
        raise InputError("--annotate draws the answers, but --no-wait does not wait for any")
    if reply == "private" and not wait:
        raise InputError("--reply private is for answers, but --no-wait does not wait for any")
    visit_outputs = _visit_outputs(visit_choices, wait=wait, complete=detect == "edge")
    if visit_outputs is not None:
        max_faces = max_faces if max_faces > 1 else VISIT_FACES
        note(f"Visits: detail and up to {max_faces} faces are requested for each frame")
    sampling = frame_options.sampling
    reconnection = Reconnection(reconnect, warn)
    request_options = RequestOptions(
        Encoding(max_side, quality),
        max_faces,
        detail or annotate is not None or visit_outputs is not None,
        min_face_size,
    )
    options = RunOptions(
        request_options,
        frame_options.concurrency,
        schedule=as_taken if frame_options.realtime else None,
        wait=wait,
        timeout=frame_options.timeout,
        private_replies=reply == "private",
        edge=detect == "edge",
    )
    files = send_run.OutputFiles(out_file, annotate, visit_outputs)
    several = _cameras(source or [], cameras, sampling, request_options.encoding)
    if several:
        if resume:
            raise InputError(
                "--resume continues the run of one source",
                hint=f"facectl send {several[0].source} --resume",
            )
        given = send_cameras.CamerasInput(several, options, reconnection, rows)
        all_reports = send_cameras.run(deployment, given, files)
        send_cameras.finish(all_reports, wait=wait, json=json, synthetic=deployment.synthetic)
        return
    sources = source or []
    frames = open_source(sources, sampling, reconnection=reconnection, max_side=max_side)
    task = RunTask(
        deployment.key.name, tuple(sources), sampling, request_options, options.private_replies
    )
    run_file = open_run_file(task, live=frames.live, resume=resume)
    report = send_run.run(deployment, frames, options, files, rows=rows, run_file=run_file)
    send_run.finish(report, wait=wait, json=json)


def _cameras(
    sources: list[str], file: Path | None, sampling: Sampling, encoding: Encoding
) -> list[Camera]:
    """The cameras of the arguments or the file; none where the arguments are one source.

    Raises InputError for both, for neither, and for a file that is wrong.
    """
    from facectl.stream.cameras import are_cameras, cameras_of, read_cameras

    if file is not None:
        if sources:
            raise InputError("--cameras names the sources: give no others beside it")
        return read_cameras(file, sampling, encoding)
    if not sources:
        raise InputError("No source of frames", hint="facectl send clip.mp4")
    return cameras_of(sources, sampling, encoding) if are_cameras(sources) else []


def _visit_outputs(choices: VisitChoices, *, wait: bool, complete: bool) -> VisitOutputs | None:
    """The outputs, None for none; raises InputError where the options contradict each other."""
    outputs = replace(choices.outputs(), complete=complete)
    if outputs.file is None and not outputs.receivers and outputs.strangers is None:
        if outputs.crops is not None:
            raise InputError("--keep-crops keeps crops of visits", hint="add --visits FILE")
        return None
    if not wait:
        raise InputError("Visits are made of the answers, but --no-wait does not wait for any")
    return outputs
