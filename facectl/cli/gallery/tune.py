"""`facectl gallery settings | calibrate | evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from facectl.cli.gallery import shared
from facectl.cli.options import Json, announced, with_deployment
from facectl.console import err, out, print_json
from facectl.context import Deployment


@with_deployment
def settings(
    deployment: Deployment,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=2, help="Distance beyond which a face is Unknown.")
    ] = None,
    metric: Annotated[
        Literal["euclidean", "cosine"] | None,
        typer.Option(help="Of L2-normalised embeddings; the threshold is converted."),
    ] = None,
    matching: Annotated[
        Literal["best", "centroid"] | None,
        typer.Option(help="Compare with every photograph, or with each person's mean."),
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
        now = store.settings
        if json:
            print_json({"version": store.version, **shared.facts_of(store, {})})
            return
        out.print(f"threshold {now.threshold:.4g}, {now.metric} distance, {now.matching} matching")


@with_deployment
def calibrate(
    deployment: Deployment,
    far: Annotated[
        float, typer.Option("--far", min=0, max=0.5, help="Highest false accept rate to allow.")
    ] = 0.001,
    html: Annotated[Path, typer.Option(help="HTML report to write.")] = Path("calibration.html"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report, and do not store the threshold.")
    ] = False,
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
        _table(
            {
                "Threshold": f"{facts['threshold']:.4f}" + ("  (not stored)" if dry_run else ""),
                "FAR, cross-validated": f"{facts['far']:.4%}",
                "FRR, cross-validated": f"{facts['frr']:.2%}",
                "EER": f"{facts['eer']:.2%} at {facts['eer_threshold']:.4f}",
                "Strangers named": f"{facts['stranger_named']:.2%}",
                "Based on": f"{facts['genuine']} genuine, {facts['impostor']} impostor distances",
                "Curves": html,
            }
        )
        shared.warn_synthetic(store)


@with_deployment
def evaluate(
    deployment: Deployment,
    folder: Annotated[Path, typer.Argument(help="Labelled photographs: FOLDER/NAME/….")],
    html: Annotated[Path, typer.Option(help="HTML report to write.")] = Path("evaluation.html"),
    json: Json = False,
) -> None:
    """Match labelled photographs with the gallery: rates, misses and confusions.

    [bold]Example[/bold]

    facectl gallery evaluate people/ --html report.html
    """
    from facectl.gallery import enrollment, reports

    tasks, _ = enrollment.tasks_below(folder)
    with shared.opened(deployment) as store:
        with shared.counted("Matching", len(tasks)) as progress:
            found = reports.evaluate(deployment, store, tasks, html, progress)
        facts = found.facts()
        if json:
            print_json({**facts, "html": str(html)})
            return
        words = {"unusable": "without a usable face", "enrolled_themselves": "enrolled themselves"}
        rows = {
            words.get(key, key.replace("_", " ")): _shown(value) for key, value in facts.items()
        }
        _table({**rows, "report": html})
        shared.warn_synthetic(store)


def _table(rows: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    for key, value in rows.items():
        table.add_row(key, str(value))
    out.print(table)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
