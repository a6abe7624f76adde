"""`facectl context`: which deployment the commands talk to."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table

from facectl.cli.options import Json, with_deployment
from facectl.console import out, print_json
from facectl.context import Deployment


@with_deployment
def context(deployment: Deployment, json: Json = False) -> None:
    """Show which deployment the commands talk to.

    [bold]Examples[/bold]

    facectl context

    facectl context --asu-id 1225754101 --json
    """
    if json:
        print_json(asdict(deployment))
        return
    table = Table.grid(padding=(0, 2))
    for key, value in asdict(deployment).items():
        table.add_row(key.replace("_", " "), "-" if value is None else str(value))
    out.print(table)
