"""Calibration and evaluation of a gallery, with their HTML reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facectl import paths
from facectl.context import Deployment
from facectl.errors import GalleryError
from facectl.gallery import evaluate as evaluation
from facectl.gallery import statistics
from facectl.gallery.enrollment import EnrollmentTask, Progress
from facectl.gallery.evaluate import Answer, Evaluation
from facectl.gallery.metrics import Metric
from facectl.gallery.photographs import PhotographEncoder, PhotographError
from facectl.gallery.statistics import Calibration, Floats, curve
from facectl.gallery.store import Store
from facectl.models.store import deployed
from facectl.reports.charts import Chart, Figure, Point, linear
from facectl.reports.page import render
from facectl.reports.pictures import thumbnail
from facectl.reports.tables import MISSING, Table

MAX_CONFUSIONS = 20
_MAX_UNUSABLE = 200
# The shares of photographs by answer, at the gallery's threshold.
_RATES = {
    "named_rightly": "named correctly",
    "unknown_rate": "enrolled people answered Unknown",
    "misnamed": "enrolled people given another's name",
    "strangers_named": "strangers given a name",
}

Picture = Callable[[Path], Image.Image | None]
# A vertical line of a chart, with its label.
Mark = tuple[float, str]


def calibrate(store: Store, far: float, html: Path) -> Calibration:
    """Choose a threshold and write the report; raises GalleryError for fewer than two people."""
    settings = store.settings
    names, embeddings = store.rows()
    if len(set(names)) < 2:
        raise GalleryError(
            f"{len(set(names))} people are enrolled; calibration needs at least two",
            hint="facectl gallery enroll NAME IMAGE",
        )
    scores = statistics.leave_one_out(names, embeddings, settings.metric, settings.matching)
    found = statistics.calibrate(scores, far=far)
    paths.write_text(html, calibration_page(store, found, datetime.now()))  # noqa: DTZ005 - local
    return found


def adopt(store: Store, found: Calibration) -> bool:
    """Store the chosen threshold; whether it changed."""
    before = store.version
    with store.change("calibrate") as change:
        change.configure(threshold=found.chosen.threshold)
    return store.version != before


def facts(found: Calibration, html: Path) -> dict[str, Any]:
    """A calibration for JSON; the rates are cross-validated by person."""
    return {
        "threshold": found.chosen.threshold,
        "far": found.validated.far,
        "frr": found.validated.frr,
        "fpir": found.validated.fpir,
        "fitted": {"far": found.chosen.far, "frr": found.chosen.frr, "fpir": found.chosen.fpir},
        "expected_fpir": {
            "far": found.far,
            "people": found.people,
            "fpir": found.expected_fpir,
        },
        "far_resolved": found.resolved,
        "eer": found.eer,
        "eer_threshold": found.eer_threshold,
        "folds": list(found.folds),
        "genuine": found.genuine,
        "impostor": found.impostor,
        "metrics": metric_facts(found.metrics),
        "html": str(html),
    }


def evaluate(
    deployment: Deployment,
    store: Store,
    tasks: Sequence[EnrollmentTask],
    html: Path,
    progress: Progress,
) -> Evaluation:
    """Recognise every photograph and write the report; raises GalleryError, ModelError."""
    model = deployed(deployment)
    store.check_space(model.space)
    encoder = PhotographEncoder(model)
    found = evaluation.evaluate(store, tasks, encoder, progress)

    page = evaluation_page(store, found, crops(encoder.face), datetime.now())  # noqa: DTZ005 - local
    paths.write_text(html, page)
    return found


def crops(face: Callable[[Path], Any]) -> Picture:
    """The face of each photograph once, from an encoder's function `face`."""

    @cache
    def crop(photo: Path) -> Image.Image | None:
        try:
            return Image.fromarray(face(photo))
        except PhotographError:
            return None

    return lambda photo: crop(photo.absolute())


def metric_facts(metrics: Sequence[Metric]) -> dict[str, Any]:
    """The metrics for JSON, by name: `rank_1`, `fnir_at_fpir_0.01`."""
    return {
        metric.name.lower().replace(" ", "_").replace("-", "_"): metric.facts()
        for metric in metrics
    }


def metrics_table(metrics: Sequence[Metric]) -> Table:
    """The metrics with their intervals, and what they were measured on."""
    rows = [
        (
            metric.name,
            MISSING if metric.value is None else f"{metric.value:.3f}",
            metric.interval or MISSING,
            metric.why or metric.basis,
        )
        for metric in metrics
    ]
    columns = ("metric", "value", "95 % interval", "measured on")
    return Table("Metrics of NIST FRTE", columns, rows, words=True)


def calibration_page(store: Store, found: Calibration, now: datetime) -> str:
    """The report of `gallery calibrate`."""
    tiles = [
        ("threshold", f"{found.chosen.threshold:.3f}"),
        ("FAR, cross-validated", f"{found.validated.far:.3%}"),
        ("FRR, cross-validated", f"{found.validated.frr:.2%}"),
        ("EER", f"{found.eer:.2%}"),
        ("FPIR, cross-validated", f"{found.validated.fpir:.2%}"),
        (f"FPIR of FAR {found.far:.3g}", f"{found.expected_fpir:.2%}"),
    ]
    return render(
        "calibration.html",
        **heading(store, now),
        tiles=tiles,
        found=found,
        metrics=metrics_table(found.metrics),
        figures=_calibration_figures(found, store.settings.metric),
    )


def _calibration_figures(found: Calibration, metric: str) -> list[Figure]:
    threshold, distance = found.chosen.threshold, f"distance ({metric})"
    thresholds, far, frr = curve(found.scores)
    own, others = found.scores.own, found.scores.others
    top = max(float(thresholds[-1]), float(np.percentile(others, 99.5)))
    mark = (threshold, f"threshold {threshold:.3f}")
    pairs = [
        _Series("genuine", "the same person", _outline(own, np.linspace(0, top, 61))),
        _Series("impostor", "different people", _outline(others, np.linspace(0, top, 61))),
    ]
    errors = [
        _Series("far", "FAR, false accepts", _points(thresholds, far)),
        _Series("frr", "FRR, false rejects", _points(thresholds, frr)),
    ]
    eer = (found.eer_threshold, f"EER {found.eer:.2%}")
    return [
        _figure("Distances of pairs", pairs, (distance, "share of pairs"), [mark]),
        _figure("Errors by threshold", errors, (distance, "rate"), [mark, eer]),
        _roc(far, 1 - frr),
    ]


def evaluation_page(store: Store, found: Evaluation, picture: Picture, now: datetime) -> str:
    """The report of `gallery evaluate`; `picture` gives the face of a photograph."""
    facts = found.facts()
    unusable = [(str(file), reason) for file, reason in found.unusable.items()]
    return render(
        "evaluation.html",
        **heading(store, now),
        tiles=[
            (name, MISSING if facts[key] is None else f"{facts[key]:.1%}")
            for key, name in _RATES.items()
        ],
        facts=facts,
        metrics=metrics_table(found.metrics()),
        figures=list(_evaluation_figures(found, store.settings.metric)),
        confusions=[
            _confusion(store, answer, picture) for answer in found.confusions(MAX_CONFUSIONS)
        ],
        unusable=Table(
            "Photographs without an answer",
            ("photograph", "reason"),
            unusable[:_MAX_UNUSABLE],
            words=True,
        ),
    )


def _evaluation_figures(found: Evaluation, metric: str) -> Iterator[Figure]:
    false, true = found.roc()
    if len(false):
        yield _roc(false, true)
    own = [answer.own for answer in found.known if answer.own is not None]
    others = [answer.other[1] for answer in found.answers if answer.other is not None]
    if not own and not others:
        return
    bins = np.linspace(0, max([*own, *others, found.threshold]) * 1.05, 41)
    series = [
        _Series(style, name, _outline(values, bins))
        for style, name, values in (
            ("genuine", "to the right person", own),
            ("impostor", "to the nearest other", others),
        )
        if values
    ]
    mark = (found.threshold, f"threshold {found.threshold:.3f}")
    yield _figure("Distances", series, (f"distance ({metric})", "share of photographs"), [mark])


@dataclass(frozen=True, slots=True)
class _Series:
    """A line of a chart; `style` is a CSS class of the page."""

    style: str
    name: str
    points: Sequence[Point]


def _roc(false: Floats, true: Floats) -> Figure:
    series = [_Series("roc", "this gallery", _points(false, true))]
    return _figure("ROC", series, ("false accept rate", "true accept rate"))


def _figure(
    title: str, series: Sequence[_Series], labels: tuple[str, str], marks: Sequence[Mark] = ()
) -> Figure:
    """A chart of lines with a legend; both axes start at 0. `marks`: vertical lines."""
    x_label, y_label = labels
    points = [point for each in series for point in each.points]
    xs = [x for x, _ in points] + [x for x, _ in marks]
    names = ", ".join(each.name for each in series)
    chart = Chart(
        f"{y_label} by {x_label}: {names}",
        linear(0, max(xs), x_label),
        linear(0, max(y for _, y in points), y_label),
    )
    for each in series:
        chart.line(each.points, each.style)
    for row, (x, label) in enumerate(marks):
        chart.vertical(x, label, row)
    return Figure(title, chart.svg(), keys=[(each.style, "■", each.name) for each in series])


def _points(x: Floats, y: Floats) -> list[Point]:
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def _outline(values: Sequence[float] | Floats, bins: Floats) -> list[Point]:
    """The outline of a histogram: the share of values in each bin."""
    counts, _ = np.histogram(values, bins)
    shares = np.repeat(counts / max(1, len(values)), 2)
    return _points(np.repeat(bins, 2), np.concatenate([[0.0], shares, [0.0]]))


def heading(store: Store, now: datetime) -> dict[str, Any]:
    """What the head of a page says about the gallery."""
    return {
        "version": store.version,
        "people": store.people(),
        "settings": store.settings,
        "now": f"{now:%Y-%m-%d %H:%M}",
        "synthetic": store.synthetic,
    }


def _confusion(store: Store, answer: Answer, picture: Picture) -> dict[str, Any]:
    """An answer with both pictures: the photograph, and the enrolled one nearest to it."""
    name, distance = answer.other or ("", 0.0)
    references = [reference for reference in store.references(name) if reference.source]
    nearest = max(
        references, key=lambda each: float(each.embedding @ answer.embedding), default=None
    )
    source = None if nearest is None else Path(str(nearest.source))
    return {
        "pictures": [
            (answer.task.name, answer.task.photo, thumbnail(picture(answer.task.photo))),
            (name, source or "", thumbnail(None if source is None else picture(source))),
        ],
        "name": name,
        "distance": distance,
        "own": answer.own,
        "answer": answer.answer,
    }
