"""A gallery small enough to be compared exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lambda_src.gallery.matching import (
    DIMENSIONS,
    EUCLIDEAN,
    METRICS,
    Embeddings,
    GalleryFormatError,
    Indices,
    Matcher,
)


@dataclass(frozen=True, slots=True)
class Gallery(Matcher):
    """Names and their reference embeddings, one row each, all of one embedding space.

    embeddings: (N, 512) float32, L2-normalised. A name may have several rows.
    threshold: the Euclidean distance beyond which a probe is `Unknown`.
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
