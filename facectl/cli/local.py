"""`facectl local`: start, stop and show the local cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from facectl.cli.options import Json, LocalPort
from facectl.console import err, note, print_json, say
from facectl.local.settings import log_file

if TYPE_CHECKING:
    from facectl.local.process import LocalCloud
    from facectl.local.state import Restored

app = typer.Typer(
    name="local",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="The local cloud: AWS emulated on this computer, without an account.",
)


@app.command()
def up(
    port: LocalPort = None,
    json: Json = False,
) -> None:
    """Start the local cloud in the background and restore its last state.

    What can't be restored is listed, with the command that creates it again.

    [bold]Examples[/bold]

    facectl local up

    facectl local up --port 4600
    """
    from facectl.local import process

    with err.status("Starting the local cloud") as status:
        cloud, restored = process.ensure(port, progress=status.update)
    started = restored is not None
    if json:
        report = {} if restored is None else {"restored": restored.as_dict()}
        print_json({**_facts(cloud), "started": started, **report})
        return
    what = "started" if started else "is already running"
    say(f"The local cloud {what}: {cloud.endpoint_url} (process {cloud.pid})")
    if restored is not None:
        _print_restored(restored)


@app.command()
def down(
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Delete all deployments there and their records: the next start is empty.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Stop the local cloud and its functions; `facectl local up` restores them.

    Deployments, the published gallery and waiting messages are saved.

    [bold]Examples[/bold]

    facectl local down

    facectl local down --forget
    """
    from facectl.local import process

    deployments = process.deployments() if forget else []
    for each in deployments:
        note(f"Deleting deployment {each.key} and its record")
    with err.status("Stopping the local cloud"):
        stopped = process.forget() if forget else process.down()
    if json:
        keys = [each.key.name for each in deployments]
        print_json({"processes_ended": stopped, "forgotten": forget, "deployments": keys})
        return
    what = "1 process" if stopped == 1 else f"{stopped} processes"
    say(f"The local cloud stopped, {what}" if stopped else "The local cloud was not running")
    if forget:
        say("What was deployed there is deleted")


@app.command()
def status(json: Json = False) -> None:
    """Show whether the local cloud runs, and at which address; exit code 4 if it does not run.

    [bold]Examples[/bold]

    facectl local status

    facectl local status --json
    """
    from facectl.errors import ExitCode
    from facectl.local import process

    cloud = process.find()
    if json:
        print_json({"running": False} if cloud is None else _facts(cloud))
    elif cloud is None:
        say("The local cloud is not running; `facectl local up` starts it")
    else:
        answers = "answers" if cloud.healthy() else "does not answer within 2 s"
        say(f"The local cloud {answers} at {cloud.endpoint_url}")
        say(f"process {cloud.pid}, {process.workers()} workers, log {log_file()}")
    if cloud is None:
        raise typer.Exit(ExitCode.CLOUD)


def _print_restored(restored: Restored) -> None:
    """Print what is restored on stdout, and what is not on stderr."""
    if restored.now:
        say(f"Restored: {len(restored.now)} resources, {restored.messages} messages")
    for problem in restored.problems():
        note(problem)
    for command in restored.commands():
        note(f"Run: {command}")


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
