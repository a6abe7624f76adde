"""`facectl purge`: empty the queues of a deployment."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from facectl.aws import Clients
from facectl.cli.options import Json, Yes, changes_deployment
from facectl.console import err, note, out, print_json
from facectl.context import Deployment


@changes_deployment
def purge(
    deployment: Deployment,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, help="Maximum seconds until the queues are empty.")
    ] = 180,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Empty the request, dead-letter and response queues, and wait until SQS reports them empty.

    Their messages are lost: frames in flight, and answers that no client has received.

    [bold]Examples[/bold]

    facectl purge

    facectl purge --asu-id 1225754101 --target aws --yes --json
    """
    from facectl.stream.purge import Purge

    names = deployment.names
    queues = [names.request_queue, names.dead_letter_queue, names.response_queue]
    if deployment.target == "aws" and not yes:
        typer.confirm(
            f"Delete every message of {', '.join(queues)} in {deployment.region}?",
            abort=True,
            err=True,
        )
    with err.status("Purging") as status:
        purged = Purge(Clients(deployment), timeout=timeout, tell=status.update).run(queues)
    if json:
        print_json({"queues": [queue.as_dict() for queue in purged]})
        return
    queue_column = Column("queue", overflow="fold")
    table = Table(queue_column, "removed", "visible", "in flight", "delayed")
    for queue in purged:
        now = queue.after
        numbers = (queue.before.total, now.visible, now.in_flight, now.delayed)
        table.add_row(queue.queue, *(str(number) for number in numbers))
    out.print(table)
    if deployment.target == "aws":
        note("SQS may delete messages that arrive within a minute of a purge: wait before sending.")
