"""Each person's mean embedding, for matching by centroid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lambda_src.gallery.matching import DIMENSIONS, Embeddings


def centroids(names: Sequence[str], embeddings: Embeddings) -> tuple[list[str], Embeddings]:
    """One row per person: the mean of the embeddings, of length 1; names must come in order."""
    people, first, counts = np.unique(np.asarray(names), return_index=True, return_counts=True)
    if len(people) == 0:
        return [], np.zeros((0, DIMENSIONS), np.float32)
    order = np.argsort(first)
    sums = np.add.reduceat(embeddings.astype(np.float64), first[order], axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # Opposite embeddings cancel out: then the first one stands for the person.
    flat = (lengths[:, 0] < 1e-6) | (counts[order] == 1)
    sums[flat] = embeddings[first[order][flat]]
    lengths[flat] = np.linalg.norm(sums[flat], axis=1, keepdims=True)
    return [str(name) for name in people[order]], (sums / lengths).astype(np.float32)
