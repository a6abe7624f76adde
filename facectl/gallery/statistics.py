"""Error rates and thresholds from distances: pure functions without I/O.

A genuine distance is between photographs of one person, an impostor distance
between photographs of two people. FAR is the share of impostor distances within
a threshold, FRR the share of genuine distances beyond it, EER the rate at which
the two are equal (ISO/IEC 19795-1's false match
rate, false non-match rate, equal error rate). `facectl/gallery/metrics.py` has the
metrics of searches, and intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facectl.errors import GalleryError
from facectl.gallery import metrics
from facectl.gallery.changes import CENTROID
from facectl.gallery.metrics import Comparisons, Indices, Metric, Searches
from lambda_src.gallery.matching import DIMENSIONS, Embeddings, distances

Floats = NDArray[np.float64]

# Parts of the cross-validation, each of other people.
_FOLDS = 5
# Points of a curve.
_POINTS = 200
# Probes that are compared with everybody; more do not change the rates noticeably.
_MAX_PROBES = 2000
# Impostor distances that are kept, for the same reason: 32 MB.
_MAX_DISTANCES = 4_000_000
_MORE_PHOTOGRAPHS = "facectl gallery enroll NAME IMAGE   (a second photograph of some people)"


@dataclass(frozen=True, slots=True)
class Scores:
    """Distances of P probes to their own person and to the N people.

    genuine: (P,), NaN if the person has no other photograph. impostor: (P, C), to every `step`-th
    person, which is everybody in a small gallery; NaN in the person's own column. nearest_other,
    rank: (P,), the distance to the most similar of all other people, and one more than the number
    of people who are nearer than the own person. people: (P,), the index of the probe's person.
    """

    genuine: Floats
    impostor: Floats
    nearest_other: Floats
    rank: Indices
    people: Indices
    enrolled: int
    step: int = 1

    def of(self, chosen: NDArray[np.bool_]) -> Scores:
        """The scores of the chosen probes."""
        return replace(
            self,
            genuine=self.genuine[chosen],
            impostor=self.impostor[chosen],
            nearest_other=self.nearest_other[chosen],
            rank=self.rank[chosen],
            people=self.people[chosen],
        )

    @property
    def own(self) -> Floats:
        """Every genuine distance."""
        return self.genuine[np.isfinite(self.genuine)]

    @property
    def others(self) -> Floats:
        """Every impostor distance."""
        return self.impostor[np.isfinite(self.impostor)]

    @property
    def searches(self) -> Searches:
        """Each probe's search of the gallery without this photograph, and without its person.

        People without a probe have no number: the bootstrap draws those who were measured.
        """
        mated = np.isfinite(self.genuine)
        people = np.unique(self.people, return_inverse=True)[1]
        own = self.genuine[mated]
        return Searches(own, self.rank[mated], people[mated], self.nearest_other, people)

    @property
    def comparisons(self) -> Comparisons:
        """Each probe's comparisons with its own person and with the others of `impostor`.

        Only people who were compared have a number, as in `searches`.
        """
        mated = np.isfinite(self.genuine)
        rows, columns = np.nonzero(np.isfinite(self.impostor))
        first, second = self.people[rows], columns * self.step
        known = np.unique(np.concatenate([self.people, second]))
        person, first, second = (
            np.searchsorted(known, each) for each in (self.people[mated], first, second)
        )
        return Comparisons(self.own, person, self.others, first, second)


@dataclass(frozen=True, slots=True)
class Rates:
    """Error rates at a threshold; `fpir`: of searches of the gallery without the probe's person."""

    threshold: float
    far: float
    frr: float
    fpir: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold, its rates on people it was not fitted to, and the numbers of distances.

    far: the allowed rate; expected_fpir: what it becomes in a gallery of this size (`fpir_of`).
    metrics: at the thresholds of FRTE's metrics, and at the chosen one, which was fitted.
    """

    chosen: Rates
    validated: Rates
    eer: float
    eer_threshold: float
    folds: tuple[float, ...]
    genuine: int
    impostor: int
    scores: Scores
    far: float
    people: int
    expected_fpir: float
    metrics: tuple[Metric, ...]

    @property
    def resolved(self) -> bool:
        """Whether one impostor comparison is not a larger share than the allowed FAR."""
        return self.impostor * self.far >= 1


def leave_one_out(
    names: list[str], embeddings: Embeddings, metric: str, matching: str, *, seed: int = 0
) -> Scores:
    """Distances of each reference to the others, as the gallery matches them.

    `names` must be sorted. Large galleries are sampled: 2,000 probes, each compared with
    everybody, of which 4 million distances are kept.
    """
    people, owner, counts = np.unique(np.asarray(names), return_inverse=True, return_counts=True)
    probes = np.arange(len(names))
    if len(probes) > _MAX_PROBES:
        # People with one photograph have no genuine distances.
        several = probes[counts[owner] > 1]
        pool = several if len(several) >= 50 else probes
        probes = np.random.default_rng(seed).permutation(pool)[:_MAX_PROBES]
        probes.sort()
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    step = max(1, -(-len(probes) * len(people) // _MAX_DISTANCES))
    impostor = np.empty((len(probes), len(range(0, len(people), step))))
    genuine, nearest = np.full(len(probes), np.nan), np.empty(len(probes))
    rank = np.ones(len(probes), np.int64)
    means = centroids(names, embeddings)[1] if matching == CENTROID else embeddings
    for row, probe in enumerate(probes):
        mine = owner[probe]
        cosines = means @ embeddings[probe]
        if matching != CENTROID:
            cosines = np.maximum.reduceat(cosines, first)
        to_people = distances(cosines, metric).astype(np.float64)
        to_people[mine] = np.nan
        impostor[row] = to_people[::step]
        nearest[row] = np.nanmin(to_people)
        rest = [i for i in range(first[mine], first[mine] + counts[mine]) if i != probe]
        if rest:
            references = embeddings[rest]
            if matching == CENTROID:
                references = centroids(["_"] * len(rest), references)[1]
            own = np.max(references @ embeddings[probe], keepdims=True)
            genuine[row] = distances(own, metric)[0]
            # A comparison with NaN is false.
            rank[row] += np.count_nonzero(to_people < genuine[row])
    return Scores(genuine, impostor, nearest, rank, owner[probes], len(people), step)


def rates(scores: Scores, threshold: float) -> Rates:
    """The error rates at a threshold."""
    own, others = scores.own, scores.others
    return Rates(
        threshold=float(threshold),
        far=float(np.mean(others <= threshold)) if len(others) else float("nan"),
        frr=float(np.mean(own > threshold)) if len(own) else float("nan"),
        fpir=float(np.mean(scores.nearest_other <= threshold)),
    )


def curve(scores: Scores) -> tuple[Floats, Floats, Floats]:
    """Thresholds, FAR and FRR, each (200,)."""
    own, others = np.sort(scores.own), np.sort(scores.others)
    top = max(own[-1] if len(own) else 0.0, float(np.median(others)))
    thresholds = np.linspace(0, top * 1.05, _POINTS)
    far = np.searchsorted(others, thresholds, side="right") / len(others)
    frr = 1 - np.searchsorted(own, thresholds, side="right") / len(own)
    return thresholds, far, frr


def equal_error(scores: Scores) -> tuple[float, float]:
    """The equal error rate and its threshold."""
    own, others = np.sort(scores.own), np.sort(scores.others)
    candidates = np.unique(np.concatenate([own, others]))
    far = np.searchsorted(others, candidates, side="right") / len(others)
    frr = 1 - np.searchsorted(own, candidates, side="right") / len(own)
    best = int(np.argmin(np.abs(far - frr)))
    return float((far[best] + frr[best]) / 2), float(candidates[best])


def pick(scores: Scores, far: float) -> float:
    """The threshold with the fewest false rejects among those whose FAR is at most `far`.

    The middle of the range if several thresholds are equal.
    """
    own, others = np.sort(scores.own), np.sort(scores.others)
    allowed = int(np.floor(far * len(others)))
    # The first impostor that must be rejected is the upper bound of the threshold.
    upper = float(others[allowed]) if allowed < len(others) else float(others[-1])
    accepted = own[own < upper]
    within = others[others < upper]
    lower = max(
        float(accepted[-1]) if len(accepted) else 0.0, float(within[-1]) if len(within) else 0.0
    )
    return (lower + upper) / 2


def calibrate(scores: Scores, *, far: float) -> Calibration:
    """Pick a threshold, and measure its rates by cross-validation over people.

    Raises GalleryError if fewer than two people have two photographs.
    """
    pairs = np.unique(scores.people[np.isfinite(scores.genuine)])
    if len(pairs) < 2:
        raise GalleryError(
            f"{len(pairs)} of the people have more than one photograph, and a threshold needs two "
            "of them, to measure the distance between photographs of one person",
            hint=_MORE_PHOTOGRAPHS,
        )
    random = np.random.default_rng(0)
    # Folds are of people: two photographs of one person are not independent.
    fold_of = np.full(int(scores.people.max()) + 1, -1)
    everyone = random.permutation(np.unique(scores.people))
    ordered = np.concatenate([random.permutation(pairs), np.setdiff1d(everyone, pairs)])
    count = min(_FOLDS, len(pairs))
    fold_of[ordered] = np.arange(len(ordered)) % count
    measured: list[Rates] = []
    for fold in range(count):
        out = fold_of[scores.people] == fold
        measured.append(rates(scores.of(out), pick(scores.of(~out), far)))
    eer, eer_threshold = equal_error(scores)
    chosen = rates(scores, pick(scores, far))
    people = scores.enrolled
    return Calibration(
        chosen=chosen,
        validated=Rates(
            float(np.mean([rate.threshold for rate in measured])),
            float(np.nanmean([rate.far for rate in measured])),
            float(np.nanmean([rate.frr for rate in measured])),
            float(np.nanmean([rate.fpir for rate in measured])),
        ),
        eer=eer,
        eer_threshold=eer_threshold,
        folds=tuple(rate.threshold for rate in measured),
        genuine=len(scores.own),
        impostor=len(scores.others),
        scores=scores,
        far=far,
        people=people,
        expected_fpir=metrics.fpir_of(far, people),
        metrics=tuple(_measured(scores, chosen.threshold)),
    )


def _measured(scores: Scores, threshold: float) -> list[Metric]:
    searches = scores.searches
    return [
        *metrics.identification(searches),
        *metrics.verification(scores.comparisons),
        metrics.fnir_within(searches, threshold),
        metrics.fpir_within(searches, threshold),
    ]


def centroids(names: Sequence[str], embeddings: Embeddings) -> tuple[list[str], Embeddings]:
    """One row per person: the mean of the embeddings, of length 1; `names` must be sorted."""
    people, first, counts = np.unique(np.asarray(names), return_index=True, return_counts=True)
    if len(people) == 0:
        return [], np.zeros((0, DIMENSIONS), np.float32)
    order = np.argsort(first)
    sums = np.add.reduceat(embeddings.astype(np.float64), first[order], axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    # Opposite embeddings cancel out: then the first embedding represents the person.
    flat = (lengths[:, 0] < 1e-6) | (counts[order] == 1)
    sums[flat] = embeddings[first[order][flat]]
    lengths[flat] = np.linalg.norm(sums[flat], axis=1, keepdims=True)
    return [str(name) for name in people[order]], (sums / lengths).astype(np.float32)
