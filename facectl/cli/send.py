"""`facectl send`: send frames through the pipeline and show the answers."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facectl.aws import Clients
from facectl.cli.options import (
    FRAMES,
    REQUESTS,
    VISITS,
    Json,
    MaxFaces,
    MaxSide,
    Quality,
    changes_deployment,
)
from facectl.cli.run_report import drawing_bar, print_report, run_bar, warnings
from facectl.console import note, print_json, warn
from facectl.context import Deployment
from facectl.errors import FacectlError, InputError

if TYPE_CHECKING:
    from facectl.stream.run_file import RunFile
    from facectl.stream.session import RunOptions, RunReport
    from facectl.stream.sources import Source
    from facectl.visits.outputs import Recording, VisitOutputs

# The faces of a frame that --visits asks for; the largest.
VISIT_FACES = 10


@changes_deployment
def send(
    deployment: Deployment,
    source: Annotated[
        list[str],
        typer.Argument(
            help="Video, image, folder, pattern (or several images), camera index, or URL."
        ),
    ],
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
        typer.Option("--annotate", help="Write a video with boxes and names; implies --detail."),
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
            help="Send the events of visits to http(s)://URL, mqtt(s)://USER@HOST or "
            "command:PROGRAM; can be repeated.",
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

    facectl send 0 --fps 4 --visits visits.jsonl --keep-crops crops/

    facectl send 0 --on-visit mqtt://facectl@home.local --on-visit-only known

    facectl send clip.mp4 --resume
    """
    from facectl.stream.frames import Encoding
    from facectl.stream.run_file import RunTask, open_run_file
    from facectl.stream.sampling import Sampling
    from facectl.stream.sender import RequestOptions
    from facectl.stream.session import RunOptions, as_taken
    from facectl.stream.sources import open_source
    from facectl.visits.outputs import VisitOutputs
    from facectl.visits.tracker import VisitOptions

    if annotate is not None and not wait:
        raise InputError("--annotate draws the answers, but --no-wait does not wait for any")
    visit_outputs = _visit_outputs(
        VisitOutputs(
            visits,
            VisitOptions(visit_gap, visit_frames, keep_crops is not None),
            keep_crops,
            tuple(on_visit or ()),
            tuple(on_visit_only or ()),
            webhook_secret,
        ),
        wait=wait,
    )
    if visit_outputs is not None:
        max_faces = max_faces if max_faces > 1 else VISIT_FACES
        note(f"Visits: detail and up to {max_faces} faces are requested for each frame")
    sampling = Sampling(every, fps, max_frames)
    frames = open_source(source, sampling)
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
    )
    task = RunTask(deployment.key.name, tuple(source), sampling, request_options)
    run_file = open_run_file(task, live=frames.live, resume=resume)
    files = OutputFiles(out_file, annotate, visit_outputs)
    report = run(deployment, frames, options, files, rows=rows, run_file=run_file)
    finish(report, wait=wait, json=json)


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The requested output files: JSON lines, an annotated video, visits."""

    results: Path | None = None
    video: Path | None = None
    visits: VisitOutputs | None = None


def _visit_outputs(outputs: VisitOutputs, *, wait: bool) -> VisitOutputs | None:
    """The outputs, None for none; raises InputError where the options contradict each other."""
    if outputs.only and not outputs.receivers:
        raise InputError("--on-visit-only selects what --on-visit sends", hint="add --on-visit")
    if outputs.file is None and not outputs.receivers:
        if outputs.crops is not None:
            raise InputError("--keep-crops keeps crops of visits", hint="add --visits FILE")
        return None
    if not wait:
        raise InputError("Visits are made of the answers, but --no-wait does not wait for any")
    return outputs


def run(
    deployment: Deployment,
    source: Source,
    options: RunOptions,
    files: OutputFiles,
    *,
    rows: int = 200,
    run_file: RunFile | None = None,
) -> RunReport:
    """Send the source's frames with a progress bar on stderr, and write the requested files.

    The run file is closed, and removed when nothing is left to do.
    """
    from facectl.stream.annotate import Clip, draw_all
    from facectl.stream.results import ResultsFile, RunStats
    from facectl.stream.run_file import RunFile
    from facectl.stream.session import Session, Transport
    from facectl.visits.outputs import recorded

    synthetic = deployment.synthetic
    with ExitStack() as stack:
        if run_file is None and files.video is not None:
            run_file = RunFile.temporary()
        if run_file is not None:
            stack.callback(run_file.close)
        transport = Transport.of(Clients(deployment), connections=options.concurrency)
        session = Session(
            transport, options, RunStats(rows), synthetic=synthetic, run_file=run_file
        )
        # Files that can't be written are found before anything is sent.
        clip = None if files.video is None else Clip(files.video, source.rate)
        if files.results is not None:
            results = stack.enter_context(closing(ResultsFile(files.results, synthetic=synthetic)))
            session.tracker.listen(results, late=results)
        recording = None
        if files.visits is not None:
            recording = stack.enter_context(
                recorded(files.visits, session, source, synthetic=synthetic, report=warn)
            )
        with run_bar(source.expected, wait=options.wait) as update:
            report = session.run(source, progress=update)
        if recording is not None:
            report = _end_visits(recording, report)
        if clip is not None and run_file is not None:
            encoding = options.request_options.encoding
            try:
                with drawing_bar(report.counts.accepted) as drawn:
                    draw_all(clip, source, encoding, run_file, synthetic=synthetic, progress=drawn)
            except FacectlError as error:
                # The frames were sent: print the report, with this failure.
                report = replace(report, failure=report.failure or error)
        if run_file is not None and report.finished:
            run_file.remove()
    return report


def _end_visits(recording: Recording, report: RunReport) -> RunReport:
    """End the open visits and print how many there were; returns the report with its failure."""
    try:
        recording.finish(report)
    except FacectlError as error:
        return replace(report, failure=report.failure or error)
    note(recording.summary())
    return report


def finish(report: RunReport, *, wait: bool = True, json: bool = False) -> None:
    """Print the report, and exit with its error or exit code."""
    if json:
        print_json(report.as_dict())
        for line in warnings(report):
            note(line)
    else:
        print_report(report, wait=wait)
    if (error := report.incomplete()) is not None:
        raise error
    if report.exit_code:
        raise typer.Exit(report.exit_code)
