"""`facectl local`: the local cloud's process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from facectl.cli.options import Json
from facectl.console import err, out, print_json
from facectl.local.settings import DEFAULT_PORT, log_file

if TYPE_CHECKING:
    from facectl.local.process import LocalCloud

app = typer.Typer(
    name="local",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="The local cloud: an AWS on this computer, without an account.",
)


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=1,
            max=65535,
            help=f"Port on 127.0.0.1; {DEFAULT_PORT} unless told otherwise.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Start the local cloud in the background and wait until it answers.

    [bold]Examples[/bold]

    facectl local up

    facectl local up --port 4600
    """
    from facectl.local import process

    with err.status("Starting the local cloud"):
        cloud, started = process.ensure(port)
    if json:
        print_json({**_facts(cloud), "started": started})
        return
    what = "started" if started else "is already running"
    out.print(f"The local cloud {what}: {cloud.endpoint_url} (process {cloud.pid})", soft_wrap=True)


@app.command()
def down(json: Json = False) -> None:
    """End the local cloud and every function it runs; what was deployed there is gone.

    [bold]Examples[/bold]

    facectl local down
    """
    from facectl.local import process

    with err.status("Ending the local cloud"):
        ended = process.stop()
    if json:
        print_json({"processes_ended": ended})
    else:
        what = "1 process" if ended == 1 else f"{ended} processes"
        out.print(f"The local cloud ended, {what}" if ended else "No local cloud runs")


@app.command()
def status(json: Json = False) -> None:
    """Show whether the local cloud runs, and where; the exit code is 4 where it does not.

    [bold]Examples[/bold]

    facectl local status

    facectl local status --json
    """
    from facectl.errors import ExitCode
    from facectl.local import process

    cloud = process.find()
    if json:
        print_json({"running": False} if cloud is None else _facts(cloud))
    if cloud is None:
        if not json:
            out.print("The local cloud is not running; `facectl local up` starts it")
        raise typer.Exit(ExitCode.CLOUD)
    if not json:
        answers = "answers" if cloud.healthy() else "does not answer"
        out.print(f"The local cloud {answers} at {cloud.endpoint_url}", soft_wrap=True)
        out.print(
            f"process {cloud.pid}, {process.workers()} workers, log {log_file()}", soft_wrap=True
        )


def _facts(cloud: LocalCloud) -> dict[str, Any]:
    from facectl.local import process

    return {
        "running": True,
        "healthy": cloud.healthy(),
        "endpoint_url": cloud.endpoint_url,
        "port": cloud.port,
        "pid": cloud.pid,
        "workers": process.workers(),
        "log": str(log_file()),
    }
