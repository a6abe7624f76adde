"""`facectl gallery import | export`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from facectl.cli.gallery import shared
from facectl.cli.gallery.enroll import EnrollOptions, run
from facectl.cli.options import Json, changes_deployment, with_deployment
from facectl.console import err
from facectl.context import Deployment


@changes_deployment
def import_(
    deployment: Deployment,
    source: Annotated[
        Path | None, typer.Argument(help="A .pt or .npz file, or a FOLDER/NAME/… of photographs.")
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option("--preprocessing", help="Preprocessing of its faces: facenet or cse546."),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            "--weights", help="Weights of its model: a release, an installed model or a file."
        ),
    ] = "vggface2",
    published: Annotated[
        bool, typer.Option("--published", help="Import the deployment's published gallery.")
    ] = False,
    json: Json = False,
) -> None:
    r"""Import a gallery: \[embeddings, names] of torch.save, an .npz file, or photographs.

    No code in the file is executed. A .pt file does not name its model, so pass
    --preprocessing and --weights. Embeddings of another space than the deployed
    model's are refused.

    [bold]Examples[/bold]

    facectl gallery import data.pt --preprocessing cse546

    facectl gallery import other.npz

    facectl gallery import --published
    """
    from facectl.gallery import exchange
    from facectl.gallery.enrollment import tasks_below

    if source is not None and source.is_dir():
        run(deployment, *tasks_below(source), EnrollOptions(folder=source), json=json)
        return
    with err.status("Reading the gallery"):
        imported, origin = exchange.read_source(
            deployment, source, preprocessing, weights, published
        )
    with closing(exchange.store_for(deployment, imported, origin)) as store:
        with shared.counted("Importing", len(imported.names)) as progress:
            count = exchange.add(store, imported, progress)
        shared.publish_change(deployment, store)
        shared.report(store, f"Imported {count} reference(s).", json=json, imported=count)


@with_deployment
def export(
    deployment: Deployment,
    file: Annotated[Path, typer.Argument(help="The .npz file to write.")],
    json: Json = False,
) -> None:
    """Write the gallery as one .npz file that `import` reads, with its space and threshold.

    [bold]Example[/bold]

    facectl gallery export people.npz
    """
    from facectl.gallery import exchange

    with shared.opened(deployment) as store:
        count = exchange.write(store, file)
        shared.report(store, f"Wrote {count} reference(s) to {file}.", json=json, exported=count)
