"""`facectl bench`: latency end to end, by stage, and cost."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from facectl.cli.bench import run, sweep


class _RunByDefault(TyperGroup):
    """Adds the default command: `facectl bench -n 100` is `facectl bench run -n 100`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first not in self.commands and first not in {"-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_RunByDefault)


@app.callback()
def bench() -> None:
    """Measure latency end to end, by stage, and cost.

    [bold]facectl bench -n 100[/bold] means [bold]facectl bench run -n 100[/bold]; all options:
    [bold]facectl bench run --help[/bold].
    """


app.command("run")(run.run)
app.command("sweep")(sweep.sweep)
