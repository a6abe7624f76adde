"""Identification and verification metrics with bootstrap intervals: pure functions without I/O.

The words are those of NIST's Face Recognition Technology Evaluation (FRTE). A search compares a
probe with everybody in a gallery: it is mated if the probe's person is enrolled, else non-mated.
FPIR is the share of non-mated searches that return somebody; FNIR the share of mated searches
that do not return the probe's person (nearest, and within the threshold). TAR and FAR are shares
of genuine and of impostor comparisons of two people: 1 - FNMR and FMR in FRTE.

Intervals are percentiles of a bootstrap over people: photographs of one person are not
independent, so whole people are drawn, with all of their searches and comparisons. Between
people, both are drawn (the subset bootstrap of Bolle et al. 2004, "The relation between the ROC
curve and the CMC"). Everybody else in the gallery stays. With fewer than about 20 people such
intervals are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
# The value of a metric for weights by person; NaN if none of the people has a weight.
Statistic = Callable[[Floats], float]

RANKS = (1, 5)
FPIRS = (0.01, 0.001)
FARS = (0.1, 0.01, 0.001)
# A person of a comparison who is not drawn, because the gallery stays.
FIXED = -1
CONFIDENCE = 0.95
MATED, NON_MATED = "mated searches", "non-mated searches"
GENUINE, IMPOSTOR = "genuine comparisons", "impostor comparisons"
_REPLICATES = 1000
# Comparisons in a bootstrap: more do not change its percentiles noticeably.
_MAX_COMPARISONS = 100_000


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, its 95 % interval, and what it was measured on.

    value: None if it can't be measured; `why` says the reason. low, high: None with less than two
    people. count: the number of searches or comparisons (`of`) that the value is a share of;
    people: the number of people whose they are. threshold: the distance that it was measured at.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    count: int
    people: int
    of: str = MATED
    threshold: float | None = None
    why: str = ""

    @property
    def interval(self) -> str:
        """The interval as text, empty if there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"{self.low:.3f} to {self.high:.3f}"

    @property
    def basis(self) -> str:
        """What the metric was measured on."""
        return f"{self.count:,} {self.of}, {self.people:,} people"

    def facts(self) -> dict[str, Any]:
        """The metric for JSON."""
        found: dict[str, Any] = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "count": self.count,
            "of": self.of,
            "people": self.people,
        }
        if self.threshold is not None:
            found["threshold"] = self.threshold
        return {**found, "why": self.why} if self.why else found

    def __str__(self) -> str:
        if self.value is None:
            return self.why
        return f"{self.value:.3f}  ({self.interval or 'no interval'})  {self.basis}"


@dataclass(frozen=True, slots=True)
class Searches:
    """Searches of a gallery, mated and non-mated, of people numbered from 0.

    mate: (M,) distances to the probe's own person. rank: (M,) the rank of that person, 1 for the
    nearest. person: (M,). nearest: (S,) distance of the most similar person to a probe whose
    person is not enrolled. stranger: (S,), the probe's person. repeats: how often each search is
    in the arrays, with other references of the same people.
    """

    mate: Floats
    rank: Indices
    person: Indices
    nearest: Floats
    stranger: Indices
    repeats: int = 1

    def __post_init__(self) -> None:
        if not len(self.mate) == len(self.rank) == len(self.person):
            raise ValueError("mate, rank and person must have equal lengths")
        if len(self.nearest) != len(self.stranger):
            raise ValueError("nearest and stranger must have equal lengths")

    @property
    def mated(self) -> int:
        """The number of different mated searches."""
        return len(self.mate) // self.repeats

    @property
    def non_mated(self) -> int:
        """The number of different non-mated searches."""
        return len(self.nearest) // self.repeats


@dataclass(frozen=True, slots=True)
class Comparisons:
    """Distances of comparisons of two people, who are numbered from 0.

    genuine: (G,), of one person: `person` (G,). impostor: (I,), of two: `first` and `second`
    (I,), FIXED for somebody who is not drawn.
    """

    genuine: Floats
    person: Indices
    impostor: Floats
    first: Indices
    second: Indices


def fpir_of(far: float, people: int) -> float:
    """The FPIR that a false accept rate of comparisons becomes in a gallery of this size.

    1 - (1 - FAR)^N: as if the N comparisons of a search were independent.
    """
    return float(-np.expm1(people * np.log1p(-far))) if far < 1 else 1.0


def within_rank(searches: Searches, rank: int) -> Metric:
    """Closed set: the share of mated searches with the right person among the `rank` nearest."""
    hits = (searches.rank <= rank).astype(np.float64)
    return _share(f"rank-{rank}", hits, searches.person, (searches.mated, MATED))


def fnir_within(searches: Searches, threshold: float) -> Metric:
    """FNIR at a threshold that was not picked on these searches."""
    missed = ~((searches.mate <= threshold) & (searches.rank == 1))
    return _share(
        "FNIR at the threshold",
        missed.astype(np.float64),
        searches.person,
        (searches.mated, MATED),
        threshold=threshold,
    )


def fpir_within(searches: Searches, threshold: float) -> Metric:
    """FPIR at a threshold that was not picked on these searches."""
    named = (searches.nearest <= threshold).astype(np.float64)
    return _share(
        "FPIR at the threshold",
        named,
        searches.stranger,
        (searches.non_mated, NON_MATED),
        threshold=threshold,
    )


def fnir(searches: Searches, fpir: float) -> Metric:
    """FNIR at the most tolerant threshold whose FPIR on the non-mated searches is at most `fpir`.

    Without a value if one non-mated search is a larger share than `fpir`.
    """
    name = f"FNIR at FPIR {fpir:g}"
    missing = _too_few(
        name,
        (searches.mated, MATED, searches.person),
        (searches.non_mated, NON_MATED),
        ("FPIR", fpir),
    )
    if missing is not None:
        return missing
    order = np.argsort(searches.nearest, kind="stable")
    nearest, stranger = searches.nearest[order], searches.stranger[order]
    ranked = searches.rank == 1

    limit = _limit(nearest, np.ones(len(nearest)), fpir)
    count = _people(searches.person, searches.stranger)
    searched = np.bincount(stranger, minlength=count).astype(np.float64)
    # The threshold nearly always is among the nearest: the others only add to the total.
    head = min(len(nearest), 100 + int(4 * fpir * len(nearest)))

    def measure(weights: Floats) -> float:
        total = float(searched @ weights)
        within = _limit(nearest[:head], weights[stranger[:head]], fpir, total, otherwise=limit)
        if within == np.inf:
            within = _limit(nearest, weights[stranger], fpir, otherwise=limit)
        missed = ~((searches.mate < within) & ranked)
        return _mean(missed.astype(np.float64), weights[searches.person])

    value = measure(np.ones(count))
    low, high = _interval(value, measure, count, searches.person)
    people = len(np.unique(searches.person))
    return Metric(name, value, low, high, searches.mated, people, MATED, limit)


def tar(comparisons: Comparisons, far: float) -> Metric:
    """TAR at the most tolerant threshold whose FAR on the impostor comparisons is at most `far`.

    Without a value if one impostor comparison is a larger share than `far`.
    """
    name = f"TAR at FAR {far:g}"
    missing = _too_few(
        name,
        (len(comparisons.genuine), GENUINE, comparisons.person),
        (len(comparisons.impostor), IMPOSTOR),
        ("FAR", far),
    )
    if missing is not None:
        return missing
    impostor = np.sort(comparisons.impostor)
    limit = _limit(impostor, np.ones(len(impostor)), far)
    value = float(np.mean(comparisons.genuine < limit))
    values, first, second = _ordered(comparisons)

    def measure(weights: Floats) -> float:
        # The appended 1 is the weight of FIXED.
        extended = np.append(weights, 1.0)
        within = _limit(values, extended[first] * extended[second], far, otherwise=limit)
        accepted = (comparisons.genuine < within).astype(np.float64)
        return _mean(accepted, weights[comparisons.person])

    count = _people(comparisons.person, comparisons.first, comparisons.second)
    low, high = _interval(value, measure, count, comparisons.person)
    people = len(np.unique(comparisons.person))
    return Metric(name, value, low, high, len(comparisons.genuine), people, GENUINE, limit)


def identification(searches: Searches) -> list[Metric]:
    """Rank-1, rank-5, and FNIR at FPIR 0.01 and 0.001."""
    ranks = [within_rank(searches, rank) for rank in RANKS]
    return [*ranks, *(fnir(searches, fpir) for fpir in FPIRS)]


def verification(comparisons: Comparisons) -> list[Metric]:
    """TAR at FAR 0.1, 0.01 and 0.001."""
    return [tar(comparisons, far) for far in FARS]


def _ordered(comparisons: Comparisons) -> tuple[Floats, Indices, Indices]:
    """Impostor distances, rising, with both people; a sample if there are too many."""
    chosen = np.arange(len(comparisons.impostor))
    if len(chosen) > _MAX_COMPARISONS:
        chosen = np.random.default_rng(0).choice(chosen, _MAX_COMPARISONS, replace=False)
    order = chosen[np.argsort(comparisons.impostor[chosen], kind="stable")]
    return comparisons.impostor[order], comparisons.first[order], comparisons.second[order]


def _too_few(
    name: str,
    shared: tuple[int, str, Indices],
    picking: tuple[int, str],
    rate: tuple[str, float],
) -> Metric | None:
    """A metric without a value if there is nothing to measure on, or too little to pick on."""
    (count, of, owners), (others, which), (label, share) = shared, picking, rate
    why = ""
    if count == 0 or others == 0:
        why = f"not measured: no {of if count == 0 else which}"
    # The tolerance is for 1 / n = share.
    elif 1 / others > share * (1 + 1e-9):
        why = f"n too small: {others:,} {which} resolve {label} {1 / others:.2g} and more"
    if not why:
        return None
    return Metric(name, None, None, None, count, len(np.unique(owners)), of, why=why)


def _share(
    name: str,
    hits: Floats,
    people: Indices,
    counted: tuple[int, str],
    *,
    threshold: float | None = None,
) -> Metric:
    """The mean of `hits`, 0 or 1 each, with its interval."""
    count, of = counted
    if len(hits) == 0:
        why = f"not measured: no {of}"
        return Metric(name, None, None, None, 0, 0, of, threshold, why=why)

    def measure(weights: Floats) -> float:
        return _mean(hits, weights[people])

    value = float(hits.mean())
    low, high = _interval(value, measure, _people(people), people)
    return Metric(name, value, low, high, count, len(np.unique(people)), of, threshold)


def _interval(
    value: float, measure: Statistic, drawn: int, owners: Indices
) -> tuple[float | None, float | None]:
    """The percentile bootstrap interval over `drawn` people; the value is a share of `owners`."""
    people = len(np.unique(owners))
    if people < 2:
        return None, None
    found = np.array([measure(weights) for weights in _draws(drawn, _REPLICATES)])
    found = found[np.isfinite(found)]
    edge = (1 - CONFIDENCE) / 2
    if value in (0.0, 1.0) and np.all(found == value):
        # A bootstrap of equal values has no width. This is the exact binomial interval of `people`
        # people without an error: as if the photographs of one person were one trial.
        other = 1 - edge ** (1 / people)
        return (0.0, other) if value == 0 else (1 - other, 1.0)
    low, high = np.percentile(found, [100 * edge, 100 * (1 - edge)])
    return min(float(low), value), max(float(high), value)


@lru_cache(maxsize=4)
def _draws(people: int, count: int) -> Floats:
    """How often each of the people is drawn in each of `count` bootstraps, (count, people)."""
    random = np.random.default_rng(0)
    return random.multinomial(people, np.full(people, 1 / people), count).astype(np.float64)


def _limit(
    values: Floats,
    weights: Floats,
    share: float,
    total: float | None = None,
    *,
    otherwise: float = float("nan"),
) -> float:
    """The distance below which at most `share` of the weight lies; `values` must rise.

    total: the weight, if it is more than that of these values; infinity if they do not reach
    the share. `otherwise` if nothing has a weight: nobody was drawn to pick a threshold on.
    """
    sums = np.cumsum(weights)
    every = float(sums[-1]) if total is None else total
    if every == 0:
        return otherwise
    position = int(np.searchsorted(sums, share * every * (1 + 1e-9), side="right"))
    return float(values[position]) if position < len(values) else float("inf")


def _mean(values: Floats, weights: Floats) -> float:
    total = float(weights.sum())
    return float(values @ weights) / total if total > 0 else float("nan")


def _people(*numbers: Indices) -> int:
    return 1 + max((int(each.max()) for each in numbers if len(each)), default=FIXED)
