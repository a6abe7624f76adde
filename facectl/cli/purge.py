"""`facectl purge`: empty the queues of a deployment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
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
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the queues are reported empty.")
    ] = True,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Empty the request, dead-letter and response queues, and wait until SQS reports them empty.

    Their messages are lost: frames in flight, and answers that no client has received. On AWS
    a purge takes up to a minute, and the counts are reliable a minute after it. Reply queues of
    clients that were killed are deleted.

    [bold]Examples[/bold]

    facectl purge

    facectl purge --asu-id 1225754101 --target aws --yes --json
    """
    from facectl.stream import reply_queues
    from facectl.stream.purge import Purge

    clients = Clients(deployment)
    names = deployment.names
    queues = [names.request_queue, names.dead_letter_queue, names.response_queue]
    # Those that a client still reads are emptied, the others are deleted below.
    asked = time.time()
    replies = reply_queues.inspect(clients, reply_queues.found(clients))
    expired = [queue.name for queue in replies if queue.expired(asked)]
    queues += [queue.name for queue in replies if not queue.expired(asked)]
    if deployment.target == "aws" and not yes:
        typer.confirm(
            f"Delete every message of {', '.join(queues)} in {deployment.region}?",
            abort=True,
            err=True,
        )
    with _progress() as (tell, advance):
        reply_queues.remove(clients, expired)
        work = Purge(clients, timeout=timeout, tell=tell, progress=advance)
        purged = work.run(queues) if wait else work.start(queues)
    if json:
        print_json({"queues": [queue.as_dict() for queue in purged], "deleted": expired})
        return
    queue_column = Column("queue", overflow="fold")
    table = Table(queue_column, "removed", "visible", "in flight", "delayed")
    for queue in purged:
        now = queue.after
        numbers = (queue.before.total, now.visible, now.in_flight, now.delayed)
        table.add_row(queue.queue, *(str(number) for number in numbers))
    out.print(table)
    if expired:
        note(f"{len(expired)} reply queues of clients that were killed are deleted.")
    if deployment.target == "aws" and not wait:
        note("SQS may delete messages that arrive within a minute of a purge: wait before sending.")


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str], None], Callable[[float, float], None]]]:
    """A status line, and a bar for the time until the counts are reliable, on stderr."""
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("Purging", total=None)
        yield (
            lambda text: bar.update(task, description=text),
            lambda done, total: bar.update(task, completed=done, total=total),
        )
