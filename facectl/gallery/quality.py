"""Quality checks of a photograph and its name; each problem is a QualityFinding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.gallery.photographs import EncodedPhotograph
from lambda_src.gallery.matching import DIMENSIONS, Embeddings, distances

# MTCNN upsamples smaller windows, and their embeddings are less distinct.
MIN_FACE_PX = 40.0
MIN_PROBABILITY = 0.95
# Sharp portraits measure hundreds; the same blurred over 3 pixels, less than 20.
MIN_SHARPNESS = 20.0
# Share of the threshold: below it, a small change of light can swap two names.
_TOO_NEAR = 0.7


# Each kind in a few words, and its figure.
_WORDS = {
    "small_face": ("small face", "{:.0f} px"),
    "blurred": ("blurred", "sharpness {:.1f}"),
    "low_probability": ("may not be a face", "probability {:.3f}"),
    "several_faces": ("several faces", "{:.0f}"),
    "no_face": ("no face", ""),
    "same_face": ("nearly the face of {}", "distance {:.2f}"),
    "other_face": ("another face", "distance {:.2f}"),
    "same_photograph": ("enrolled as {}", ""),
    "bad_name": ("not a possible name", ""),
    "no_name": ("not in a folder of a person", ""),
    "no_photographs": ("no photographs", ""),
}


@dataclass(frozen=True, slots=True)
class QualityFinding:
    """One problem; `refused` means that it kept the photograph from being enrolled.

    `other`: the other person whose face or photograph it is.
    """

    kind: str
    name: str
    photo: Path | None
    message: str
    figure: float | None = None
    limit: float | None = None
    refused: bool = False
    other: str | None = None

    @property
    def words(self) -> str:
        """The problem in a few words."""
        words, _ = _WORDS.get(self.kind, (self.message, ""))
        # A name may have braces: it is an argument, never part of the format.
        return words.format(self.other)

    @property
    def measured(self) -> str:
        """The figure with its unit; empty without one."""
        _, figure = _WORDS.get(self.kind, ("", ""))
        return figure.format(self.figure) if figure and self.figure is not None else ""

    def facts(self) -> dict[str, Any]:
        """The finding for JSON."""
        return {**asdict(self), "photo": None if self.photo is None else str(self.photo)}


def of_photograph(name: str, sample: EncodedPhotograph) -> list[QualityFinding]:
    """The problems of the face itself."""
    measured = (
        ("small_face", "the face is only {:.0f} pixels wide", sample.face_px, MIN_FACE_PX),
        ("blurred", "the face is blurred (sharpness {:.0f})", sample.sharpness, MIN_SHARPNESS),
        ("low_probability", "it may not be a face (probability {:.2f})", sample.probability,
         MIN_PROBABILITY),
    )  # fmt: skip
    found = [
        QualityFinding(kind, name, sample.photo, message.format(figure), round(figure, 3), limit)
        for kind, message, figure, limit in measured
        if figure < limit
    ]
    if sample.faces > 1:
        message = f"the largest of {sample.faces} faces was taken"
        found.append(QualityFinding("several_faces", name, sample.photo, message, sample.faces, 1))
    return found


class Neighbours:
    """The references of the gallery, to compare a new one with."""

    def __init__(
        self, names: Iterable[str], embeddings: Embeddings, threshold: float, metric: str
    ) -> None:
        self._names = list(names)
        self._embeddings = embeddings
        self._count = len(self._names)
        self._threshold = threshold
        self._metric = metric

    def add(self, name: str, embedding: NDArray[np.float32]) -> None:
        """Add a reference."""
        if self._count == len(self._embeddings):
            grown = np.zeros((max(256, 2 * self._count), DIMENSIONS), np.float32)
            grown[: self._count] = self._embeddings
            self._embeddings = grown
        self._embeddings[self._count] = embedding
        self._names.append(name)
        self._count += 1

    def check(self, name: str, sample: EncodedPhotograph) -> list[QualityFinding]:
        """Findings if another name has nearly this face, or this name has another face."""
        if self._count == 0:
            return []
        cosines = self._embeddings[: self._count] @ sample.embedding
        far = distances(cosines, self._metric)
        own = np.fromiter((other == name for other in self._names), bool, self._count)
        found = []
        if not own.all():
            nearest = int(np.argmin(np.where(own, np.inf, far)))
            distance, limit = far[nearest], self._threshold * _TOO_NEAR
            if distance < limit:
                other = self._names[nearest]
                message = f"nearly the same face as {other}"
                finding = _finding("same_face", name, sample, message, distance, limit)
                found.append(replace(finding, other=other))
        if own.any():
            distance = np.min(far[own])
            if distance > self._threshold:
                message = f"another face than the other photographs of {name}"
                found.append(
                    _finding("other_face", name, sample, message, distance, self._threshold)
                )
        return found


def _finding(
    kind: str,
    name: str,
    sample: EncodedPhotograph,
    message: str,
    distance: np.float32,
    limit: float,
) -> QualityFinding:
    text = f"{message} (distance {distance:.2f})"
    return QualityFinding(
        kind, name, sample.photo, text, round(float(distance), 4), round(limit, 4)
    )
