"""`facectl gallery settings | calibrate | evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from facectl.cli.gallery import shared
from facectl.cli.options import DryRun, HtmlReport, Json, announced, with_deployment
from facectl.console import err, note, print_fields, print_json, say, warn
from facectl.context import Deployment
from facectl.errors import InputError


@with_deployment
def settings(
    deployment: Deployment,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=2, help="Distance beyond which a face is Unknown."),
    ] = None,
    metric: Annotated[
        Literal["euclidean", "cosine"] | None,
        typer.Option(
            "--metric",
            help="Distance between L2-normalised embeddings; the threshold is converted.",
        ),
    ] = None,
    matching: Annotated[
        Literal["best", "centroid"] | None,
        typer.Option(
            "--matching", help="Compare with every photograph, or with each person's mean."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show or change how faces are compared with the gallery.

    [bold]Examples[/bold]

    facectl gallery settings

    facectl gallery settings --threshold 0.9 --matching centroid
    """
    from facectl.gallery import people

    if (threshold, metric, matching) != (None, None, None):
        deployment = announced(deployment)
    with shared.opened(deployment) as store:
        if people.configure(store, threshold=threshold, metric=metric, matching=matching):
            shared.publish_change(deployment, store)
        now, default = store.settings, store.space_of(store.version).default_threshold
        if json:
            facts = {"version": store.version, **shared.facts_of(store, {})}
            print_json({**facts, "default_threshold": default.facts(now.metric)})
            return
        say(f"threshold {now.threshold:.4g}, {now.metric} distance, {now.matching} matching")
        if now.threshold == default.of(now.metric):
            say(f"{now.threshold:.4g} is the {default}")


@with_deployment
def calibrate(
    deployment: Deployment,
    far: Annotated[
        float, typer.Option("--far", min=0, max=0.5, help="Highest false accept rate to allow.")
    ] = 0.001,
    html: HtmlReport = Path("calibration.html"),
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Pick the threshold from the gallery, cross-validate it, and plot the error rates.

    [bold]Examples[/bold]

    facectl gallery calibrate

    facectl gallery calibrate --far 0.01 --html curves.html --dry-run
    """
    from facectl.gallery import reports

    if not dry_run:
        deployment = announced(deployment)
    with shared.opened(deployment) as store:
        with err.status("Measuring distances"):
            found = reports.calibrate(store, far, html)
        if not dry_run and reports.adopt(store, found):
            shared.publish_change(deployment, store)
        facts = reports.facts(found, html)
        if json:
            print_json(facts)
            return
        print_fields(
            {
                "Threshold": f"{facts['threshold']:.4f}" + ("  (not stored)" if dry_run else ""),
                "FAR, cross-validated": f"{facts['far']:.4%}",
                "FRR, cross-validated": f"{facts['frr']:.2%}",
                "EER": f"{facts['eer']:.2%} at {facts['eer_threshold']:.4f}",
                "FPIR, cross-validated": f"{facts['fpir']:.2%}",
                f"FPIR of FAR {found.far:.3g}": (
                    f"{found.expected_fpir:.2%} for {found.people} people, "
                    "as if comparisons were independent: 1 - (1 - FAR)^N"
                ),
                "Based on": f"{facts['genuine']} genuine, {facts['impostor']} impostor distances",
                **{metric.name: metric for metric in found.metrics},
                "Curves": html,
            }.items()
        )
        if not found.resolved:
            note(
                f"n too small: {found.impostor} impostor comparisons resolve FAR "
                f"{1 / found.impostor:.2g} and more, so the threshold accepts none of them"
            )
        shared.warn_synthetic(store)


@with_deployment
def evaluate(
    deployment: Deployment,
    folder: Annotated[Path, typer.Argument(help="Labelled photographs: FOLDER/NAME/….")],
    html: HtmlReport = Path("evaluation.html"),
    json: Json = False,
) -> None:
    """Match labelled photographs with the gallery: rates, misses and confusions.

    [bold]Example[/bold]

    facectl gallery evaluate people/ --html report.html
    """
    from facectl.gallery import enrollment, reports

    tasks, findings = enrollment.tasks_below(folder)
    if findings:
        first = f"{findings[0].photo or findings[0].name}: {findings[0].message}"
        if not tasks:
            raise InputError(
                f"{folder} has no photographs of people; {first}",
                hint="put photographs into FOLDER/NAME/",
            )
        warn(f"{len(findings)} left out; {first}")
    with shared.opened(deployment) as store:
        with shared.counted("Matching", len(tasks)) as progress:
            found = reports.evaluate(deployment, store, tasks, html, progress)
        facts, metrics = found.facts(), found.metrics()
        if json:
            print_json({**facts, "metrics": reports.metric_facts(metrics), "html": str(html)})
            return
        words = {"unusable": "without a usable face"}
        rows = {words.get(key, key): _shown(value) for key, value in facts.items()}
        by_name = {metric.name: metric for metric in metrics}
        print_fields({**rows, **by_name, "report": html}.items())
        shared.warn_synthetic(store)


def _shown(value: float | None) -> float | str | None:
    return f"{value:.3f}" if isinstance(value, float) else value
