"""Matching by cosine similarity, shared by exact and quantised galleries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lambda_src.contract import UNKNOWN

DIMENSIONS = 512
COSINE, EUCLIDEAN = "cosine", "euclidean"
METRICS = (EUCLIDEAN, COSINE)

Embeddings = NDArray[np.float32]
Indices = NDArray[np.int64]


class GalleryFormatError(ValueError):
    """A file that is not a gallery, or a gallery that must not be used here."""


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest reference of a probe; `distance` is 0 to 2 in the gallery's metric, or None."""

    name: str
    distance: float | None


def distances(cosines: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Distances of L2-normalised embeddings from their cosines: 0 (the same) to 2 (opposite)."""
    apart = np.maximum(np.float32(0), np.float32(1) - cosines)
    found: NDArray[np.float32] = apart if metric == COSINE else np.sqrt(np.float32(2) * apart)
    return found


class Matcher(ABC):
    """Rows of names that probes are compared with.

    threshold: the distance beyond which a probe is `Unknown`.
    names: the name of each row; a name may have several rows.
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
