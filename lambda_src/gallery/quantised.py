"""Searches large galleries: scans sign bits, then compares the candidates in int8.

The 512 signs of an embedding are 64 bytes. Faiss computes the Hamming distance to all
rows, which takes one thread 7 ms for a million people. The nearest thousand are scored
again with their int8 vectors, which stay in a memory-mapped file. There is no training
and no index graph, so a version that changes one person changes one part.
benchmarks/README.md compares the alternatives.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_src.gallery.matching import (
    DIMENSIONS,
    Embeddings,
    GalleryFormatError,
    Indices,
    Matcher,
)
from lambda_src.gallery.parts import Manifest, Part

_CANDIDATES = 1000


class QuantisedGallery(Matcher):
    """A quantised gallery, searched by sign bits; raises GalleryFormatError without faiss."""

    __slots__ = ("_codes", "_faiss", "_parts", "_starts", "metric", "names", "space", "synthetic",
                 "threshold")  # fmt: skip

    def __init__(self, manifest: Manifest, parts: Sequence[Part]) -> None:
        self._faiss = _faiss()
        self.space = manifest.space
        self.threshold = manifest.threshold
        self.metric = manifest.metric
        self.synthetic = manifest.synthetic
        self.names = [name for part in parts for name in part.names]
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part.names) for part in parts)])
        self._codes = np.empty((len(self.names), DIMENSIONS // 8), np.uint8)
        for part, start in zip(parts, self._starts, strict=False):
            self._codes[start : start + len(part.names)] = signs(part.vectors)

    def best(self, probes: Embeddings, count: int) -> tuple[NDArray[np.float32], Indices]:
        """Cosines and row numbers, each (M, count), of the best rows of probes, best first."""
        wanted = min(max(_CANDIDATES, 2 * count), len(self.names))
        _, candidates = self._faiss.knn_hamming(signs(probes), self._codes, wanted, variant="mc")
        scored = [
            self._rescore(probe, rows) for probe, rows in zip(probes, candidates, strict=True)
        ]
        return (
            np.stack([cosines[:count] for cosines, _ in scored]),
            np.stack([rows[:count] for _, rows in scored]),
        )

    def _rescore(self, probe: NDArray[np.float32], rows: Indices) -> tuple[Any, Indices]:
        rows = np.sort(rows)
        cosines = np.empty(len(rows), np.float32)
        edges = np.searchsorted(rows, self._starts)
        for part, start, low, high in zip(
            self._parts, self._starts, edges[:-1], edges[1:], strict=False
        ):
            if low < high and part.factors is not None:
                own = rows[low:high] - start
                cosines[low:high] = part.vectors[own].astype(np.float32) @ probe
                cosines[low:high] *= part.factors[own]
        order = np.argsort(-cosines, kind="stable")
        return cosines[order], rows[order]


def signs(vectors: NDArray[Any]) -> NDArray[np.uint8]:
    """(N, 64) uint8: one bit per dimension, set if it is positive."""
    return np.packbits(vectors > 0, axis=1)


def mapped(size: int) -> memoryview:
    """Writable memory backed by an unnamed file, which is deleted with the process.

    Anonymous memory if the temporary folder is full.
    """
    try:
        with tempfile.TemporaryFile() as file:
            # Otherwise the first write to a full disk would be a fatal signal.
            _reserve(file.fileno(), size)
            return memoryview(mmap.mmap(file.fileno(), size))
    except OSError:
        return memoryview(mmap.mmap(-1, size))


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def _faiss() -> Any:
    try:
        # The import takes 0.1 s, and small galleries do not need it.
        import faiss  # noqa: PLC0415
    except ImportError as error:
        raise GalleryFormatError(
            f"a gallery of this size needs faiss, which is not installed here: {error}"
        ) from error
    faiss.omp_set_num_threads(1)
    return faiss
