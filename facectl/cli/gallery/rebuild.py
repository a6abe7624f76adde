"""`facectl gallery rebuild`, and the messages and confirmations of a change of model."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from facectl.cli.gallery import shared
from facectl.cli.options import DryRun, Json, Yes, announced, with_deployment
from facectl.console import err, note, print_json, say
from facectl.context import Deployment
from facectl.errors import FacectlError, GalleryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl.deploy.deployer import Plan
    from facectl.gallery.rebuild import Lost, Rebuild
    from facectl.gallery.store import Store
    from lambda_src.vision.store import Model

_SHOWN = 30
_NAMES = 10


@with_deployment
def rebuild(
    deployment: Deployment,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Name or embedding space of a model; default: the deployed one."
        ),
    ] = None,
    photographs: Annotated[
        list[Path] | None,
        typer.Option("--photographs", help="Folder to search for photographs that were moved."),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Embed the gallery's photographs again for another model, and publish the new version.

    Lists photographs that can't be embedded again. The history keeps the older versions with
    their models. `facectl deploy --model` does the same and also updates the functions.

    [bold]Examples[/bold]

    facectl gallery rebuild

    facectl gallery rebuild --model vggface2-facenet --photographs people/
    """
    from facectl.gallery import rebuild as rebuilds
    from facectl.gallery.changes import EmbeddingSpace
    from facectl.models.store import deployed, find

    if not dry_run:
        deployment = announced(deployment)
    chosen = find(model) if model else deployed(deployment)
    with shared.opened(deployment) as store:
        if not rebuilds.needed(store, chosen.space):
            _report_nothing(store, chosen, json=json)
            return
        with shared.counted("Looking for", sum(store.people().values())) as progress:
            work = rebuilds.plan(
                store, EmbeddingSpace.of(chosen), folders=photographs or (), progress=progress
            )
        describe(work, summary=not dry_run or json)
        if dry_run:
            print_json(work.facts()) if json else say(work.summary)
            return
        embed(work, chosen, yes=yes)
        work.commit()
        ahead = deployment.space not in (None, chosen.space)
        there = replace(deployment, space=chosen.space, synthetic=chosen.synthetic)
        shared.publish_change(there, store, ahead=ahead)
        facts = {"rebuilt": work.photographs + work.known, "lost": [asdict(x) for x in work.lost]}
        shared.report(store, f"The gallery is of model {work.new} now.", json=json, **facts)
    if ahead:
        note(f"The functions still run another model.  Next: facectl deploy --model {work.new}")


def switch_back(deployment: Deployment, store: Store, version: int, *, yes: bool) -> int:
    """Roll back to a version of another model than the deployed one, and deploy that model.

    Returns the number of the new version. Raises ModelError if the model is not
    installed, GalleryError if the user declines.
    """
    from facectl.cli import deploy_report
    from facectl.cli.deploy import confirm_replacements
    from facectl.deploy import deployer
    from facectl.gallery import people
    from facectl.gallery.rebuild import model_of

    model = model_of(store.space_of(version), version, deployment.precision)
    with err.status("Reading what is deployed"):
        plan = deployer.prepare(deployment, model, rebuilds=False)
    if not yes:
        _confirm(
            f"Version {version} is of model {model.path.name}: deploy that model too?",
            f"version {version} is of model {model.path.name}, the functions run another one",
            f"facectl gallery rollback {version} --yes",
        )
    confirm_replacements(plan.steps, yes=yes)
    now = people.rollback(store, version)
    try:
        with deploy_report.progress(plan.steps) as progress:
            deployer.apply(plan, progress)
        with err.status("Waiting until both functions answer"):
            deployer.check(plan, deployer.finish(plan))
            deployer.record(plan)
    except FacectlError:
        note(
            f"Version {now} is kept on this computer.  To finish: "
            f"facectl deploy --model {model.path.name}"
        )
        raise
    return now


def describe(work: Rebuild | None, *, summary: bool = True) -> None:
    """Print on stderr what a rebuild does, and the references that can't be embedded."""
    if work is None:
        return
    if summary:
        note(work.summary)
    if work.lost:
        _print_lost(work.lost)
    before, after = work.thresholds
    if before != after:
        note(
            f"The threshold was picked for {work.old}: {before:.4g} becomes {after:.4g}.  "
            "Later: facectl gallery calibrate"
        )


def embed(work: Rebuild, model: Model, *, yes: bool) -> None:
    """Embed the photographs; asks first if people would be dropped. Raises GalleryError."""
    from facectl.gallery.photographs import PhotographEncoder

    confirm_dropped(work, [], yes=yes)
    agreed, lost = work.dropped, len(work.lost)
    with shared.counted("Embedding", work.photographs) as progress:
        work.embed(lambda: PhotographEncoder(model), progress)
    if len(work.lost) > lost:
        _print_lost(work.lost)
    confirm_dropped(work, agreed, yes=yes)


def embed_for_deploy(plan: Plan, *, requested: bool, yes: bool) -> None:
    """Embed the gallery of a deploy; `requested`: whether --model was given."""
    if plan.gallery is None or plan.model is None:
        return
    describe(plan.gallery)
    if not requested and not yes:
        question = f"Deploy model {plan.gallery.new} in place of {plan.gallery.old}?"
        _confirm(
            question,
            f"the gallery is of model {plan.gallery.old}, and {plan.gallery.new} was not requested",
            f"facectl deploy --model {plan.gallery.new}   or   --yes",
        )
    embed(plan.gallery, plan.model, yes=yes)


def confirm_dropped(work: Rebuild, agreed: Sequence[str], *, yes: bool) -> None:
    """Ask before dropping people without a photograph from the new version."""
    dropped = [name for name in work.dropped if name not in agreed]
    if not dropped:
        return
    names = ", ".join(dropped[:_NAMES])
    if len(dropped) > _NAMES:
        names += f" and {len(dropped) - _NAMES} more"
    imported = {lost.kind for lost in work.lost if lost.name in dropped} == {"imported"}
    why = (
        "were imported as embeddings, without photographs, and can't be embedded again"
        if imported
        else "have no photograph left that can be embedded again"
    )
    if work.people == 0:
        names = f"all {len(dropped)} people"
    text = f"{names} {why} for model {work.new}"
    note(f"{text}: the new version does not have them. The older versions keep them.")
    if not yes:
        _confirm(
            "Continue without them?",
            f"{text}: the gallery is unchanged",
            "put the photographs back, or name their folder: facectl gallery rebuild "
            f"--model {work.new} --photographs FOLDER   or leave the people out: --yes",
        )


def _report_nothing(store: Store, model: Model, *, json: bool) -> None:
    if store.people():
        text = f"Nothing to rebuild: the gallery is of model {model.path.name} already."
    else:
        text = "Nothing to rebuild."
    shared.report(store, text, json=json, rebuilt=0, lost=[])


def _confirm(question: str, refusal: str, hint: str) -> None:
    """Ask, and raise GalleryError unless the answer is yes; without a terminal it is no."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise GalleryError(refusal, hint=hint)


def _print_lost(lost: Sequence[Lost]) -> None:
    table = Table("Person", "Photograph", "Why it can't be embedded again", box=None)
    for each in lost[:_SHOWN]:
        table.add_row(Text(each.name), Text(short(each.photo)), Text(each.message))
    err.print(table)
    if len(lost) > _SHOWN:
        note(f"… and {len(lost) - _SHOWN} more photographs")


def short(photo: str | None) -> str:
    """A photograph's path relative to the working directory, or its last three parts."""
    if photo is None:
        return "-"
    relative = os.path.relpath(photo)
    if not relative.startswith(os.pardir):
        return relative
    return str(Path("…", *Path(photo).parts[-3:]))
