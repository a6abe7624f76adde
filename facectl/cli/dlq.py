"""`facectl dlq`: lists, redrives and deletes dead letters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from facectl.aws import Clients
from facectl.cli.options import (
    AllDeadLetters,
    DeadLetterIds,
    Json,
    Yes,
    changes_deployment,
    reads_deployment,
)
from facectl.console import err, out, print_fields, print_json, printable, say
from facectl.context import Deployment
from facectl.errors import IncompleteError, InputError
from facectl.logs.times import local_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl.logs.dead_letters import DeadLetter, DeadLetterQueue, RedriveOutcome
    from facectl.logs.failure_reasons import Failure

app = typer.Typer(
    no_args_is_help=True,
    help="List dead letters with the reason they failed; redrive or delete them.",
)


@app.command("list")
@reads_deployment
def list_(deployment: Deployment, json: Json = False) -> None:
    """List the dead letters with the logged error and its time. No message is consumed.

    [bold]Example[/bold]

    facectl dlq list
    """
    clients = Clients(deployment)
    with err.status("Reading the dead-letter queue and the logs"):
        failures = _failures(clients, _queue(clients).peek())
    if json:
        print_json({"dead": [failure.as_dict() for failure in failures]})
    else:
        _show_all(failures)


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
    from facectl.logs import failure_reasons

    clients = Clients(deployment)
    with err.status("Reading the dead-letter queue and the logs"):
        failures = _failures(clients, failure_reasons.find(_queue(clients).peek(), identifier))
    if json:
        print_json({"dead": [_facts(failure) for failure in failures]})
        return
    for failure in failures:
        _show(failure)


@app.command()
@changes_deployment
def redrive(
    deployment: Deployment,
    ids: DeadLetterIds = None,
    everything: AllDeadLetters = False,
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
    ids: DeadLetterIds = None,
    everything: AllDeadLetters = False,
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
        say(f"{outcome.done} messages {action}.")
    if outcome.failures:
        raise IncompleteError(
            f"{len(outcome.failures)} messages remain: {'; '.join(outcome.failures[:5])}",
            hint="facectl dlq list",
        )


def _show_all(failures: Sequence[Failure]) -> None:
    """Print one row per message."""
    if not failures:
        say("The dead-letter queue is empty.")
        return
    table = Table("request", "sent", "failed", "deliveries", "faces", "reason")
    for failure in failures:
        facts = failure.as_dict()
        table.add_row(
            _request_of(failure),
            local_time(failure.dead_letter.sent_at),
            "-" if failure.failed_at is None else local_time(failure.failed_at),
            str(failure.deliveries or "-"),
            "-" if facts["faces"] is None else str(facts["faces"]),
            Text(printable(failure.reason)),
        )
    out.print(table)
    say(f"{len(failures)} dead letters. Next: facectl trace REQUEST_ID")


def _show(failure: Failure) -> None:
    """Print all fields of one message; of images only the size."""
    facts = _facts(failure)
    crops = facts.pop("crops")
    print_fields((key, _field_text(key, value)) for key, value in facts.items())
    for crop in crops:
        box = ", ".join(f"{edge:.0f}" for edge in crop["box"])
        say(f"face at ({box}), probability {crop['probability']:.3f}, {crop['bytes']} bytes")
    if failure.dead_letter.request_id is not None:
        say(f"Next: facectl trace {printable(failure.dead_letter.request_id)}")


def _facts(failure: Failure) -> dict[str, Any]:
    """All fields of a dead letter as JSON; of images only the size."""
    message = failure.dead_letter.message
    return {
        **failure.as_dict(),
        "space": None if message is None else message.space,
        "crops": [
            {"box": list(face.box), "probability": face.probability, "bytes": len(face.image)}
            for face in (message.faces if message else ())
        ],
    }


def _request_of(failure: Failure) -> Text:
    return Text(
        printable(failure.dead_letter.request_id or f"message {failure.dead_letter.message_id}")
    )


def _field_text(key: str, value: Any) -> str | None:
    if value is None:
        return None
    if key.endswith("_at"):
        return local_time(value)
    return printable(str(value))
