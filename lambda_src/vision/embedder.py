"""InceptionResnetV1: embeds crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lambda_src.gallery.matching import DIMENSIONS
from lambda_src.vision.crops import check_crop
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import EMBEDDER, Model, crop_size


class Embedder:
    """The embedder of one model; its embeddings are comparable only within `space`."""

    def __init__(self, model: Model, *, threads: int) -> None:
        self.space = model.space
        self._size = crop_size(model.preprocessing)
        self._network = Network(model.file(EMBEDDER), threads=threads)

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """The embeddings of crops (S, S, 3) uint8 RGB in one batch: (N, 512) float32 of length 1.

        Raises ValueError for a crop of another shape or dtype.
        """
        if len(crops) == 0:
            return np.empty((0, DIMENSIONS), np.float32)
        for crop in crops:
            check_crop(crop, self._size)
        return self._network(np.stack(crops))
