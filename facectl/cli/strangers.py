"""`facectl strangers list | show | name | ignore | split | merge | forget | correct | undo`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from facectl.cli.options import Json, StrangerGroup, Yes, changes_deployment, with_deployment
from facectl.console import note, out, print_json, printable, say, warn
from facectl.context import Deployment
from facectl.errors import InputError

if TYPE_CHECKING:
    from facectl.strangers.actions import StrangerActions
    from facectl.strangers.models import Done

app = typer.Typer(
    no_args_is_help=True, help="Unknown people of send --keep-strangers: name, ignore, correct."
)


@app.command("list")
@with_deployment
def list_(
    deployment: Deployment,
    every: Annotated[bool, typer.Option("--all", help="Ignored and named groups too.")] = False,
    json: Json = False,
) -> None:
    """List the groups of unknown people, the one seen last first.

    [bold]Examples[/bold]

    facectl strangers list

    facectl strangers list --all --json
    """
    actions = _actions(deployment)
    groups = actions.groups(every=every)
    if json:
        print_json([asdict(group) for group in groups])
        return
    if not groups:
        _explain_none(actions)
        return
    table = Table("Group", "Faces", "Visits", "First seen", "Last seen", "State", box=None)
    for group in groups:
        state = group.state if group.name is None else f"named {printable(group.name)}"
        seen = (_shown(group.first_seen), _shown(group.last_seen))
        seen = seen if group.faces else ("-", "-")
        table.add_row(group.id, str(group.faces), str(len(group.visits)), *seen, Text(state))
    out.print(table)
    _warn_synthetic(deployment)


@app.command()
@with_deployment
def show(
    deployment: Deployment,
    group: StrangerGroup,
    crops: Annotated[
        Path | None, typer.Option("--crops", help="Write the faces to this folder.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the faces of a group, the best first.

    [bold]Examples[/bold]

    facectl strangers show s-12

    facectl strangers show s-12 --crops faces/
    """
    actions = _actions(deployment)
    faces = actions.faces(group)
    files = {} if crops is None else _written(actions, [face.id for face in faces], crops)
    if json:
        files_of = {face: str(file) for face, file in files.items()}
        print_json([{**asdict(face), "file": files_of.get(face.id)} for face in faces])
        return
    table = Table("Face", "Seen", "Visit", "Source", "Face (px)", "Sharpness", box=None)
    for face in faces:
        table.add_row(
            face.id,
            _shown(face.time),
            face.visit,
            Text(printable(face.source)),
            f"{face.side:.0f}",
            f"{face.sharpness:.0f}",
        )
    out.print(table)
    if crops is not None:
        note(f"{crops} has their pictures; only your user can read them")


@app.command()
@changes_deployment
def name(
    deployment: Deployment,
    group: StrangerGroup,
    person: Annotated[str, typer.Argument(metavar="NAME", help="The name of this person.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also if the person of this name looks different.")
    ] = False,
    json: Json = False,
) -> None:
    """Name a group: enroll its best faces; the running pipeline recognizes the person in seconds.

    A name in the gallery gets these faces too. The visits of the group are amended. The pictures of
    the enrolled faces are kept on this computer, so that another model can embed them:
    facectl gallery remove NAME --forget deletes them.

    [bold]Example[/bold]

    facectl strangers name s-12 "Grace Hopper"
    """
    _report(deployment, _actions(deployment).name(group, person, force=force), json=json)


@app.command()
@changes_deployment
def ignore(deployment: Deployment, group: StrangerGroup, json: Json = False) -> None:
    """Ignore a person: never named, and not listed again.

    The gallery gets faces of the group that are never named: a face nearer to them than to any
    person is Unknown.

    [bold]Example[/bold]

    facectl strangers ignore s-12
    """
    _report(deployment, _actions(deployment).ignore(group), json=json)


@app.command()
@with_deployment
def split(
    deployment: Deployment,
    group: StrangerGroup,
    faces: Annotated[
        list[str] | None,
        typer.Argument(help="The faces to move, as f-7 of `strangers show`; default: half of it."),
    ] = None,
    json: Json = False,
) -> None:
    """Split a group that is two people.

    [bold]Examples[/bold]

    facectl strangers split s-12

    facectl strangers split s-12 f-7 f-8
    """
    _report(deployment, _actions(deployment).split(group, faces or None), json=json)


@app.command()
@with_deployment
def merge(
    deployment: Deployment,
    groups: Annotated[list[str], typer.Argument(help="The groups; the first one stays.")],
    json: Json = False,
) -> None:
    """Merge groups that are one person.

    [bold]Example[/bold]

    facectl strangers merge s-12 s-15
    """
    _report(deployment, _actions(deployment).merge(groups), json=json)


@app.command()
@changes_deployment
def forget(
    deployment: Deployment,
    group: Annotated[str, typer.Argument(help="A group, or all.")],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete the faces of a group, or of all, and end ignoring them. It can't be undone.

    A named person stays in the gallery: facectl gallery remove NAME --forget

    [bold]Examples[/bold]

    facectl strangers forget s-12

    facectl strangers forget all --yes
    """
    if not yes:
        typer.confirm(f"Delete the faces of {group}?", abort=True, err=True)
    _report(deployment, _actions(deployment).forget(group), json=json)


@app.command()
@changes_deployment
def correct(
    deployment: Deployment,
    visit: Annotated[str, typer.Argument(help="The id of a visit, as in the file of --visits.")],
    is_: Annotated[str | None, typer.Option("--is", help="The name of this person.")] = None,
    not_: Annotated[
        bool, typer.Option("--not", help="Not the person whose name the visit has.")
    ] = False,
    json: Json = False,
) -> None:
    """Correct whose visit it was, so that the next frame shows it.

    [bold]Examples[/bold]

    facectl strangers correct 1f0c9a7be2d4-000012-0 --not

    facectl strangers correct 1f0c9a7be2d4-000012-0 --is "Grace Hopper"
    """
    if (is_ is None) != not_:
        raise InputError(
            "say whose visit it is, or that it is not the person's",
            hint=f"facectl strangers correct {visit} --is NAME   or   --not",
        )
    _report(deployment, _actions(deployment).correct(visit, is_), json=json)


@app.command()
@changes_deployment
def undo(deployment: Deployment, json: Json = False) -> None:
    """Undo the last name, ignore, split, merge or correction.

    [bold]Example[/bold]

    facectl strangers undo
    """
    _report(deployment, _actions(deployment).undo(), json=json)


def _actions(deployment: Deployment) -> StrangerActions:
    from facectl.strangers.actions import StrangerActions

    return StrangerActions(deployment)


def _report(deployment: Deployment, done: Done, *, json: bool) -> None:
    if json:
        print_json(asdict(done))
        return
    say(done.sentence)
    if done.amended:
        note(f"{done.amended} visit{'' if done.amended == 1 else 's'} amended")
    if done.gallery_version is not None:
        note(f"Version {done.gallery_version} of the gallery is published")
    _warn_synthetic(deployment)


def _explain_none(actions: StrangerActions) -> None:
    """Say why no group is listed, and what is needed for one."""
    from facectl.gallery.quality import MIN_FACE_PX
    from facectl.strangers.grouping import CORE

    others, faces = len(actions.groups(every=True)), actions.ungrouped()
    if others:
        were = "group is" if others == 1 else "groups are"
        note(f"{others} {were} named or ignored. Next: facectl strangers list --all")
    if faces:
        kept = "1 good face is" if faces == 1 else f"{faces} good faces are"
        note(
            f"No strangers yet: {kept} kept, and no {CORE} of them look alike. A stranger is "
            f"listed with {CORE} faces, taken at least half a second apart."
        )
    elif not others:
        note(
            "No strangers: no good face of an unknown person is kept. It is at least "
            f"{MIN_FACE_PX:.0f} pixels wide, and sharp."
        )
    note("Next: facectl send SOURCE --visits FILE --keep-strangers   with more of the same people")


def _written(actions: StrangerActions, faces: list[str], folder: Path) -> dict[str, Path]:
    """Write crops to a folder, readable by this user alone."""
    from facectl.paths import atomic_write

    files = {face: folder / f"{face}.jpg" for face in faces}
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for face, file in files.items():
            with atomic_write(file) as stream:
                stream.write(actions.crop(face))
    except OSError as error:
        raise InputError(f"{folder} can't be written: {error.strerror}") from error
    return files


def _shown(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}"


def _warn_synthetic(deployment: Deployment) -> None:
    if deployment.synthetic:
        warn("Synthetic weights: the model is untrained, so these groups mean nothing.")
