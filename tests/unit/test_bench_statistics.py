"""Statistics on samples so small that the answer can be seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facectl.bench.statistics import (
    Bin,
    Interval,
    Summary,
    bootstrap_difference,
    histogram,
    means,
    percentiles,
    round_step,
)
from facectl.percentiles import percentile

TEN = [float(n) for n in range(1, 11)]


@pytest.mark.parametrize(
    ("rank", "expected"),
    [(0, 1), (10, 1), (10.1, 2), (50, 5), (51, 6), (90, 9), (95, 10), (99, 10), (100, 10)],
)
def test_a_percentile_is_the_sample_of_the_nearest_rank(rank: float, expected: float) -> None:
    assert percentile(TEN, rank) == expected


def test_the_p99_of_a_hundred_leaves_one_above_it() -> None:
    assert percentile([float(n) for n in range(1, 101)], 99) == 99


def test_a_rank_that_floating_point_misses_is_met() -> None:
    assert percentile([float(n) for n in range(1, 1001)], 99.9) == 999


def test_what_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile(TEN, 101)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=40), st.floats(0.1, 100))
def test_a_percentile_is_a_sample_and_covers_its_share(samples: list[float], rank: float) -> None:
    ordered = sorted(samples)
    value = percentile(ordered, rank)
    assert value in samples
    covered = sum(sample <= value for sample in samples)
    assert covered >= len(samples) * rank / 100 - 1e-6


def test_a_summary_of_known_samples_is_exact() -> None:
    summary = Summary.of([0.4, 0.1, 0.3, 0.2])
    assert summary == Summary(4, 0.25, 0.1, 0.2, 0.4, 0.4, 0.4, 0.4)


def test_a_summary_of_nothing_has_no_figures() -> None:
    assert Summary.of([]).as_dict() == {
        "count": 0,
        **dict.fromkeys(("mean", "least", "p50", "p90", "p95", "p99", "most")),
    }


def test_a_histogram_counts_every_sample_once_in_round_bins() -> None:
    bins = histogram([0.0, 0.5, 1.0, 1.5, 3.9, 4.0], 4)
    assert bins == [Bin(0, 1, 2), Bin(1, 2, 2), Bin(2, 3, 0), Bin(3, 4, 2)]


def test_a_histogram_of_one_value_and_of_none() -> None:
    assert [b.count for b in histogram([0.3, 0.3], 10)] == [2]
    assert [b.count for b in histogram([0.0], 10)] == [1]
    assert histogram([], 10) == []


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.integers(1, 30))
def test_a_histogram_loses_nothing(samples: list[float], bins: int) -> None:
    made = histogram(samples, bins)
    assert sum(b.count for b in made) == len(samples)
    assert len(made) <= bins + 2


@pytest.mark.parametrize(
    ("least", "step"), [(0.011, 0.02), (0.02, 0.02), (0.3, 0.5), (6, 10), (1, 1), (123, 200)]
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
    assert low_and_high.holds_zero


def test_the_bootstrap_tells_a_change_from_noise() -> None:
    changed = bootstrap_difference(TEN * 10, [t + 3 for t in TEN] * 10, means)
    assert not changed.holds_zero
    assert changed.low > 1


def test_the_bootstrap_gives_the_same_for_the_same_seed() -> None:
    one, two = (bootstrap_difference(TEN, [2.0, 9.0], percentiles(50), seed=7) for _ in range(2))
    assert one == two


def test_the_bootstrap_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="both sides"):
        bootstrap_difference([], [1.0], means)
