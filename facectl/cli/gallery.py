"""`facectl gallery`: whom the pipeline knows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from facectl.aws import Clients
from facectl.cli.options import Json, with_deployment
from facectl.console import err, out, print_json
from facectl.context import Deployment

if TYPE_CHECKING:
    from lambda_src.gallery import Gallery

app = typer.Typer(no_args_is_help=True, help="Whom the pipeline knows: enroll, list, remove.")


@app.command()
@with_deployment
def enroll(
    deployment: Deployment,
    name: Annotated[str, typer.Argument(help="What the pipeline answers for this person.")],
    images: Annotated[list[Path], typer.Argument(help="Photographs with this one face.")],
    largest: Annotated[
        bool, typer.Option("--largest", help="Take the largest of several faces.")
    ] = False,
    json: Json = False,
) -> None:
    """Add a person's photographs; the running pipeline knows them within seconds.

    [bold]Examples[/bold]

    facectl gallery enroll Eileen portrait.jpg

    facectl gallery enroll "Grace Hopper" 1.jpg 2.jpg --largest
    """
    from facectl.gallery import enrol, publish, store
    from facectl.models.store import find

    name = enrol.check_name(name)
    model = find(deployment.space)
    gallery = store.load_for(deployment.asu_id, model)
    enroller = enrol.Enroller(model)
    embeddings = [
        enroller.embed(image, take_largest=largest)
        for image in track(images, "Embedding", console=err, transient=True)
    ]
    gallery = enrol.add(gallery, name, embeddings)
    store.save(deployment.asu_id, gallery)
    publish.publish(Clients(deployment), gallery)
    _report(gallery, json, f"Enrolled {name} from {len(images)} photograph(s).")


@app.command("list")
@with_deployment
def list_(deployment: Deployment, json: Json = False) -> None:
    """List who is enrolled, and from how many photographs.

    [bold]Example[/bold]

    facectl gallery list
    """
    from facectl.gallery import store

    gallery = store.load(deployment.asu_id)
    if gallery is None:
        err.print("Nobody is enrolled.  Next: [bold]facectl gallery enroll NAME IMAGE[/bold]")
        if json:
            print_json({"people": []})
        return
    _report(gallery, json, None)


@app.command()
@with_deployment
def remove(
    deployment: Deployment,
    name: Annotated[str, typer.Argument(help="The name to remove.")],
    json: Json = False,
) -> None:
    """Remove a person from the gallery, here and in the deployment.

    [bold]Example[/bold]

    facectl gallery remove Eileen
    """
    from facectl.errors import GalleryError
    from facectl.gallery import enrol, publish, store

    gallery = store.load(deployment.asu_id)
    if gallery is None:
        raise GalleryError("nobody is enrolled", hint="facectl gallery enroll NAME IMAGE")
    gallery = enrol.remove(gallery, name)
    store.save(deployment.asu_id, gallery)
    publish.publish(Clients(deployment), gallery)
    _report(gallery, json, f"Removed {name}.")


def _report(gallery: Gallery, json: bool, done: str | None) -> None:
    people = Counter(gallery.names)
    if json:
        report: dict[str, Any] = {
            "space": gallery.space,
            "synthetic": gallery.synthetic,
            "threshold": gallery.threshold,
            "people": [{"name": name, "photographs": n} for name, n in sorted(people.items())],
        }
        print_json(report)
        return
    table = Table("Name", "Photographs", box=None)
    for name, photographs in sorted(people.items()):
        table.add_row(name, str(photographs))
    if done is None:
        out.print(table)
    else:
        out.print(f"{done} {len(people)} people in the gallery.", markup=False)
    if gallery.synthetic:
        err.print("[yellow]Synthetic weights: these names are a demonstration.[/yellow]")
