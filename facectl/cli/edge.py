"""`facectl edge`: cameras whose faces are detected on this computer, as a service."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from facectl.cli.options import DryRun, changes_deployment
from facectl.console import note, say
from facectl.context import Deployment
from facectl.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Cameras whose faces are detected on this computer.")


@app.command("install")
@changes_deployment
def install(
    deployment: Deployment,
    cameras: Annotated[
        Path, typer.Argument(help="YAML file of cameras, as of `facectl send --cameras`.")
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(help="More options of `facectl send`, after `--`."),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Name of the service, facectl-NAME.")
    ] = "edge",
    system: Annotated[
        bool,
        typer.Option("--system/--user", help="For the whole computer, or for this user alone."),
    ] = False,
    memory: Annotated[
        int, typer.Option("--memory", min=150, help="Restart above this many MB of memory.")
    ] = 400,
    dry_run: DryRun = False,
) -> None:
    """Write a systemd unit that sends cameras with --detect edge, and print how to start it.

    The service is started again when it ends. Frames wait on disk while the cloud does not answer.

    [bold]Examples[/bold]

    facectl edge install cameras.yaml --dry-run

    facectl edge install cameras.yaml -- --visits visits.jsonl --concurrency 2
    """
    from facectl.edge.unit import Unit, checked_name
    from facectl.models import store
    from facectl.stream.cameras import read_cameras
    from facectl.stream.frames import Encoding
    from facectl.stream.sampling import Sampling

    file = cameras.absolute()
    # Found now, not by a service that nobody watches.
    read_cameras(file, Sampling(), Encoding())
    store.deployed(deployment)
    own = [*(options or [])]
    if any(option.split("=")[0] in {"--detect", "--cameras", "--resume"} for option in own):
        raise InputError("--detect, --cameras and --resume are not for the service to choose")
    # While another camera keeps the service running, nothing else would open this one again.
    if not any(option.split("=")[0] == "--reconnect" for option in own):
        own = ["--reconnect", "inf", *own]
    unit = Unit(
        checked_name(name),
        ["send", "--cameras", str(file), "--detect", "edge", "--rows", "0", *own],
        _environment(deployment),
        file.parent,
        memory,
        system,
        getpass.getuser() if system else None,
    )
    if dry_run:
        say(unit.text().rstrip("\n"))
        return
    unit.install()
    say(f"Written: {unit.path}")
    note(f"Start it, now and with this computer: {unit.activation}")
    if not system:
        note("A user's services end when the user logs out; --system makes one that does not")


def _environment(deployment: Deployment) -> dict[str, str]:
    """What names the deployment; no credentials."""
    found = {
        "FACECTL_ASU_ID": deployment.asu_id,
        "FACECTL_TARGET": deployment.target,
        "FACECTL_REGION": deployment.region,
        "FACECTL_PROFILE": deployment.profile,
        "FACECTL_HOME": os.environ.get("FACECTL_HOME"),
    }
    return {key: value for key, value in found.items() if value}
