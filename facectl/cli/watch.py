"""`facectl watch`: send frames like `send`, and show people on a page of this computer."""

from __future__ import annotations

from typing import Annotated

import typer

from facectl.cli.options import PAGE, MaxFaces, MaxSide, OpenPage, Quality, changes_deployment
from facectl.cli.stream_options import VISIT_FACES, FrameOptions, VisitChoices
from facectl.context import Deployment


@changes_deployment
def watch(
    deployment: Deployment,
    source: Annotated[
        list[str],
        typer.Argument(
            help="Videos, images, folders, patterns, camera indexes, or URLs; each is a source."
        ),
    ],
    frame_options: FrameOptions,
    visit_choices: VisitChoices,
    max_side: MaxSide = None,
    quality: Quality = 95,
    max_faces: MaxFaces = VISIT_FACES,
    loop: Annotated[
        bool, typer.Option("--loop", help="Send files again and again, at their own rate.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="Port of the page; 0: a free one.",
            rich_help_panel=PAGE,
        ),
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address of the page; another than this computer's own needs --token.",
            rich_help_panel=PAGE,
        ),
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="FACECTL_WATCH_TOKEN",
            help="Token that opens the page; default: a random one.",
            rich_help_panel=PAGE,
        ),
    ] = None,
    open_page: OpenPage = True,
) -> None:
    """Send frames and show on a page who is there, who came, and strangers to name.

    The page is served by this computer until Ctrl-C. While the cloud does not answer, frames wait;
    a camera that disappears is opened again. Exit code 1 if a source failed.

    [bold]Examples[/bold]

    facectl watch 0 --fps 4

    facectl watch clip.mp4 --realtime

    facectl watch rtsp://door.local/stream rtsp://yard.local/stream --fps 2 --visits visits.jsonl
    """
    from facectl.cli import watch_run
    from facectl.strangers import store as strangers
    from facectl.stream.frames import Encoding
    from facectl.stream.sender import RequestOptions
    from facectl.stream.session import RunOptions, as_taken
    from facectl.watch.runs import WatchOptions

    # Kept faces are deleted in time, whether this run keeps some or not.
    strangers.prune(deployment.asu_id)
    run = RunOptions(
        RequestOptions(Encoding(max_side, quality), max_faces, detail=True),
        frame_options.concurrency,
        schedule=as_taken if frame_options.realtime or loop else None,
        timeout=frame_options.timeout,
    )
    visits = visit_choices.outputs(crops=True)
    options = WatchOptions(frame_options.sampling, run, visits, loop=loop)
    page = watch_run.Page(host, port, token, open_page)
    watch_run.run(deployment, source, options, page)
