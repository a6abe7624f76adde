"""`facectl gallery enroll`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from facectl.cli.gallery import shared
from facectl.cli.options import Json, changes_deployment
from facectl.console import err, out, print_json, say
from facectl.context import Deployment

if TYPE_CHECKING:
    from facectl.gallery.enrollment import EnrollmentOutcome, EnrollmentTask
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
    json: Json = False,
) -> None:
    """Enroll a person, or a folder of people; the running pipeline uses them within seconds.

    Skips photographs that are enrolled already, so run an interrupted command
    again to resume it.

    [bold]Examples[/bold]

    facectl gallery enroll Eileen portrait.jpg

    facectl gallery enroll "Grace Hopper" 1.jpg 2.jpg --largest

    facectl gallery enroll people/ --strict
    """
    from facectl.gallery import enrollment

    tasks, findings = (
        (enrollment.tasks_for(name, images), []) if images else enrollment.tasks_below(Path(name))
    )
    run(deployment, tasks, findings, take_largest=largest, strict=strict, json=json)


def run(
    deployment: Deployment,
    tasks: list[EnrollmentTask],
    findings: list[QualityFinding],
    *,
    take_largest: bool = False,
    strict: bool = False,
    json: bool,
) -> None:
    """Enroll photographs, publish the new version, report, and raise if any were refused."""
    from facectl.gallery import enrollment
    from facectl.gallery.photographs import PhotographEncoder
    from facectl.models.store import deployed

    model = deployed(deployment)
    with closing(enrollment.store_for(deployment.asu_id, model)) as store:
        enrolling = enrollment.Enrollment(
            store, lambda: PhotographEncoder(model), take_largest=take_largest, strict=strict
        )
        enrolling.outcome.findings += findings
        try:
            with shared.counted("Enrolling", len(tasks)) as progress:
                outcome = enrolling.run(tasks, progress)
        finally:
            # An interrupted run may have enrolled people.
            if enrolling.outcome.enrolled:
                shared.publish_change(deployment, store)
        _report(store, outcome, json=json)
        enrollment.check(outcome, strict=strict)


def _report(store: Store, outcome: EnrollmentOutcome, *, json: bool) -> None:
    count = sum(outcome.enrolled.values())
    if json:
        print_json(
            {
                "version": store.version,
                "enrolled": outcome.enrolled,
                "unchanged": outcome.unchanged,
                "refused": len(outcome.refused),
                "findings": [finding.facts() for finding in outcome.findings],
                **shared.facts_of(store, store.people()),
            }
        )
        return
    _print_findings(outcome)
    if len(outcome.enrolled) > 1:
        table = Table("Name", "Photographs", "Warnings", box=None)
        problems = [finding.name for finding in outcome.findings]
        for name, photographs in list(outcome.enrolled.items())[:_SHOWN]:
            table.add_row(Text(name), str(photographs), str(problems.count(name) or ""))
        out.print(table)
        if len(outcome.enrolled) > _SHOWN:
            say(f"… and {len(outcome.enrolled) - _SHOWN} more")
    who = next(iter(outcome.enrolled)) if len(outcome.enrolled) == 1 else "people"
    parts = [f"Enrolled {who} from {count} photograph(s)."] if count else []
    if outcome.unchanged:
        parts.append(f"{outcome.unchanged} photograph(s) were enrolled already.")
    if outcome.refused:
        parts.append(f"{len(outcome.refused)} photograph(s) were not enrolled.")
    shared.report(store, " ".join(parts), json=False)


def _print_findings(outcome: EnrollmentOutcome) -> None:
    for finding in outcome.findings:
        colour = "red" if finding.refused else "yellow"
        word = "Not enrolled" if finding.refused else "Warning"
        text = Text(f"{word}: ", style=colour)
        text.append(f"{finding.photo or finding.name}: {finding.message}", style="default")
        err.print(text, soft_wrap=True)
