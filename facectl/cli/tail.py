"""`facectl tail`: print results as they arrive."""

from __future__ import annotations

import json as json_module
import os
import sys
from contextlib import closing
from datetime import datetime
from typing import Annotated

import typer

from facectl.aws import Clients, with_account
from facectl.cli.options import Json, announced, with_deployment
from facectl.cli.run_report import SYNTHETIC
from facectl.console import note, printable, warn
from facectl.context import Deployment
from facectl.errors import ExitCode, InputError
from lambda_src.contract import FrameResult


@with_deployment
def tail(
    deployment: Deployment,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the results on the queue for others.")
    ] = False,
    most: Annotated[int | None, typer.Option("--max", min=1, help="Stop after N results.")] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0, help="Stop after N seconds without a result."),
    ] = None,
    reply: Annotated[
        str | None,
        typer.Option(
            "--reply",
            help="Read this reply queue of `send --reply private`, not the response queue; "
            "facectl status lists them.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print results as they arrive, until Ctrl-C.

    Removes the printed results from the response queue, even if another client waits for
    them; --keep leaves them there. --json prints one JSON object per line.

    [bold]Examples[/bold]

    facectl tail

    facectl tail --keep --json

    facectl tail --max 10 --timeout 30
    """
    from facectl.stream.responses import ResponseQueue
    from facectl.stream.tail import Limits, Tail

    deployment = with_account(deployment) if keep else announced(deployment)
    if reply is not None and not deployment.names.is_reply_queue(reply):
        raise InputError(f"{reply} is no reply queue of this deployment", hint="facectl status")
    follower = Tail(ResponseQueue(Clients(deployment), reply), keep=keep)
    if deployment.synthetic:
        warn(SYNTHETIC)
    given = 0
    try:
        with closing(follower.results(Limits(most, timeout))) as results:
            for result, sent_at in results:
                line = _json(result, deployment) if json else _line(result, sent_at)
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
                given += 1
    except KeyboardInterrupt:
        note(f"Stopped after {given} results.")
        return
    except BrokenPipeError:
        # The reader closed the pipe; the interpreter must not flush stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if follower.foreign:
        note(f"{follower.foreign} messages on the queue are not results; they were not removed.")
    if most is not None and given < most:
        raise typer.Exit(ExitCode.FOUND)


def _json(result: FrameResult, deployment: Deployment) -> str:
    if not deployment.synthetic:
        return result.serialise()
    return json_module.dumps({**json_module.loads(result.serialise()), "synthetic": True})


def _line(result: FrameResult, sent_at: float | None) -> str:
    when = datetime.now() if sent_at is None else datetime.fromtimestamp(sent_at)  # noqa: DTZ005, DTZ006 - the reader's own clock
    return f"{when:%H:%M:%S}  {printable(result.request_id)}  {printable(result.result)}"
