"""InceptionResnetV1: embeds crops."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lambda_src.gallery.matching import DIMENSIONS
from lambda_src.vision.crops import check_crop
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import EMBEDDER, Model, Reference, crop_size

# The smallest cosine between the reference face's embedding here and where the model was
# built. Measured: 0.9998 and more on x86-64 with AVX2 alone, with VNNI, and on arm64; 0.71
# where int8 sums overflow. It must be a face: patterns do not make them overflow (0.999).
MIN_REFERENCE_COSINE = 0.99
REFERENCE_SIDE = 40


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
        """Embed the reference face and compare the result with the manifest's embedding.

        Raises EmbedderMismatchError if they differ: names would be wrong. Models of
        earlier versions have no reference and are not verified.
        """
        reference = self._model.reference
        if reference is None:
            return
        expected = _decoded(reference.embedding, "<f2", (DIMENSIONS,)).astype(np.float32)
        face = _decoded(reference.face, "u1", (REFERENCE_SIDE, REFERENCE_SIDE, 3))
        found = self.embed([_enlarged(face, self._size)])[0]
        cosine = float(found @ expected) / max(float(np.linalg.norm(expected)), 1e-12)
        # Written this way round, a NaN is a mismatch too.
        if not cosine >= MIN_REFERENCE_COSINE:
            raise EmbedderMismatchError(
                f"the {self._model.precision} embedder gives other embeddings on this CPU than "
                f"when it was built: cosine {cosine:.4f} for the reference face, at least "
                f"{MIN_REFERENCE_COSINE} is needed"
            )


def reference(network: Network, preprocessing: str, face: NDArray[np.uint8]) -> Reference:
    """A face (40, 40, 3) uint8 and its embedding by this network, for a manifest."""
    embedding = network(_enlarged(face, crop_size(preprocessing))[None])[0]
    return Reference(_encoded(face), _encoded(embedding.astype("<f2")))


def _enlarged(face: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    # Pillow computes this with integers: the same pixels on every CPU.
    return np.asarray(Image.fromarray(face).resize((size, size), Image.Resampling.BILINEAR))


def _encoded(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _decoded(text: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype).reshape(shape)
    except ValueError as error:
        raise EmbedderMismatchError(f"the manifest's reference is damaged: {error}") from error
