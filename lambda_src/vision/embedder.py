"""InceptionResnetV1: embeds crops."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lambda_src.gallery.matching import DIMENSIONS
from lambda_src.vision.crops import check_crop
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import EMBEDDER, Model, crop_size

# The smallest cosine between the reference crop's embedding here and where the model was
# built. Measured: 0.9999 and more on x86-64 with AVX2 alone, with VNNI, and on arm64; less
# than 0.9 where int8 sums overflow (docs/PERFORMANCE.md).
MIN_REFERENCE_COSINE = 0.99


class EmbedderMismatchError(RuntimeError):
    """The embedder computes other embeddings on this CPU than where it was built."""


class Embedder:
    """The embedder of one model; its embeddings are comparable only within `space`."""

    def __init__(self, model: Model, *, threads: int) -> None:
        self.space = model.space
        self._model = model
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

    def verify(self) -> None:
        """Embed the reference crop and compare the result with the manifest's embedding.

        Raises EmbedderMismatchError if they differ: names would be wrong. Models of
        earlier versions have no reference embedding and are not verified.
        """
        if self._model.reference is None:
            return
        expected = _decoded(self._model.reference)
        found = self.embed([reference_crop(self._model.preprocessing)])[0]
        cosine = float(found @ expected) / max(float(np.linalg.norm(expected)), 1e-12)
        # Written this way round, a NaN is a mismatch too.
        if not cosine >= MIN_REFERENCE_COSINE:
            raise EmbedderMismatchError(
                f"the {self._model.precision} embedder gives other embeddings on this CPU than "
                f"when it was built: cosine {cosine:.4f} for the reference crop, at least "
                f"{MIN_REFERENCE_COSINE} is needed"
            )


def reference_crop(preprocessing: str) -> NDArray[np.uint8]:
    """A crop (S, S, 3) of coloured blobs and edges, the same everywhere: integer arithmetic."""
    size = crop_size(preprocessing)
    y, x = np.indices((size, size)) * 160 // size
    red = (x - 80) ** 2 // 29 + (y - 70) ** 2 // 53
    green = x * y // 97 + (y // 20 % 2) * 60
    blue = (x + 2 * y) % 160 + (x // 40 % 2) * 90
    return (np.stack([red, green, blue], axis=2) & 255).astype(np.uint8)


def encoded_reference(network: Network, preprocessing: str) -> str:
    """The reference crop's embedding by this network, as the manifest has it."""
    embedding = network(reference_crop(preprocessing)[None])[0]
    return base64.b64encode(embedding.astype("<f2").tobytes()).decode()


def _decoded(reference: str) -> NDArray[np.float32]:
    try:
        embedding = np.frombuffer(base64.b64decode(reference, validate=True), "<f2")
    except (binascii.Error, TypeError, ValueError) as error:
        raise EmbedderMismatchError(f"the manifest's reference is damaged: {error}") from error
    if embedding.shape != (DIMENSIONS,):
        raise EmbedderMismatchError(
            f"the manifest's reference has {embedding.size} numbers, not {DIMENSIONS}"
        )
    return embedding.astype(np.float32)
