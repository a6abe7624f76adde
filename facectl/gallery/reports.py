"""Calibration and evaluation of a gallery, with their HTML reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from facectl.context import Deployment
from facectl.errors import GalleryError
from facectl.gallery import evaluate as evaluation
from facectl.gallery import pages, statistics
from facectl.gallery.enrollment import EnrollmentTask, Progress
from facectl.gallery.evaluate import Evaluation
from facectl.gallery.photographs import PhotographEncoder, PhotographError
from facectl.gallery.statistics import Calibration
from facectl.gallery.store import Store
from facectl.models.store import find


def calibrate(store: Store, far: float, html: Path) -> Calibration:
    """Choose a threshold and write the report; raises GalleryError for fewer than two people."""
    settings = store.settings
    names, embeddings = store.rows()
    if len(set(names)) < 2:
        raise GalleryError(
            f"{len(set(names))} people are enrolled; it takes two people to calibrate",
            hint="facectl gallery enroll NAME IMAGE",
        )
    scores = statistics.leave_one_out(names, embeddings, settings.metric, settings.matching)
    found = statistics.calibrate(scores, far=far)
    pages.write(html, pages.calibration_page(store, found, datetime.now()))  # noqa: DTZ005 - local
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
        "stranger_named": found.validated.stranger_named,
        "fitted": {"far": found.chosen.far, "frr": found.chosen.frr},
        "eer": found.eer,
        "eer_threshold": found.eer_threshold,
        "folds": list(found.folds),
        "genuine": found.genuine,
        "impostor": found.impostor,
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
    model = find(deployment.space)
    store.check_space(model.space)
    encoder = PhotographEncoder(model)
    found = evaluation.evaluate(store, tasks, encoder, progress)

    def picture(photo: Path) -> Image.Image | None:
        try:
            return Image.fromarray(encoder.face(photo))
        except PhotographError:
            return None

    page = pages.evaluation_page(store, found, picture, datetime.now())  # noqa: DTZ005 - local
    pages.write(html, page)
    return found
