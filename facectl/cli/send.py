"""`facectl send`: send frames through the pipeline and show the answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl.cli import send_cameras, send_run
from facectl.cli.options import (
    FRAMES,
    REQUESTS,
    VISITS,
    Detect,
    Json,
    MaxFaces,
    MaxSide,
    Quality,
    Reply,
    changes_deployment,
)
from facectl.console import note, warn
from facectl.context import Deployment
from facectl.errors import InputError

if TYPE_CHECKING:
    from facectl.stream.cameras import Camera
    from facectl.stream.frames import Encoding
    from facectl.stream.sampling import Sampling
    from facectl.visits.outputs import VisitOutputs

# The faces of a frame that --visits asks for; the largest.
VISIT_FACES = 10


@changes_deployment
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
    every: Annotated[
        int, typer.Option("--every", min=1, help="Every n-th frame.", rich_help_panel=FRAMES)
    ] = 1,
    fps: Annotated[
        float | None,
        typer.Option(
            "--fps",
            min=0.001,
            help="Maximum frames per second; for images, the frame rate.",
            rich_help_panel=FRAMES,
        ),
    ] = None,
    max_frames: Annotated[
        int | None,
        typer.Option("--max-frames", min=1, help="Stop after N frames.", rich_help_panel=FRAMES),
    ] = None,
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime", help="Send frames at the rate of the source.", rich_help_panel=FRAMES
        ),
    ] = False,
    reconnect: Annotated[
        float,
        typer.Option(
            "--reconnect",
            min=0,
            help="Seconds for which a camera or stream that is gone is opened again.",
            rich_help_panel=FRAMES,
        ),
    ] = 60,
    max_side: MaxSide = None,
    quality: Quality = 95,
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
    ] = 4,
    max_faces: MaxFaces = 1,
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
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=1,
            help="Seconds until a frame without an answer counts as unanswered.",
        ),
    ] = 60,
    out_file: Annotated[
        Path | None,
        typer.Option("--out", help="Write each frame's outcome to this file, one JSON per line."),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option(
            "--annotate",
            help="Write a video with boxes and names, for several sources one each; implies "
            "--detail.",
        ),
    ] = None,
    visits: Annotated[
        Path | None,
        typer.Option(
            "--visits",
            help="Append visits to this file, one JSON per event; implies --detail and, instead "
            f"of one face, --max-faces {VISIT_FACES}.",
            rich_help_panel=VISITS,
        ),
    ] = None,
    visit_gap: Annotated[
        float,
        typer.Option(
            "--visit-gap",
            min=0.1,
            help="Seconds without the person after which a visit ends.",
            rich_help_panel=VISITS,
        ),
    ] = 10,
    visit_frames: Annotated[
        int,
        typer.Option(
            "--visit-frames",
            min=1,
            help="Frames that a visit needs, and that must agree on a name.",
            rich_help_panel=VISITS,
        ),
    ] = 3,
    keep_crops: Annotated[
        Path | None,
        typer.Option(
            "--keep-crops",
            help="Write the best crop of each visit to this folder.",
            rich_help_panel=VISITS,
        ),
    ] = None,
    on_visit: Annotated[
        list[str] | None,
        typer.Option(
            "--on-visit",
            help="Send the events of visits to http(s)://URL, mqtt(s)://USER@HOST, "
            "sns:TOPIC_ARN or command:PROGRAM; can be repeated.",
            rich_help_panel=VISITS,
        ),
    ] = None,
    on_visit_only: Annotated[
        list[str] | None,
        typer.Option(
            "--on-visit-only",
            help="Send only visits of known, of unknown, or of this NAME; can be repeated.",
            rich_help_panel=VISITS,
        ),
    ] = None,
    on_visit_ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--on-visit-ignore",
            help="Do not send visits of this NAME; can be repeated.",
            rich_help_panel=VISITS,
        ),
    ] = None,
    webhook_secret: Annotated[
        Path | None,
        typer.Option(
            "--webhook-secret",
            help="File with the secret that signs webhooks; default: $FACECTL_WEBHOOK_SECRET.",
            rich_help_panel=VISITS,
        ),
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

    facectl send door.mp4 yard.mp4 rtsp://camera.local/stream

    facectl send --cameras cameras.yaml --visits visits.jsonl

    facectl send 0 --fps 4 --visits visits.jsonl --keep-crops crops/

    facectl send 0 --on-visit mqtt://facectl@home.local --on-visit-only known

    facectl send 0 --fps 2 --detect edge

    facectl send clip.mp4 --resume
    """
    from facectl.stream.frames import Encoding
    from facectl.stream.live import Reconnection
    from facectl.stream.run_file import RunTask, open_run_file
    from facectl.stream.sampling import Sampling
    from facectl.stream.sender import RequestOptions
    from facectl.stream.session import RunOptions, as_taken
    from facectl.stream.sources import open_source
    from facectl.visits.outputs import VisitOutputs
    from facectl.visits.tracker import VisitOptions

    if annotate is not None and not wait:
        raise InputError("--annotate draws the answers, but --no-wait does not wait for any")
    if reply == "private" and not wait:
        raise InputError("--reply private is for answers, but --no-wait does not wait for any")
    visit_outputs = _visit_outputs(
        VisitOutputs(
            visits,
            VisitOptions(visit_gap, visit_frames, keep_crops is not None),
            keep_crops,
            tuple(on_visit or ()),
            tuple(on_visit_only or ()),
            tuple(on_visit_ignore or ()),
            webhook_secret,
            complete=detect == "edge",
        ),
        wait=wait,
    )
    if visit_outputs is not None:
        max_faces = max_faces if max_faces > 1 else VISIT_FACES
        note(f"Visits: detail and up to {max_faces} faces are requested for each frame")
    sampling = Sampling(every, fps, max_frames)
    reconnection = Reconnection(reconnect, warn)
    request_options = RequestOptions(
        Encoding(max_side, quality),
        max_faces,
        detail or annotate is not None or visit_outputs is not None,
    )
    options = RunOptions(
        request_options,
        concurrency,
        schedule=as_taken if realtime else None,
        wait=wait,
        timeout=timeout,
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


def _visit_outputs(outputs: VisitOutputs, *, wait: bool) -> VisitOutputs | None:
    """The outputs, None for none; raises InputError where the options contradict each other."""
    if (outputs.only or outputs.ignored) and not outputs.receivers:
        option = "--on-visit-only" if outputs.only else "--on-visit-ignore"
        raise InputError(f"{option} selects what --on-visit sends", hint="add --on-visit")
    if outputs.file is None and not outputs.receivers:
        if outputs.crops is not None:
            raise InputError("--keep-crops keeps crops of visits", hint="add --visits FILE")
        return None
    if not wait:
        raise InputError("Visits are made of the answers, but --no-wait does not wait for any")
    return outputs
