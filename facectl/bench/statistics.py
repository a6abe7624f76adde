"""Histograms, and bootstrap confidence intervals of differences, of raw samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Samples drawn at once by a bootstrap: limits its memory to about 100 MB.
_CELLS = 10_000_000


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin with `count` samples in [low, high); the last bin includes `high`."""

    low: float
    high: float
    count: int


def histogram(samples: Sequence[float], bins: int) -> list[Bin]:
    """Histogram with at most `bins` + 1 bins of one round width; empty without samples.

    The width is 1, 2 or 5 times a power of ten.
    """
    if not samples:
        return []
    least, most = min(samples), max(samples)
    width = round_step((most - least) / bins) if most > least else round_step(max(most, 1e-3))
    first = math.floor(least / width + 1e-9)
    count = max(1, math.ceil(most / width - 1e-9) - first)
    counts = [0] * count
    for sample in samples:
        counts[min(count - 1, max(0, math.floor(sample / width + 1e-9) - first))] += 1
    return [
        Bin((first + n) * width, (first + n + 1) * width, each) for n, each in enumerate(counts)
    ]


def round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float

    @property
    def contains_zero(self) -> bool:
        return self.low <= 0 <= self.high


Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def means(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row."""
    result: NDArray[np.float64] = rows.mean(axis=1)
    return result


def percentiles(rank: float) -> Statistic:
    """A statistic that returns the percentile of each row, as `facectl.summary` defines it."""

    def of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = np.percentile(rows, rank, axis=1, method="inverted_cdf")
        return result

    return of


def bootstrap_difference(
    before: Sequence[float],
    after: Sequence[float],
    statistic: Statistic,
    *,
    rounds: int = 2000,
    seed: int = 0,
) -> Interval:
    """95 % confidence interval of the change of `statistic`, after minus before.

    The percentile bootstrap: both are resampled with replacement `rounds`
    times. Raises ValueError if one is empty. Source: Efron and Tibshirani,
    "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    if not before or not after:
        raise ValueError("a bootstrap needs samples on both sides")
    generator = np.random.default_rng(seed)
    differences = _resampled(after, statistic, rounds, generator) - _resampled(
        before, statistic, rounds, generator
    )
    low, high = np.percentile(differences, [2.5, 97.5])
    return Interval(float(low), float(high))


def _resampled(
    samples: Sequence[float], statistic: Statistic, rounds: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    values = np.asarray(samples, dtype=np.float64)
    at_once = max(1, _CELLS // len(values))
    parts = [
        statistic(
            values[generator.integers(0, len(values), (min(at_once, rounds - n), len(values)))]
        )
        for n in range(0, rounds, at_once)
    ]
    return np.concatenate(parts)
