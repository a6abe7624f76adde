"""Statistics of samples so small that the result is obvious."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from facectl.bench import statistics
from facectl.bench.statistics import (
    Bin,
    Interval,
    bootstrap_difference,
    histogram,
    means,
    percentiles,
    round_step,
)

TEN = [float(n) for n in range(1, 11)]


@pytest.mark.parametrize("value", [Bin(0, 1, 0), Interval(0, 1)])
def test_a_figure_never_changes_and_has_no_other_attributes(value: object) -> None:
    name = dataclasses.fields(value)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, 1)
    assert not hasattr(value, "__dict__")


def test_a_histogram_counts_every_sample_once_in_round_bins() -> None:
    bins = histogram([0.0, 0.5, 1.0, 1.5, 3.9, 4.0], 4)
    assert bins == [Bin(0, 1, 2), Bin(1, 2, 2), Bin(2, 3, 0), Bin(3, 4, 2)]


def test_a_histogram_begins_at_the_bin_of_its_least_sample() -> None:
    bins = histogram([11.0, 11.5, 12.6, 13.0, 13.0], 4)
    assert bins == [Bin(11, 11.5, 1), Bin(11.5, 12, 1), Bin(12, 12.5, 0), Bin(12.5, 13, 3)]


def test_a_sample_on_an_edge_counts_above_it_despite_rounding() -> None:
    # 0.3 / 0.1 is 2.9999999999999996, and 0.7 / 0.1 is 6.999999999999999.
    assert [b.count for b in histogram([0.3, 0.4, 0.6, 0.7, 0.8], 5)] == [1, 1, 0, 1, 2]
    assert [b.count for b in histogram([0.1, 0.2, 0.3], 2)] == [1, 2]


def test_a_histogram_of_one_value_and_of_none() -> None:
    assert histogram([0.3, 0.3], 10) == [Bin(0.0, 0.5, 2)]
    assert histogram([0.0], 10) == [Bin(0.0, 0.001, 1)]
    assert histogram([2.0], 10) == [Bin(2.0, 4.0, 1)]
    assert histogram([], 10) == []


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.integers(1, 30))
def test_a_histogram_loses_nothing(samples: list[float], bins: int) -> None:
    made = histogram(samples, bins)
    assert sum(b.count for b in made) == len(samples)
    assert len(made) <= bins + 2


@pytest.mark.parametrize(
    ("least", "step"),
    [(0.011, 0.02), (0.02, 0.02), (0.3, 0.5), (6, 10), (9.5, 10), (1, 1), (123, 200), (2000, 2000)],
)
def test_steps_are_round(least: float, step: float) -> None:
    assert round_step(least) == pytest.approx(step)


def test_the_bootstrap_of_constants_is_their_difference() -> None:
    assert bootstrap_difference([1.0] * 5, [3.0] * 7, means) == Interval(2.0, 2.0)
    assert bootstrap_difference([1.0] * 5, [3.0] * 7, percentiles(99)) == Interval(2.0, 2.0)


def test_the_bootstrap_agrees_with_theory_about_a_mean() -> None:
    # Standard error of a difference of means of n samples each of variance 8.25: sqrt(2*8.25/n).
    low_and_high = bootstrap_difference(TEN * 20, TEN * 20, means, rounds=4000)
    expected = 1.96 * (2 * 8.25 / 200) ** 0.5
    assert low_and_high.low == pytest.approx(-expected, rel=0.1)
    assert low_and_high.high == pytest.approx(expected, rel=0.1)
    assert low_and_high.contains_zero


def test_the_bootstrap_tells_a_change_from_noise() -> None:
    changed = bootstrap_difference(TEN * 10, [t + 3 for t in TEN] * 10, means)
    assert not changed.contains_zero
    assert changed.low > 1


def test_the_bootstrap_gives_the_same_for_the_same_seed() -> None:
    one, two = (bootstrap_difference(TEN, [2.0, 9.0], percentiles(50), seed=7) for _ in range(2))
    assert one == two


def test_the_bootstrap_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="both sides"):
        bootstrap_difference([], [1.0], means)
    with pytest.raises(ValueError, match="both sides"):
        bootstrap_difference([1.0], [], means)


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [(-2, -0.5, False), (-1, 0, True), (-0.5, 0.5, True), (0, 1, True), (0.5, 2, False)],
)
def test_an_interval_contains_zero_up_to_its_ends(low: float, high: float, holds: bool) -> None:
    assert Interval(low, high).contains_zero is holds


def test_a_statistic_is_computed_for_each_row() -> None:
    rows = np.array([[1.0, 3.0, 8.0], [5.0, 6.0, 7.0]])
    assert means(rows).tolist() == [4.0, 6.0]
    assert percentiles(50)(rows).tolist() == [3.0, 6.0]


def test_the_interval_excludes_two_and_a_half_per_cent_on_each_side() -> None:
    def numbered(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.arange(len(rows)) * rows[:, 0]

    assert bootstrap_difference([0.0], [1.0], numbered, rounds=1001) == Interval(25.0, 975.0)


def test_two_thousand_rounds_of_seed_zero_are_the_default() -> None:
    default = bootstrap_difference(TEN, [2.0, 9.0, 4.0], means)
    assert default == bootstrap_difference(TEN, [2.0, 9.0, 4.0], means, rounds=2000, seed=0)
    assert default != bootstrap_difference(TEN, [2.0, 9.0, 4.0], means, rounds=2000, seed=1)


@pytest.mark.parametrize(
    ("cells", "rows"), [(30, [3, 3, 1]), (5, [1] * 7), (69, [6, 1]), (70, [7]), (10_000, [7])]
)
def test_a_bootstrap_resamples_no_more_than_memory_allows(
    monkeypatch: pytest.MonkeyPatch, cells: int, rows: list[int]
) -> None:
    shapes: list[tuple[int, ...]] = []

    def recorded(resamples: NDArray[np.float64]) -> NDArray[np.float64]:
        shapes.append(resamples.shape)
        return means(resamples)

    whole = bootstrap_difference(TEN, TEN, means, rounds=7)
    monkeypatch.setattr(statistics, "_CELLS", cells)
    assert bootstrap_difference(TEN, TEN, recorded, rounds=7) == whole
    assert shapes == [(each, 10) for each in rows] * 2


def test_every_sample_is_drawn_equally_often() -> None:
    drawn: list[float] = []

    def recorded(resamples: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn.extend(resamples.ravel())
        return means(resamples)

    bootstrap_difference([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0], recorded)
    assert len(drawn) == 2 * 2000 * 4
    shares = [drawn.count(value) / len(drawn) for value in (0.0, 1.0, 2.0, 3.0)]
    assert shares == pytest.approx([0.25] * 4, abs=0.02)
