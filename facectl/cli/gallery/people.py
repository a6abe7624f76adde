"""`facectl gallery list | show | remove | rename | merge`."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from facectl.cli.gallery import shared
from facectl.cli.options import Json, Person, changes_deployment, with_deployment
from facectl.console import err, out, print_json, say
from facectl.context import Deployment


@with_deployment
def list_(deployment: Deployment, json: Json = False) -> None:
    """List the enrolled people and their numbers of photographs.

    [bold]Example[/bold]

    facectl gallery list
    """
    from facectl.gallery import anchors
    from facectl.gallery.store import Store

    store = Store.find(deployment.asu_id)
    if store is None:
        err.print("Nobody is enrolled.  Next: [bold]facectl gallery enroll NAME IMAGE[/bold]")
        if json:
            print_json({"people": []})
        return
    with closing(store):
        people = store.people()
        if json:
            print_json({"version": store.version, **shared.facts_of(store, people)})
            return
        table = Table("Name", "Photographs", box=None)
        for name, photographs in people.items():
            table.add_row(Text(name), str(photographs))
        out.print(table)
        if ignored := len(anchors.counts(store)):
            say(f"{ignored} never named: facectl strangers list --all")
        shared.warn_synthetic(store)


@with_deployment
def show(deployment: Deployment, name: Person, json: Json = False) -> None:
    """Show a person's photographs, their quality, and the most similar people.

    [bold]Example[/bold]

    facectl gallery show Eileen
    """
    from facectl.gallery import people

    with shared.opened(deployment) as store:
        photographs = [
            {"photograph": reference.source, "sha256": reference.sha256, **reference.figures}
            for reference in people.references(store, name)
        ]
        similar = people.most_similar(store, name)
    if json:
        print_json({"name": name, "photographs": photographs, "nearest": similar})
        return
    columns = ("photograph", "face_px", "probability", "sharpness")
    table = Table("Photograph", "Face (px)", "Probability", "Sharpness", box=None)
    for photograph in photographs:
        table.add_row(*(Text(_shown(photograph.get(key))) for key in columns))
    out.print(table)
    for other in similar:
        say(f"{other['distance']:.2f} from {other['name']}")


@changes_deployment
def remove(
    deployment: Deployment,
    name: Person,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Delete the person from every version, here and in the bucket."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Remove a person from the gallery, here and in the deployment.

    Without --forget older versions keep the person for a rollback. If publishing
    fails, the next publication finishes the deletion, and `facectl gallery status`
    names the buckets that may still contain the person.

    [bold]Examples[/bold]

    facectl gallery remove Eileen

    facectl gallery remove Eileen --forget
    """
    from facectl.gallery import people

    with shared.opened(deployment) as store:
        if forget:
            people.forget(deployment.asu_id, name)
        else:
            people.remove(store, name)
        shared.publish_change(deployment, store)
        word = "Forgot" if forget else "Removed"
        shared.report(store, f"{word} {name}.", json=json)


@changes_deployment
def rename(
    deployment: Deployment,
    name: Person,
    new: Annotated[str, typer.Argument(help="The new name.")],
    json: Json = False,
) -> None:
    """Give a person another name.

    [bold]Example[/bold]

    facectl gallery rename Eileen "Eileen Collins"
    """
    from facectl.gallery import people

    with shared.opened(deployment) as store:
        people.rename(store, name, new)
        shared.publish_change(deployment, store)
        shared.report(store, f"{name} is now {new}.", json=json)


@changes_deployment
def merge(
    deployment: Deployment,
    name: Person,
    into: Annotated[str, typer.Argument(help="The name that stays.")],
    json: Json = False,
) -> None:
    """Merge two names into one person.

    [bold]Example[/bold]

    facectl gallery merge "E. Collins" "Eileen Collins"
    """
    from facectl.gallery import people

    with shared.opened(deployment) as store:
        people.merge(store, name, into)
        shared.publish_change(deployment, store)
        shared.report(store, f"{name} is now part of {into}.", json=json)


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
