"""Percentiles and summaries of samples so small that the result is obvious."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facectl.summary import RunningSummary, Summary, percentile

TEN = [float(n) for n in range(1, 11)]


@pytest.mark.parametrize(
    ("rank", "expected"),
    [(0, 1), (10, 1), (10.1, 2), (50, 5), (51, 6), (90, 9), (95, 10), (99, 10), (100, 10)],
)
def test_a_percentile_is_the_sample_of_the_nearest_rank(rank: float, expected: float) -> None:
    assert percentile(TEN, rank) == expected


def test_the_p99_of_a_hundred_leaves_one_above_it() -> None:
    assert percentile([float(n) for n in range(1, 101)], 99) == 99


def test_a_rank_is_exact_despite_rounding() -> None:
    assert percentile([float(n) for n in range(1, 1001)], 99.9) == 999


def test_no_samples_and_ranks_outside_0_to_100_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        percentile([], 50)
    for rank in (-1, 101):
        with pytest.raises(ValueError, match="between 0 and 100"):
            percentile(TEN, rank)


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


def test_a_summary_has_the_percentiles_that_it_names() -> None:
    summary = Summary.of([float(n) for n in range(1000, 0, -1)])
    assert summary == Summary(1000, 500.5, 1.0, 500.0, 900.0, 950.0, 990.0, 1000.0)


def test_a_summary_is_rounded_for_json() -> None:
    figures = Summary.of([1 / 3, 2 / 3]).as_dict()
    assert (figures["count"], figures["least"], figures["most"]) == (2, 0.333333, 0.666667)
    assert isinstance(figures["count"], int)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Summary(0)),
        ([7.0], Summary(1, *[7.0] * 7)),
        (
            [float(n) for n in range(1, 101)],
            Summary(100, 50.5, 1.0, 50.0, 90.0, 95.0, 99.0, 100.0),
        ),
    ],
)
def test_summaries_are_exact(values: list[float], expected: Summary) -> None:
    assert Summary.of(values) == expected


def test_a_summary_never_changes_and_has_no_other_attributes() -> None:
    summary = Summary(0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        summary.count = 1  # type: ignore[misc]
    assert not hasattr(summary, "__dict__")


def test_a_summary_of_nothing_has_no_figures() -> None:
    assert Summary.of([]).as_dict() == {
        "count": 0,
        **dict.fromkeys(("mean", "least", "p50", "p90", "p95", "p99", "most")),
    }


def test_a_running_summary_of_known_samples_is_exact() -> None:
    summary = RunningSummary()
    assert summary.mean is None
    assert summary.as_dict() == {}
    for sample in (0.25, 0.75, 0.5):
        summary.add(sample)
    assert (summary.count, summary.mean, summary.least, summary.most) == (3, 0.5, 0.25, 0.75)
    assert summary.as_dict() == {"mean": 0.5, "min": 0.25, "max": 0.75}


def test_a_running_summary_is_rounded_for_json() -> None:
    summary = RunningSummary()
    summary.add(1 / 3)
    assert summary.as_dict() == {"mean": 0.3333, "min": 0.3333, "max": 0.3333}
