"""Searches large galleries: scans sign bits, then compares the candidates in int8.

The 512 signs of an embedding are eight words of 64 bits. numpy counts the bits that differ
from those of every row: about 10 ms per probe and million rows on one thread. The nearest
thousand are scored again with their int8 vectors, which stay in a memory-mapped file. There
is no training and no index graph, so a version that changes one person changes one part.
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

from lambda_src.gallery.matching import DIMENSIONS, Embeddings, Indices, Matcher
from lambda_src.gallery.parts import Manifest, Part

_CANDIDATES = 1000
_WORDS = DIMENSIONS // 64
# Rows whose words and counts stay in the processor's cache.
_BLOCK = 32_768


class QuantisedGallery(Matcher):
    """A quantised gallery, searched by sign bits."""

    __slots__ = ("_codes", "_parts", "_starts", "metric", "names", "space", "synthetic",
                 "threshold")  # fmt: skip

    def __init__(self, manifest: Manifest, parts: Sequence[Part]) -> None:
        self.space = manifest.space
        self.threshold = manifest.threshold
        self.metric = manifest.metric
        self.synthetic = manifest.synthetic
        self.names = [name for part in parts for name in part.names]
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part.names) for part in parts)])
        # A row per word, so that a scan reads memory in order.
        self._codes = np.empty((_WORDS, len(self.names)), np.uint64)
        for part, start in zip(parts, self._starts, strict=False):
            self._codes[:, start : start + len(part.names)] = signs(part.vectors).T

    def best(self, probes: Embeddings, count: int) -> tuple[NDArray[np.float32], Indices]:
        """Cosines and row numbers, each (M, count), of the best rows of probes, best first."""
        wanted = min(max(_CANDIDATES, 2 * count), len(self.names))
        scored = [
            self._rescore(probe, nearest(self._codes, code, wanted))
            for probe, code in zip(probes, signs(probes), strict=True)
        ]
        return (
            np.stack([cosines[:count] for cosines, _ in scored]),
            np.stack([rows[:count] for _, rows in scored]),
        )

    def _rescore(self, probe: NDArray[np.float32], rows: Indices) -> tuple[Any, Indices]:
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


def signs(vectors: NDArray[Any]) -> NDArray[np.uint64]:
    """(N, 8) uint64: one bit per dimension, set if it is positive."""
    return np.packbits(vectors > 0, axis=1).view(np.uint64)


def nearest(codes: NDArray[np.uint64], probe: NDArray[np.uint64], wanted: int) -> Indices:
    """At least `wanted` rows with the fewest bits that differ from the probe's, in order.

    `codes` is (8, N), `probe` (8,). Every row at the largest distance is returned.
    """
    count = codes.shape[1]
    apart = np.empty(count, np.uint16)
    for start in range(0, count, _BLOCK):
        block = codes[:, start : start + _BLOCK]
        found = np.bitwise_count(block[0] ^ probe[0]).astype(np.uint16)
        for words, word in zip(block[1:], probe[1:], strict=True):
            found += np.bitwise_count(words ^ word)
        apart[start : start + _BLOCK] = found
    # At most 512: counting them is faster than a partial sort.
    farthest = np.searchsorted(np.cumsum(np.bincount(apart)), wanted)
    return np.flatnonzero(apart <= farthest)


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
