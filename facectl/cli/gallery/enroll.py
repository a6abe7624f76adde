"""`facectl gallery enroll`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from facectl import paths
from facectl.cli.gallery import shared
from facectl.cli.options import Json, changes_deployment
from facectl.console import err, note, out, print_json, printable, say
from facectl.context import Deployment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facectl.gallery.enrollment import EnrollmentOutcome, EnrollmentTask
    from facectl.gallery.enrollment_page import Run
    from facectl.gallery.photographs import PhotographEncoder
    from facectl.gallery.quality import QualityFinding
    from facectl.gallery.store import Store

_SHOWN = 30


@changes_deployment
def enroll(
    deployment: Deployment,
    name: Annotated[
        str, typer.Argument(help="Name of the person, as in responses; or a FOLDER/NAME/….")
    ],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Photographs of the person, or folders of them.")
    ] = None,
    largest: Annotated[
        bool, typer.Option("--largest", help="Take the largest of several faces.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse photographs that fail a quality check.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write a report with pictures of the faces to this file."),
    ] = None,
    json: Json = False,
) -> None:
    """Enroll a person, or a folder of people; the running pipeline uses them within seconds.

    Skips photographs that are enrolled already, so run an interrupted command
    again to resume it.

    [bold]Examples[/bold]

    facectl gallery enroll Eileen portrait.jpg

    facectl gallery enroll "Grace Hopper" 1.jpg 2.jpg --largest

    facectl gallery enroll people/ --html enrolled.html
    """
    from facectl.gallery import enrollment

    findings: list[QualityFinding] = []
    if images:
        tasks = enrollment.tasks_for(name, images)
        folder = images[0] if len(images) == 1 and images[0].is_dir() else None
    else:
        folder = Path(name)
        tasks, findings = enrollment.tasks_below(folder)
    options = EnrollOptions(largest, strict, folder, html)
    run(deployment, tasks, findings, options, json=json)


@dataclass(frozen=True, slots=True)
class EnrollOptions:
    """How to enroll and what to report; `folder`: paths are shown relative to it."""

    take_largest: bool = False
    strict: bool = False
    folder: Path | None = None
    html: Path | None = None


def run(
    deployment: Deployment,
    tasks: list[EnrollmentTask],
    findings: list[QualityFinding],
    options: EnrollOptions,
    *,
    json: bool,
) -> None:
    """Enroll photographs, publish the new version, report, and raise if any were refused."""
    from facectl.gallery import enrollment
    from facectl.gallery.enrollment_page import Run
    from facectl.gallery.photographs import PhotographEncoder
    from facectl.models.store import deployed

    model = deployed(deployment)
    encoder = cache(lambda: PhotographEncoder(model))
    strict, folder = options.strict, options.folder
    with closing(enrollment.store_for(deployment.asu_id, model)) as store:
        enrolling = enrollment.Enrollment(
            store, encoder, take_largest=options.take_largest, strict=strict
        )
        enrolling.outcome.findings += findings
        try:
            with shared.counted("Enrolling", len(tasks)) as progress:
                outcome = enrolling.run(tasks, progress)
        finally:
            # An interrupted run may have enrolled people.
            if enrolling.outcome.enrolled:
                shared.publish_change(deployment, store)
        _report(store, outcome, options, json=json)
        if options.html is not None:
            _write_page(store, Run(tasks, outcome, folder), options.html, encoder)
            note(f"{options.html} has pictures of the faces; only your user can read it")
        enrollment.check(outcome, strict=strict, folder=folder)


def _write_page(
    store: Store, run: Run, html: Path, encoder: Callable[[], PhotographEncoder]
) -> None:
    from facectl.gallery import enrollment_page, reports

    def face(photo: Path) -> NDArray[np.uint8]:
        return encoder().face(photo)

    with err.status("Writing the report"):
        now = datetime.now()  # noqa: DTZ005 - local
        paths.write_text(html, enrollment_page.page(store, run, reports.crops(face), now))


def _report(
    store: Store, outcome: EnrollmentOutcome, options: EnrollOptions, *, json: bool
) -> None:
    if json:
        print_json(
            {
                "version": store.version,
                "enrolled": outcome.enrolled,
                "unchanged": outcome.unchanged,
                "refused": len(outcome.refused),
                "findings": [finding.facts() for finding in outcome.findings],
                **({} if options.html is None else {"html": str(options.html)}),
                **shared.facts_of(store, store.people()),
            }
        )
        return
    _print_findings(outcome, options.folder)
    if len(outcome.enrolled) > 1:
        _print_people(outcome)
    shared.report(store, _summary(outcome), json=False)


def _print_findings(outcome: EnrollmentOutcome, folder: Path | None) -> None:
    """One row for each photograph with problems, and for each folder without photographs."""
    from facectl.gallery.enrollment import relative

    rows: dict[tuple[str, Path | None], list[QualityFinding]] = {}
    for finding in outcome.findings:
        rows.setdefault((finding.name, finding.photo), []).append(finding)
    if not rows:
        return
    table = Table("Person", "Photograph", "What", "Figure", box=None)
    for column in table.columns:
        # Folded, not cut: a path in a pipe must come out whole.
        column.overflow = "fold"
    table.columns[1].min_width = 24
    for (name, photo), found in list(rows.items())[:_SHOWN]:
        refused = any(finding.refused for finding in found)
        what = Text("not enrolled: " if refused else "", style="red")
        what.append(", ".join(finding.words for finding in found), style="yellow")
        path = "" if photo is None else str(relative(photo, folder))
        figures = ", ".join(finding.measured for finding in found if finding.measured)
        table.add_row(Text(printable(name)), Text(printable(path)), what, figures)
    out.print(table)
    if len(rows) > _SHOWN:
        say(f"… and {len(rows) - _SHOWN} more: --json or --html shows them")
    out.print()


def _print_people(outcome: EnrollmentOutcome) -> None:
    """One row for each person who was enrolled now."""
    with_photo = [finding for finding in outcome.findings if finding.photo is not None]
    refused = {(finding.name, finding.photo) for finding in with_photo if finding.refused}
    doubtful = {(finding.name, finding.photo) for finding in with_photo} - refused
    table = Table("Person", "Enrolled", "Doubtful", "Not enrolled", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, photographs in list(outcome.enrolled.items())[:_SHOWN]:
        counts = (sum(key[0] == name for key in keys) for keys in (doubtful, refused))
        table.add_row(Text(name), str(photographs), *(str(count or "") for count in counts))
    out.print(table)
    if len(outcome.enrolled) > _SHOWN:
        say(f"… and {len(outcome.enrolled) - _SHOWN} more")
    out.print()


def _summary(outcome: EnrollmentOutcome) -> str:
    from facectl.gallery.enrollment import counted

    count = sum(outcome.enrolled.values())
    people = list(outcome.enrolled)
    who = people[0] if len(people) == 1 else f"{len(people)} people"
    parts = [f"Enrolled {who} from {counted(count)}"] if count else ["Enrolled nothing new"]
    if outcome.doubtful:
        parts.append(f"{len(outcome.doubtful)} of them doubtful")
    if outcome.refused:
        parts.append(f"{len(outcome.refused)} not enrolled")
    if outcome.unchanged:
        parts.append(f"{outcome.unchanged} enrolled already")
    return ", ".join(parts) + "."
