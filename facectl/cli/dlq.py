"""`facectl dlq`: what died, why, and what to do with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from facectl.aws import Clients
from facectl.cli.options import Json, Yes, changes_deployment, with_deployment
from facectl.console import err, out, print_json
from facectl.context import Deployment
from facectl.errors import IncompleteError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl.logs.dead_letters import DeadLetter, DeadLetterQueue, RedriveOutcome
    from facectl.logs.failure_reasons import Failure

app = typer.Typer(
    no_args_is_help=True, help="The dead-letter queue: what died, why; redrive or drop it."
)

Named = Annotated[
    list[str] | None, typer.Argument(help="Request or message ids; --all for everything.")
]
All = Annotated[bool, typer.Option("--all", help="Every message.")]


@app.command("list")
@with_deployment
def list_(deployment: Deployment, json: Json = False) -> None:
    """List what died, why (the error logged for it) and when. Nothing is taken away.

    [bold]Example[/bold]

    facectl dlq list
    """
    from facectl.cli.dlq_report import show_failures

    clients = Clients(deployment)
    with err.status("Reading the dead-letter queue and the logs"):
        found = _failures(clients, _queue(clients).peek())
    if json:
        print_json({"dead": [failure.as_dict() for failure in found]})
    else:
        show_failures(found)


@app.command()
@with_deployment
def show(
    deployment: Deployment,
    name: Annotated[str, typer.Argument(help="A request's or a message's id.")],
    json: Json = False,
) -> None:
    """Show one dead message: what it is, and the way it went.

    [bold]Example[/bold]

    facectl dlq show 3f2a-000017
    """
    from facectl.cli.dlq_report import failure_facts, show_failure
    from facectl.logs import failure_reasons

    clients = Clients(deployment)
    with err.status("Reading the dead-letter queue and the logs"):
        failures = _failures(clients, failure_reasons.named(_queue(clients).peek(), name))
    if json:
        print_json({"dead": [failure_facts(failure) for failure in failures]})
        return
    for failure in failures:
        show_failure(failure)


@app.command()
@changes_deployment
def redrive(
    deployment: Deployment,
    names: Named = None,
    everything: All = False,
    rate: Annotated[
        float, typer.Option("--rate", min=0.01, help="At most so many messages a second.")
    ] = 10.0,
    json: Json = False,
) -> None:
    """Send messages to the request queue again; each is deleted when SQS has taken its copy.

    A frame that was answered Error gets a second answer then.

    [bold]Examples[/bold]

    facectl dlq redrive --all --rate 5

    facectl dlq redrive 3f2a-000017
    """
    queue = _queue(Clients(deployment))
    chosen = _chosen(queue, names, everything)
    with err.status("Redriving") as status:
        outcome = queue.redrive(
            chosen, rate=rate, watch=lambda done: status.update(f"Redriving: {done} sent again")
        )
    _report(outcome, "sent to the request queue again", json)


@app.command()
@changes_deployment
def drop(
    deployment: Deployment,
    names: Named = None,
    everything: All = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete dead messages for ever.

    [bold]Examples[/bold]

    facectl dlq drop 3f2a-000017

    facectl dlq drop --all --yes
    """
    queue = _queue(Clients(deployment))
    chosen = _chosen(queue, names, everything)
    if deployment.target == "aws" and not yes:
        what = "every message" if chosen is None else f"{len(chosen)} messages"
        typer.confirm(f"Delete {what} of {queue.name} for ever?", abort=True, err=True)
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
    queue: DeadLetterQueue, names: Sequence[str] | None, everything: bool
) -> list[str] | None:
    """The names, each of which is there; None for all. Raises InputError."""
    from facectl.logs import failure_reasons

    if bool(names) == everything:
        raise InputError("Say which messages: their ids, or --all", hint="facectl dlq list")
    if not names:
        return None
    with err.status("Reading the dead-letter queue"):
        dead_letters = queue.peek()
    for name in names:
        failure_reasons.named(dead_letters, name)
    return list(names)


def _report(outcome: RedriveOutcome, what: str, json: bool) -> None:
    if json:
        print_json({"done": outcome.done, "failures": list(outcome.failures)})
    else:
        out.print(f"{outcome.done} messages {what}.")
    if outcome.failures:
        raise IncompleteError(
            f"{len(outcome.failures)} messages stayed: {'; '.join(outcome.failures[:5])}",
            hint="facectl dlq list",
        )
