"""`facectl dlq`: lists, redrives and deletes dead letters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from facectl.aws import Clients
from facectl.cli.options import Json, Yes, changes_deployment, reads_deployment
from facectl.console import err, out, print_json
from facectl.context import Deployment
from facectl.errors import IncompleteError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl.logs.dead_letters import DeadLetter, DeadLetterQueue, RedriveOutcome
    from facectl.logs.failure_reasons import Failure

app = typer.Typer(
    no_args_is_help=True,
    help="List dead letters with the reason they failed; redrive or delete them.",
)

Ids = Annotated[list[str] | None, typer.Argument(help="Request or message ids, or --all.")]
All = Annotated[bool, typer.Option("--all", help="Every message.")]


@app.command("list")
@reads_deployment
def list_(deployment: Deployment, json: Json = False) -> None:
    """List the dead letters with the logged error and its time. No message is consumed.

    [bold]Example[/bold]

    facectl dlq list
    """
    from facectl.cli.dlq_report import show_failures

    clients = Clients(deployment)
    with err.status("Reading the dead-letter queue and the logs"):
        failures = _failures(clients, _queue(clients).peek())
    if json:
        print_json({"dead": [failure.as_dict() for failure in failures]})
    else:
        show_failures(failures)


@app.command()
@reads_deployment
def show(
    deployment: Deployment,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="A request or message id.")],
    json: Json = False,
) -> None:
    """Show one dead letter: its fields and why it failed.

    [bold]Example[/bold]

    facectl dlq show 3f2a-000017
    """
    from facectl.cli.dlq_report import failure_facts, show_failure
    from facectl.logs import failure_reasons

    clients = Clients(deployment)
    with err.status("Reading the dead-letter queue and the logs"):
        failures = _failures(clients, failure_reasons.find(_queue(clients).peek(), identifier))
    if json:
        print_json({"dead": [failure_facts(failure) for failure in failures]})
        return
    for failure in failures:
        show_failure(failure)


@app.command()
@changes_deployment
def redrive(
    deployment: Deployment,
    ids: Ids = None,
    everything: All = False,
    rate: Annotated[
        float, typer.Option("--rate", min=0.01, help="Maximum messages per second.")
    ] = 10.0,
    json: Json = False,
) -> None:
    """Send dead letters to the request queue again; each is deleted after SQS accepted its copy.

    A frame that was answered with Error then gets a second response.

    [bold]Examples[/bold]

    facectl dlq redrive --all --rate 5

    facectl dlq redrive 3f2a-000017
    """
    queue = _queue(Clients(deployment))
    chosen = _chosen(queue, ids, everything)
    with err.status("Redriving") as status:
        outcome = queue.redrive(
            chosen,
            rate=rate,
            on_progress=lambda done: status.update(f"Redriving: {done} sent again"),
        )
    _report(outcome, "sent to the request queue again", json)


@app.command()
@changes_deployment
def drop(
    deployment: Deployment,
    ids: Ids = None,
    everything: All = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete dead letters permanently.

    [bold]Examples[/bold]

    facectl dlq drop 3f2a-000017

    facectl dlq drop --all --yes
    """
    queue = _queue(Clients(deployment))
    chosen = _chosen(queue, ids, everything)
    if deployment.target == "aws" and not yes:
        what = "every message" if chosen is None else f"{len(chosen)} messages"
        typer.confirm(f"Delete {what} of {queue.name} permanently?", abort=True, err=True)
    with err.status("Deleting"):
        outcome = queue.drop(chosen)
    _report(outcome, "deleted", json)


def _queue(clients: Clients) -> DeadLetterQueue:
    from facectl.logs.dead_letters import DeadLetterQueue

    return DeadLetterQueue(clients)


def _failures(clients: Clients, dead_letters: Sequence[DeadLetter]) -> list[Failure]:
    from facectl.logs import failure_reasons
    from facectl.logs.source import LogSource

    return failure_reasons.failures(LogSource(clients), dead_letters, time.time())


def _chosen(
    queue: DeadLetterQueue, ids: Sequence[str] | None, everything: bool
) -> list[str] | None:
    """The ids, or None for all; raises InputError if one is not in the queue."""
    from facectl.logs import failure_reasons

    if bool(ids) == everything:
        raise InputError("Give message ids or --all", hint="facectl dlq list")
    if not ids:
        return None
    with err.status("Reading the dead-letter queue"):
        dead_letters = queue.peek()
    for identifier in ids:
        failure_reasons.find(dead_letters, identifier)
    return list(ids)


def _report(outcome: RedriveOutcome, action: str, json: bool) -> None:
    if json:
        print_json({"done": outcome.done, "failures": list(outcome.failures)})
    else:
        out.print(f"{outcome.done} messages {action}.")
    if outcome.failures:
        raise IncompleteError(
            f"{len(outcome.failures)} messages remain: {'; '.join(outcome.failures[:5])}",
            hint="facectl dlq list",
        )
