"""Crops to embeddings: InceptionResnetV1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lambda_src.vision.preprocessing import crop_size
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import EMBEDDER, Model

EMBEDDING_SIZE = 512


class Embedder:
    """The embedder of one model; `space` says which embeddings it may be compared with."""

    def __init__(self, model: Model, *, threads: int) -> None:
        self.space = model.space
        self._size = crop_size(model.preprocessing)
        self._network = Network(model.file(EMBEDDER), threads=threads)

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed crops, each (S, S, 3) uint8 RGB, in one run.

        Returns (N, 512) float32 of length 1. Raises ValueError for a crop of
        another shape or dtype.
        """
        if len(crops) == 0:
            return np.empty((0, EMBEDDING_SIZE), np.float32)
        expected = (self._size, self._size, 3)
        for crop in crops:
            if crop.dtype != np.uint8 or crop.shape != expected:
                raise ValueError(
                    f"a crop must be uint8 of shape {expected}, "
                    f"not {crop.dtype} of shape {crop.shape}"
                )
        return self._network(np.stack(crops))
