"""`facectl gallery history | diff | rollback | publish | status`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from facectl.cli.gallery import shared
from facectl.cli.options import (
    Json,
    Yes,
    announced,
    changes_deployment,
    reads_deployment,
    with_deployment,
    with_overrides,
)
from facectl.console import note, out, print_fields, print_json, say
from facectl.context import Deployment, Overrides, resolve

if TYPE_CHECKING:
    from facectl.gallery.changes import EmbeddingSpace


@with_deployment
def history(deployment: Deployment, json: Json = False) -> None:
    """List every version of the gallery with its model, the newest first.

    [bold]Example[/bold]

    facectl gallery history
    """
    from facectl.models import store as models

    with shared.opened(deployment) as store:
        versions = store.versions()
    if json:
        print_json([asdict(version) for version in versions])
        return
    installed = {model.space: model.space_name for model in models.installed()}
    table = Table("Version", "Time", "Action", "Added", "Removed", "Threshold", box=None)
    table.add_column("Model", overflow="fold")
    for version in versions:
        table.add_row(
            str(version.number),
            version.at[:16].replace("T", " "),
            version.action,
            str(version.added or ""),
            str(version.removed or ""),
            f"{version.settings.threshold:.3g} {version.settings.metric}",
            Text(_model(version.space, installed)),
        )
    out.print(table)


@with_deployment
def diff(
    deployment: Deployment,
    first: Annotated[
        int | None, typer.Argument(help="A version; default: the one before the newest.")
    ] = None,
    second: Annotated[int | None, typer.Argument(help="A version; default: the newest.")] = None,
    json: Json = False,
) -> None:
    """Show the differences between two versions.

    [bold]Examples[/bold]

    facectl gallery diff

    facectl gallery diff 3 7
    """
    from facectl.gallery import people

    with shared.opened(deployment) as store:
        new = store.version if second is None else second
        old = max(0, new - 1) if first is None else first
        found = people.compare(store, old, new)
    if json:
        print_json({"from": old, "to": new, **asdict(found)})
        return
    for name, count in found.added.items():
        say(f"+ {name} ({count})", style="green")
    for name, count in found.removed.items():
        say(f"- {name} ({count})", style="red")
    for name, (before, after) in found.changed.items():
        say(f"~ {name} ({before} -> {after})")
    for key, (was, now) in found.settings.items():
        say(f"~ {key}: {was} -> {now}")
    if found.empty:
        say(f"Versions {old} and {new} are the same.")


@with_overrides
def rollback(
    overrides: Overrides,
    version: Annotated[int, typer.Argument(help="A version's number.")],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Restore an older version as a new version; the history keeps all versions.

    If the version is of another model, that model is deployed too, after a confirmation.

    [bold]Example[/bold]

    facectl gallery rollback 3
    """
    from facectl.cli.gallery import rebuild
    from facectl.deploy import deployer
    from facectl.gallery import people

    deployment = announced(resolve(overrides))
    with shared.opened(deployment) as store:
        space = store.space_of(version)
        if deployment.space in (None, space.id):
            now = people.rollback(store, version)
            shared.publish_change(deployment, store)
        else:
            deployment = deployer.located(deployment, overrides.endpoint_url)
            now = rebuild.switch_back(deployment, store, version, yes=yes)
        text = f"Version {now} is a copy of version {version}."
        shared.report(store, text, json=json)


@changes_deployment
def publish(
    deployment: Deployment,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Overwrite a published gallery that this computer does not know."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Publish the newest version; every change publishes automatically.

    [bold]Examples[/bold]

    facectl gallery publish

    facectl gallery publish --replace
    """
    with shared.opened(deployment) as store:
        manifest = shared.publish_change(deployment, store, replace=replace)
        shared.report(store, f"Version {manifest.version} is published.", json=json)


@reads_deployment
def status(deployment: Deployment, json: Json = False) -> None:
    """Show the gallery on this computer, the published one, and the one the function serves.

    [bold]Examples[/bold]

    facectl gallery status

    facectl gallery status --json
    """
    from facectl.aws import Clients
    from facectl.errors import ExitCode
    from facectl.gallery import serving

    facts = serving.state(Clients(deployment))
    if json:
        print_json(facts)
    else:
        rows = [(key, facts[key]) for key in ("here", "published", "serving")]
        rows += [("unused", other) for other in facts["others"]]
        print_fields([(key, _line(gallery)) for key, gallery in rows])
        for problem in facts["problems"]:
            note(f"Problem: {problem}", style="red")
    if facts["problems"]:
        raise typer.Exit(ExitCode.FOUND)


def _line(facts: dict[str, Any] | None) -> str | None:
    if facts is None:
        return None
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)


def _model(space: EmbeddingSpace, installed: dict[str, str]) -> str:
    name = space.model or installed.get(space.id) or str(space)
    return f"{name} (synthetic)" if space.synthetic else name
