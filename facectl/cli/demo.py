"""`facectl demo`: run the whole pipeline on this computer, with a generated clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facectl.cli.options import (
    PAGE,
    LocalPort,
    MaxFaces,
    OpenPage,
    Replace,
    Weights,
    Yes,
    announced,
)
from facectl.console import err, say, warn
from facectl.naming import DEMO_ASU_ID


def demo(
    video: Annotated[
        Path | None, typer.Option("--video", help="Your own video instead of the clip.")
    ] = None,
    weights: Weights = None,
    folder: Annotated[
        Path, typer.Option("--folder", help="Folder for the clip and the results.")
    ] = Path("facectl-demo"),
    asu_id: Annotated[str, typer.Option("--asu-id", help="ASU ID.")] = DEMO_ASU_ID,
    port: LocalPort = None,
    max_faces: MaxFaces = 5,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Show the clip on a page until Ctrl-C; keeps the stranger's faces to name them.",
            rich_help_panel=PAGE,
        ),
    ] = False,
    open_page: OpenPage = True,
    replace: Replace = False,
    yes: Yes = False,
) -> None:
    """Build the model, start the local cloud, deploy, enroll people, send a clip, show names.

    The clip shows two people who are enrolled and a stranger, who is answered Unknown; all
    photographs are in the public domain.

    The deployment is marked as a demo: `facectl deploy` with another ASU ID removes it.

    [bold]Examples[/bold]

    facectl demo

    facectl demo --watch

    facectl demo --video party.mp4
    """
    from facectl.cli import demo_steps, deploy_report, send_run, watch_run
    from facectl.cli.deploy import confirm_removals
    from facectl.demo import clip
    from facectl.deploy import deployer
    from facectl.stream.sampling import Sampling
    from facectl.stream.sender import RequestOptions
    from facectl.stream.session import RunOptions
    from facectl.stream.sources import open_source

    if watch:
        watch_run.check_extra()
    if video is not None:
        open_source([str(video)], Sampling())
    deployment = announced(demo_steps.demo_deployment(asu_id))
    folder.mkdir(parents=True, exist_ok=True)
    _say(1, "Model", "facectl models build")
    with demo_steps.starting_cloud(port) as cloud:
        model = demo_steps.model(weights)
    if model.synthetic:
        warn(
            "The demo uses synthetic weights: the pipeline is the real one, but the "
            "model is untrained, and its names mean nothing."
        )
    _say(2, "Gallery", f"facectl gallery enroll {folder / 'people'}")
    demo_steps.enroll(asu_id, model, folder / "people")
    _say(3, "Pipeline", f"facectl local up; facectl deploy --asu-id {asu_id} --target local")
    plan = demo_steps.plan(deployment, model, cloud, replace_others=replace)
    confirm_removals(plan, yes=yes)
    with deploy_report.progress(plan.steps) as progress:
        deployer.apply(plan, progress)
    deployment = demo_steps.check(plan)
    shown = clip.write(folder / "clip.mp4") if video is None else video
    request_options = RequestOptions(max_faces=max_faces, detail=True)
    if watch:
        _say(4, "Page", f"facectl watch {shown} --loop --keep-strangers")
        demo_steps.watch(deployment, shown, request_options, opens=open_page)
        return
    files = send_run.OutputFiles(folder / "results.jsonl", folder / "annotated.mp4")
    _say(4, "Frames", f"facectl send {shown} --max-faces {max_faces} --annotate {files.video}")
    source = open_source([str(shown)], Sampling())
    report = send_run.run(deployment, source, RunOptions(request_options), files)
    send_run.finish(report)
    if video is None and max_faces >= clip.MOST_FACES:
        demo_steps.show_seen(report)
    say(f"\nBoxes and names are drawn in {files.video}")
    say("The pipeline keeps running; `facectl local down` stops it")


def _say(number: int, what: str, command: str) -> None:
    err.print(f"\n[bold]{number} of 4  {what}[/bold]  [dim]{command}[/dim]", soft_wrap=True)
