"""Incremental density clustering of embeddings: the groups of DBSCAN, one face after the other.

A face with at least `CORE` faces within the distance, itself included, is a core. Core faces within
the distance of each other are one group, and other faces belong to the group of the nearest core
within the distance. Source: Ester et al., "Incremental Clustering for Mining in a Data Warehousing
Environment", 1998 (insertion).

Two differences from DBSCAN. One new face merges two groups only if it has `CORE` core neighbours in
both: among many people, single pairs of strangers are within any useful distance, and one of them
would join two people. And removing faces divides no group, so that a group keeps its id.

The search is exact: one matrix product of new faces with all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facectl.gallery.changes import EmbeddingSpace
from lambda_src.gallery.matching import DIMENSIONS, EUCLIDEAN, Embeddings

CORE = 3
# The share of the space's threshold within which two faces are neighbours. On the samples
# (make bench-visits), 0.65 to 0.85 keep people apart; at 0.9 and more two of them become one group.
_SHARE = 0.75
# New faces that are compared at once.
_BLOCK = 256
NO_GROUP = 0

Rows = NDArray[np.intp]


@dataclass(slots=True)
class Grouped:
    """What adding faces changed: the group by face id, and the groups that became part of another.

    counts: the numbers of neighbours that changed, by face id, at most `CORE`.
    """

    groups: dict[int, int] = field(default_factory=dict)
    merged: dict[int, int] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)


def neighbour_distance(space: EmbeddingSpace) -> float:
    """The Euclidean distance within which two faces of a space are neighbours."""
    return _SHARE * space.default_threshold.of(EUCLIDEAN)


class Grouping:
    """The faces of a store in memory: ids, embeddings, groups, and numbers of neighbours.

    distance: Euclidean. new_group: returns the number of a group that does not exist yet.
    can_merge: whether two groups may become one. seen: the last change of the store that it has.
    """

    def __init__(
        self,
        distance: float,
        new_group: Callable[[], int],
        can_merge: Callable[[int, int], bool] = lambda _one, _other: True,
    ) -> None:
        # Of L2-normalised embeddings: d² = 2 (1 - cosine).
        self.seen = 0
        self._least_cosine = np.float32(1 - distance**2 / 2)
        self._new_group = new_group
        self._can_merge = can_merge
        self._rows: dict[int, int] = {}
        self._ids = np.zeros(0, np.int64)
        self._embeddings: Embeddings = np.zeros((0, DIMENSIONS), np.float32)
        self._groups = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def load(
        self,
        ids: Sequence[int],
        embeddings: Embeddings,
        groups: Sequence[int],
        counts: Sequence[int],
    ) -> None:
        """Take over faces that are grouped already; known ids get their new group and count."""
        for face, embedding, group, count in zip(ids, embeddings, groups, counts, strict=True):
            row = self._rows.get(face)
            if row is None:
                row = self._append(face, embedding)
            self._embeddings[row] = embedding
            self._groups[row], self._counts[row] = group, count

    def discard(self, ids: Iterable[int]) -> None:
        """Remove faces that are a known person's; unknown ids are none of the grouping's."""
        for row in (self._rows[face] for face in ids if face in self._rows):
            # No embedding is near this one.
            self._embeddings[row] = 0
            self._groups[row], self._counts[row] = NO_GROUP, 0

    def clear(self) -> None:
        """Remove every face."""
        self._rows.clear()

    def add(self, ids: Sequence[int], embeddings: Embeddings) -> Grouped:
        """Group new faces, (N, 512) float32 of length 1; returns what changed."""
        changed = Grouped()
        for start in range(0, len(ids), _BLOCK):
            block = embeddings[start : start + _BLOCK]
            known = len(self)
            old = block @ self._embeddings[:known].T
            own = block @ block.T
            for place, face in enumerate(ids[start : start + _BLOCK]):
                cosines = np.concatenate([old[place], own[place, :place]])
                near = np.flatnonzero(cosines >= self._least_cosine)
                row = self._append(face, block[place])
                self._insert(row, near, cosines[near], changed)
        return changed

    def _insert(self, row: int, near: Rows, cosines: NDArray[np.float32], changed: Grouped) -> None:
        """Group one new face; `near` are the rows of its neighbours, without itself."""
        few = near[self._counts[near] < CORE]
        self._counts[few] += 1
        self._counts[row] = min(CORE, 1 + len(near))
        for each in (*few, row):
            changed.counts[int(self._ids[each])] = int(self._counts[each])
        if self._counts[row] >= CORE:
            self._connect(row, near, changed)
        for each in few[self._counts[few] >= CORE]:
            self._connect(int(each), self._neighbours(int(each)), changed)
        cores = near[(self._counts[near] >= CORE) & (self._groups[near] != NO_GROUP)]
        if self._groups[row] == NO_GROUP and len(cores):
            closest = cores[np.argmax(cosines[np.isin(near, cores)])]
            self._assign([row], int(self._groups[closest]), changed)

    def _connect(self, core: int, near: Rows, changed: Grouped) -> None:
        """Connect a face that became a core with the groups of its core neighbours."""
        cores = near[(self._counts[near] >= CORE) & (self._groups[near] != NO_GROUP)]
        found = Counter(self._groups[cores].tolist())
        own = int(self._groups[core])
        if own != NO_GROUP:
            found[own] += CORE
        group = max(found, key=lambda each: (found[each], -each)) if found else self._new_group()
        self._assign([core], group, changed)
        self._assign(near[self._groups[near] == NO_GROUP], group, changed)
        for other, links in found.items():
            if other != group and min(links, found[group]) >= CORE:
                one, two = sorted((group, other))
                if self._can_merge(one, two):
                    self._merge(two, one, changed)
                    group = one

    def _merge(self, source: int, target: int, changed: Grouped) -> None:
        rows = np.flatnonzero(self._groups[: len(self)] == source)
        self._assign(rows, target, changed)
        changed.merged[source] = target

    def _assign(self, rows: Rows | Sequence[int], group: int, changed: Grouped) -> None:
        for row in rows:
            self._groups[row] = group
            changed.groups[int(self._ids[row])] = group

    def _neighbours(self, row: int) -> Rows:
        known = len(self)
        cosines = self._embeddings[:known] @ self._embeddings[row]
        near: Rows = np.flatnonzero(cosines >= self._least_cosine)
        found: Rows = near[near != row]
        return found

    def _append(self, face: int, embedding: NDArray[np.float32]) -> int:
        row = len(self._rows)
        if row == len(self._ids):
            size = max(256, row + row // 2)
            self._ids = np.resize(self._ids, size)
            self._groups = np.resize(self._groups, size)
            self._counts = np.resize(self._counts, size)
            grown = np.empty((size, DIMENSIONS), np.float32)
            grown[:row] = self._embeddings[:row]
            self._embeddings = grown
        self._rows[face] = row
        self._ids[row] = face
        self._embeddings[row] = embedding
        self._groups[row], self._counts[row] = NO_GROUP, 0
        return row


def halves(embeddings: Embeddings, *, rounds: int = 20) -> NDArray[np.bool_]:
    """Which of at least two embeddings are in the second half: 2-means by cosine, shape (N,).

    Starts with the two embeddings that are the least alike of those far from the first.
    """
    first = int(np.argmin(embeddings @ embeddings.mean(axis=0)))
    second = int(np.argmin(embeddings @ embeddings[first]))
    centers = embeddings[[first, second]]
    side = np.zeros(len(embeddings), bool)
    for _ in range(rounds):
        cosines = embeddings @ centers.T
        new = cosines[:, 1] > cosines[:, 0]
        if new.all() or not new.any():
            break
        if (new == side).all():
            break
        side = new
        centers = np.stack([embeddings[~side].mean(axis=0), embeddings[side].mean(axis=0)])
        centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    if side.all() or not side.any():
        # Equal embeddings: any division is as good.
        side = np.arange(len(embeddings)) >= len(embeddings) // 2
    return side


def representatives(embeddings: Embeddings, quality: Sequence[float], count: int) -> list[int]:
    """The rows of up to `count` faces of good quality that differ from each other.

    The best one first; then, of the better half, the one that is the least like those chosen.
    """
    order = sorted(range(len(embeddings)), key=lambda row: -quality[row])
    candidates = order[: max(count, (len(order) + 1) // 2)]
    chosen = candidates[:1]
    while len(chosen) < min(count, len(candidates)):
        rest = [row for row in candidates if row not in chosen]
        likeness = (embeddings[rest] @ embeddings[chosen].T).max(axis=1)
        chosen.append(rest[int(np.argmin(likeness))])
    return chosen
