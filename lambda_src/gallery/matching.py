"""Matching by cosine similarity: decides the name of each probe.

`Gallery` compares with every row; `lambda_src/gallery/quantised.py` serves large galleries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lambda_src.contract import UNKNOWN

DIMENSIONS = 512
COSINE, EUCLIDEAN = "cosine", "euclidean"
METRICS = (EUCLIDEAN, COSINE)

Embeddings = NDArray[np.float32]
Indices = NDArray[np.int64]


class GalleryFormatError(ValueError):
    """A file that is not a gallery, or a gallery that this function must not use."""


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest reference of a probe; `distance` is 0 to 2, or None if the gallery is empty."""

    name: str
    distance: float | None


def distances(cosines: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Distances of L2-normalised embeddings from their cosines: 0 (the same) to 2 (opposite)."""
    apart = np.maximum(np.float32(0), np.float32(1) - cosines)
    found: NDArray[np.float32] = apart if metric == COSINE else np.sqrt(np.float32(2) * apart)
    return found


class Matcher(ABC):
    """References that probes are compared with, one row each.

    threshold: the distance beyond which a probe is `Unknown`.
    names: the name of each row; a name may have several rows. A row named `Unknown` is the face of
    somebody who is never named: a probe nearer to it than to any person is `Unknown`.
    """

    # Otherwise subclasses with slots would still have a `__dict__`.
    __slots__ = ()

    space: str
    threshold: float
    metric: str
    synthetic: bool
    names: Sequence[str]

    @abstractmethod
    def best(self, probes: Embeddings, count: int) -> tuple[NDArray[np.float32], Indices]:
        """Cosines and row numbers, each (M, count), of the best rows of probes, best first."""

    def match(self, probes: Embeddings) -> list[Match]:
        """The nearest reference of each probe, shape (M, 512), `Unknown` beyond the threshold."""
        if not self.names or len(probes) == 0:
            return [Match(UNKNOWN, None) for _ in probes]
        cosines, rows = self.best(probes, 1)
        return [
            Match(self.names[row] if distance <= self.threshold else UNKNOWN, float(distance))
            for row, distance in zip(rows[:, 0], distances(cosines[:, 0], self.metric), strict=True)
        ]

    def nearest(self, probe: Embeddings, people: int) -> list[Match]:
        """The nearest people of one probe, shape (512,), regardless of the threshold."""
        count = people
        while True:
            count = min(4 * count, len(self.names))
            if count == 0:
                return []
            cosines, rows = self.best(probe[None], count)
            found: dict[str, float] = {}
            for row, distance in zip(rows[0], distances(cosines[0], self.metric), strict=True):
                found.setdefault(self.names[row], float(distance))
            if len(found) >= people or count == len(self.names):
                return [Match(name, distance) for name, distance in found.items()][:people]


@dataclass(frozen=True, slots=True)
class Gallery(Matcher):
    """A gallery in memory, which is searched exactly.

    embeddings: (N, 512) float32, L2-normalised, all of one embedding space.
    """

    space: str
    threshold: float
    names: tuple[str, ...] = ()
    embeddings: Embeddings = field(
        default_factory=lambda: np.zeros((0, DIMENSIONS), dtype=np.float32)
    )
    synthetic: bool = False
    metric: str = EUCLIDEAN

    def __post_init__(self) -> None:
        shape = (len(self.names), DIMENSIONS)
        if self.embeddings.shape != shape or self.embeddings.dtype != np.float32:
            raise GalleryFormatError(
                f"embeddings must be float32 of shape {shape}, "
                f"not {self.embeddings.dtype} of shape {self.embeddings.shape}"
            )
        if self.metric not in METRICS:
            raise GalleryFormatError(f"metric must be cosine or euclidean, not {self.metric!r}")
        if not 0 <= self.threshold <= 2:
            raise GalleryFormatError(f"threshold must be 0 to 2, not {self.threshold}")
        norms = np.linalg.norm(self.embeddings, axis=1)
        if not np.all(np.abs(norms - 1) < 1e-3):
            raise GalleryFormatError("every embedding must be finite and of length 1")

    def best(self, probes: Embeddings, count: int) -> tuple[NDArray[np.float32], Indices]:
        """Cosines and row numbers, each (M, count), of the best rows of probes, best first."""
        cosines = probes @ self.embeddings.T
        if count == 1:
            rows = np.argmax(cosines, axis=1)[:, None]
        elif count < len(self.names):
            rows = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        else:
            rows = np.broadcast_to(np.arange(len(self.names)), cosines.shape)
        found = np.take_along_axis(cosines, rows, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        return np.take_along_axis(found, order, axis=1), np.take_along_axis(rows, order, axis=1)
