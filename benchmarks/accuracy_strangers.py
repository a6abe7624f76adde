"""Generated strangers, and searches of galleries that contain up to a million of them.

A generated stranger is a random embedding, not a face: a sample of a normal distribution in the
512 dimensions, scaled to length 1. Most of its covariance is that of the real faces; the weight of
each person in it is such that this person's cosines with generated strangers vary as much as with
real ones. The rest varies in a random subspace, of as many dimensions as make the cosines of two
generated strangers vary as much, too. There are no twins, no relatives, and no blurred or
half-hidden faces among them: the tail of real strangers is longer, so the figures are optimistic.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facectl.gallery.metrics import RANKS
from lambda_src.gallery.matching import DIMENSIONS

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]
# As many as the largest rank needs.
NEAREST = max(RANKS)
_BLOCK = 25_000
_GALLERY_SEED, _SUBSPACE_SEED = 1, 3


@dataclass(frozen=True, slots=True)
class Strangers:
    """The distribution: mean (512,), root of the covariance (512, 512).

    rest: the share of the covariance that is in the random subspace, of `dimensions` dimensions.
    fitted: the digest of the faces that it resembles.
    """

    mean: Floats
    root: Floats
    rest: float
    dimensions: int
    fitted: str

    @classmethod
    def like(cls, embeddings: Floats, people: NDArray[np.str_]) -> Strangers:
        """The distribution that resembles these faces of at least two people."""
        faces = embeddings.astype(np.float64)
        own = [faces[people == name] for name in np.unique(people)]
        means, variances = _with_others(own)
        mean = np.mean([each.mean(axis=0) for each in own], axis=0)
        mean *= means.mean() / np.mean([(each @ mean).mean() for each in own])
        spread = [(each - mean).T @ (each - mean) / len(each) for each in own]
        # Of a face x and a stranger: the variance of their cosine is x' C x. The columns are
        # C's parts: the people's, and the even one.
        seen = np.array(
            [
                [*(np.mean(np.sum(each @ part * each, axis=1)) for part in spread), 1 / DIMENSIONS]
                for each in own
            ]
        )
        # The last row is the length: the trace of C and the mean make it 1.
        traces = np.array([*(np.trace(part) for part in spread), 1.0])
        weights = _non_negative(
            np.vstack([seen, traces]), np.append(variances, 1 - float(mean @ mean))
        )
        covariance = np.tensordot(weights[:-1], np.array(spread), axes=1)
        rest = float(weights[-1])
        left = variances.mean() - float(np.sum(covariance**2))
        left -= 2 * rest * np.trace(covariance) / DIMENSIONS
        dimensions = int(np.clip(rest**2 / max(left, 1e-9), 1, DIMENSIONS))
        random = np.random.default_rng(_SUBSPACE_SEED)
        basis = np.linalg.qr(random.standard_normal((DIMENSIONS, dimensions)))[0]
        values, vectors = np.linalg.eigh(covariance + rest / dimensions * basis @ basis.T)
        root = (vectors * np.sqrt(np.maximum(values, 0))).T
        fitted = hashlib.sha256(embeddings.tobytes() + people.tobytes()).hexdigest()
        return cls(mean.astype(np.float32), root.astype(np.float32), rest, dimensions, fitted)

    def blocks(self, count: int, seed: int) -> Iterator[Floats]:
        """`count` embeddings in blocks, so that the memory does not grow with their number."""
        random = np.random.default_rng(seed)
        for start in range(0, count, _BLOCK):
            size = min(_BLOCK, count - start)
            rows = random.standard_normal((size, DIMENSIONS), np.float32) @ self.root + self.mean
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            yield rows

    def sample(self, count: int, seed: int) -> Floats:
        """`count` embeddings, (count, 512)."""
        empty = np.empty((0, DIMENSIONS), np.float32)
        return np.concatenate([empty, *self.blocks(count, seed)])


def _with_others(people: Sequence[Wide]) -> tuple[Wide, Wide]:
    """The mean and the variance of each person's cosines with the others, who count alike."""
    means, variances = [], []
    for number, one in enumerate(people):
        blocks = [one @ two.T for other, two in enumerate(people) if other != number]
        means.append(np.mean([block.mean() for block in blocks]))
        variances.append(np.mean([((block - means[-1]) ** 2).mean() for block in blocks]))
    return np.array(means), np.array(variances)


def _non_negative(matrix: Wide, wanted: Wide) -> Wide:
    """Weights of at least 0 with `matrix` @ weights near `wanted`, all of which are positive.

    By the multiplicative updates of Lee and Seung (2001); every row counts by its ratio.
    """
    scaled = np.maximum(matrix, 0) / wanted[:, None]
    weights = np.full(matrix.shape[1], 1 / matrix.shape[1])
    for _ in range(20_000):
        weights *= scaled.sum(axis=0) / (scaled.T @ (scaled @ weights))
    return weights


def kept_searches(
    probes: Sequence[Floats],
    strangers: Strangers,
    sizes: Sequence[int],
    cache: Path,
    tell: Callable[[str], None],
) -> list[Floats]:
    """For each array of probes, (sizes, P, 5) of `nearest_strangers`; each is kept in a file.

    The last array is a sample of the strangers, whose last bits differ from run to run.
    """
    base = [strangers.fitted, sorted(sizes), _GALLERY_SEED, _BLOCK]
    names = [hashlib.sha256(each.tobytes()).hexdigest() for each in probes[:-1]]
    keys = [json.dumps([*base, name]).encode() for name in (*names, len(probes[-1]))]
    files = [cache / f"search-{hashlib.sha256(key).hexdigest()[:16]}.npy" for key in keys]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        tell("Searching among generated strangers")
        together = np.concatenate([probes[number] for number in missing])
        found = nearest_strangers(together, strangers, sizes, seed=_GALLERY_SEED, tell=tell)
        every = np.stack([found[size] for size in sorted(sizes)])
        ends = np.cumsum([len(probes[number]) for number in missing])[:-1]
        cache.mkdir(parents=True, exist_ok=True)
        for number, part in zip(missing, np.split(every, ends, axis=1), strict=True):
            partial = files[number].with_suffix(".part.npy")
            np.save(partial, part)
            partial.replace(files[number])
    return [np.load(file) for file in files]


def nearest_strangers(
    probes: Floats,
    strangers: Strangers,
    sizes: Sequence[int],
    *,
    seed: int,
    tell: Callable[[str], None],
) -> dict[int, Floats]:
    """For each size, the cosines of each probe to its five nearest of the first `size` strangers.

    (P, 5), highest first, -1 where there are fewer. A smaller gallery is the beginning of
    the larger ones.
    """
    best = np.full((len(probes), NEAREST), -1, np.float32)
    found: dict[int, Floats] = {}
    wanted = sorted(set(sizes))
    done = 0
    for rows in strangers.blocks(wanted[-1], seed):
        start = 0
        # A block is cut where a size ends.
        for end in [size - done for size in wanted if done <= size < done + len(rows)]:
            best = _better(best, probes @ rows[start:end].T)
            found[done + end] = best
            start = end
        best = _better(best, probes @ rows[start:].T)
        done += len(rows)
        if done % 100_000 == 0:
            tell(f"  {done:,} generated strangers")
    return {size: found.get(size, best) for size in wanted}


def _better(best: Floats, cosines: Floats) -> Floats:
    if cosines.shape[1] == 0:
        return best
    limit = best[:, -1:]
    # Few of the probes have a nearer stranger in a later block.
    rows = np.flatnonzero(cosines.max(axis=1) > limit[:, 0])
    every = np.concatenate([best[rows], cosines[rows]], axis=1)
    top = np.partition(every, every.shape[1] - NEAREST, axis=1)[:, -NEAREST:]
    best = best.copy()
    best[rows] = np.sort(top, axis=1)[:, ::-1]
    return best
