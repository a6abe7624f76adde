"""Identification and verification metrics: tiny inputs with exact answers."""

from __future__ import annotations

import numpy as np
import pytest

from facectl.gallery import metrics
from facectl.gallery.metrics import FIXED, Comparisons, Metric, Searches
from facectl.gallery.statistics import Scores

NAN = np.nan


def searches(
    mate: list[float],
    nearest: list[float],
    *,
    rank: list[int] | None = None,
    person: list[int] | None = None,
    stranger: list[int] | None = None,
    repeats: int = 1,
) -> Searches:
    """Every probe is a person of its own unless the people are given."""
    return Searches(
        np.array(mate, float),
        np.array([1] * len(mate) if rank is None else rank, np.int64),
        np.array(range(len(mate)) if person is None else person, np.int64),
        np.array(nearest, float),
        np.array(range(len(nearest)) if stranger is None else stranger, np.int64),
        repeats,
    )


def comparisons(
    genuine: list[float], impostor: list[float], person: list[int] | None = None
) -> Comparisons:
    people = np.array(range(len(genuine)) if person is None else person, np.int64)
    others = np.arange(len(impostor), dtype=np.int64)
    return Comparisons(
        np.array(genuine, float), people, np.array(impostor, float), others,
        np.full(len(impostor), FIXED),
    )  # fmt: skip


TEN = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_rank_counts_the_people_who_are_nearer() -> None:
    found = searches([0.3] * 4, [], rank=[1, 1, 3, 9])
    assert metrics.within_rank(found, 1).value == pytest.approx(2 / 4)
    assert metrics.within_rank(found, 5).value == pytest.approx(3 / 4)
    assert metrics.within_rank(found, 5).name == "rank-5"


def test_fnir_at_fpir_accepts_below_the_first_stranger_who_must_be_rejected() -> None:
    # One of ten strangers may be named: the threshold is just below the second, at 0.2.
    found = metrics.fnir(searches([0.05, 0.15, 0.19, 0.2, 0.25], TEN), 0.1)
    assert found.value == pytest.approx(2 / 5)
    assert found.threshold == 0.2
    assert (found.count, found.people) == (5, 5)
    assert metrics.fnir(searches([0.05, 0.25], TEN), 0.2).value == 0


def test_a_person_at_another_rank_is_a_miss_at_any_threshold() -> None:
    assert metrics.fnir(searches([0.05, 0.05], TEN, rank=[1, 2]), 0.1).value == pytest.approx(0.5)
    within = metrics.fnir_within(searches([0.05, 0.05], [], rank=[1, 2]), 0.9)
    assert within.value == pytest.approx(0.5)


def test_equal_distances_of_strangers_are_rejected_together() -> None:
    found = metrics.fnir(searches([0.4, 0.6], [0.5] * 3 + [0.9] * 7), 0.1)
    assert found.threshold == 0.5
    assert found.value == pytest.approx(0.5)


def test_tar_at_far() -> None:
    found = metrics.tar(comparisons([0.05, 0.15, 0.2, 0.9], TEN), 0.1)
    assert found.value == pytest.approx(2 / 4)
    assert found.name == "TAR at FAR 0.1"
    assert (found.count, found.of) == (4, "genuine comparisons")


def test_a_threshold_accepts_an_equal_distance() -> None:
    found = searches([0.5, 0.6], [0.5, 0.6, 0.7, 0.8])
    assert metrics.fnir_within(found, 0.5).value == pytest.approx(1 / 2)
    assert metrics.fpir_within(found, 0.6).value == pytest.approx(2 / 4)


@pytest.mark.parametrize(("count", "resolved"), [(99, False), (100, True), (1000, True)])
def test_too_few_strangers_are_said_to_be_too_few(count: int, resolved: bool) -> None:
    strangers = list(np.linspace(1, 2, count))
    found = metrics.fnir(searches([0.5, 0.6], strangers), 0.01)
    assert (found.value is not None) == resolved
    if not resolved:
        assert found.why == "n too small: 99 non-mated searches resolve FPIR 0.01 and more"
        assert found.facts()["value"] is None
        assert str(found) == found.why


def test_repeated_searches_do_not_make_n_larger() -> None:
    found = searches([0.5] * 20, list(np.linspace(1, 2, 100)), repeats=10)
    assert (found.mated, found.non_mated) == (2, 10)
    assert metrics.fnir(found, 0.01).why.startswith("n too small: 10 non-mated")
    assert metrics.fnir(found, 0.1).count == 2


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (metrics.fnir(searches([], TEN), 0.1), "not measured: no mated searches"),
        (metrics.fnir(searches([0.1], []), 0.1), "not measured: no non-mated searches"),
        (metrics.within_rank(searches([], TEN), 1), "not measured: no mated searches"),
        (metrics.fpir_within(searches([0.1], []), 1), "not measured: no non-mated searches"),
        (metrics.tar(comparisons([], TEN), 0.1), "not measured: no genuine comparisons"),
        (metrics.tar(comparisons([0.1], []), 0.1), "not measured: no impostor comparisons"),
    ],
)
def test_what_cannot_be_measured_says_why(found: Metric, why: str) -> None:
    assert (found.value, found.low, found.high) == (None, None, None)
    assert found.why == why


def test_the_interval_is_over_people_not_over_photographs() -> None:
    # 1,000 photographs of two people, one always found, one never: as two people, not 1,000.
    found = metrics.within_rank(
        searches([0.1] * 1000, [], rank=[1] * 500 + [2] * 500, person=[0] * 500 + [1] * 500), 1
    )
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    assert (found.count, found.people) == (1000, 2)


def test_the_interval_of_many_people_is_that_of_a_binomial() -> None:
    found = metrics.within_rank(searches([0.1] * 400, [], rank=[1] * 200 + [2] * 200), 1)
    assert found.low == pytest.approx(0.451, abs=0.01)
    assert found.high == pytest.approx(0.549, abs=0.01)


def test_no_error_among_few_people_leaves_a_wide_interval() -> None:
    found = metrics.within_rank(searches([0.1] * 10, [], person=[0, 1] * 5), 1)
    # The exact binomial interval of two trials.
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025**0.5)
    none = metrics.fpir_within(searches([], [0.9] * 4), 0.5)
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025**0.25)


def test_one_person_gives_no_interval() -> None:
    found = metrics.within_rank(searches([0.1] * 10, [], person=[0] * 10), 1)
    assert (found.value, found.low, found.high) == (1, None, None)
    assert str(found) == "1.000  (no interval)  10 mated searches, 1 people"


def test_each_bootstrap_picks_its_own_threshold() -> None:
    # The value does not depend on who is drawn at a fixed threshold, only on the stranger at 0.2.
    strangers = [0.2, 0.2, *[1.0] * 18]
    found = metrics.fnir(searches([0.5] * 4, strangers, person=[20, 21, 22, 23]), 0.05)
    assert (found.value, found.threshold) == (1, 0.2)
    assert (found.low, found.high) == (0, 1)


def test_both_people_of_a_comparison_are_drawn() -> None:
    # Persons 0 and 1 look alike. In a gallery that stays, each of them meets the other always.
    first = np.array([0] * 10 + [1] * 10 + [2] * 10)
    impostor = np.array([0.05] * 20 + [0.9] * 10)

    def tar(second: np.ndarray) -> Metric:
        own, people = np.array([0.1, 0.1]), np.array([0, 1])
        return metrics.tar(Comparisons(own, people, impostor, first, second), 0.1)

    stays = tar(np.full(30, FIXED))
    drawn = tar(np.array([1] * 10 + [0] * 10 + [0] * 5 + [1] * 5))
    assert stays.value == drawn.value == 0
    assert stays.high == pytest.approx(1 - 0.025**0.5)
    assert drawn.high == 1


def test_a_bootstrap_without_impostors_keeps_the_threshold() -> None:
    # Two people: whenever one of them is drawn twice, no comparison between two is left.
    two = np.array([0, 1])
    found = metrics.tar(
        Comparisons(np.array([0.1, 0.9]), two, np.array([0.5, 0.5]), two, 1 - two), 0.5
    )
    assert (found.value, found.low, found.high) == (0.5, 0, 1)


def test_the_same_input_gives_the_same_interval() -> None:
    first, second = (
        metrics.fnir(searches([0.1, 0.3, 0.5], TEN), 0.1),
        metrics.fnir(searches([0.1, 0.3, 0.5], TEN), 0.1),
    )
    assert first == second


def test_a_million_comparisons_are_sampled_for_the_interval_alone() -> None:
    impostor = np.linspace(0.5, 1.5, 300_000)
    people = np.zeros(len(impostor), np.int64)
    people[::2] = 1
    found = metrics.tar(
        Comparisons(np.array([0.55, 0.7]), np.array([0, 1]), impostor, people, 1 - people), 0.1
    )
    assert found.value == 0.5
    assert found.threshold == pytest.approx(0.6, abs=1e-4)


@pytest.mark.parametrize(
    ("far", "people", "fpir"),
    [(0.001, 1, 0.001), (0.001, 100, 1 - 0.999**100), (0.0, 10, 0.0), (1.0, 3, 1.0),
     (1e-9, 1_000_000, 1 - (1 - 1e-9) ** 1_000_000)],
)  # fmt: skip
def test_the_fpir_of_a_far_grows_with_the_gallery(far: float, people: int, fpir: float) -> None:
    assert metrics.fpir_of(far, people) == pytest.approx(fpir, rel=1e-6)


def test_arrays_of_other_lengths_are_refused() -> None:
    one, two = np.zeros(1), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="mate, rank and person"):
        Searches(one, two, two, one, two[:1])
    with pytest.raises(ValueError, match="nearest and stranger"):
        Searches(one, two[:1], two[:1], one, two)


def test_a_large_gallery_is_compared_with_some_of_its_people() -> None:
    # Of a hundred people, every 30th is kept, and the 31st and 61st have a probe.
    found = Scores(
        np.array([0.2, 0.9]),
        np.array([[1.3, NAN, 0.8], [0.5, 1.1, NAN]]),
        nearest_other=np.array([0.7, 0.4]),
        rank=np.array([1, 5]),
        people=np.array([30, 60]),
        enrolled=100,
        step=30,
    )
    assert found.comparisons.impostor.tolist() == [1.3, 0.8, 0.5, 1.1]
    # Numbered without the people who were not compared.
    assert found.comparisons.person.tolist() == [1, 2]
    assert found.comparisons.first.tolist() == [1, 1, 2, 2]
    assert found.comparisons.second.tolist() == [0, 2, 0, 1]
    assert found.searches.nearest.tolist() == [0.7, 0.4]
    assert (found.searches.rank.tolist(), found.searches.person.tolist()) == ([1, 5], [0, 1])


def test_the_distances_of_a_gallery_become_searches_and_comparisons() -> None:
    found = Scores(
        np.array([0.2, 0.9, NAN]),
        np.array([[NAN, 0.8, 1.2], [0.5, NAN, 0.7], [1.4, 1.0, NAN]]),
        nearest_other=np.array([0.8, 0.5, 1.0]),
        rank=np.array([1, 3, 1]),
        people=np.array([0, 1, 2]),
        enrolled=3,
    )
    assert found.searches.mate.tolist() == [0.2, 0.9]
    assert found.searches.rank.tolist() == [1, 3]
    assert found.searches.person.tolist() == [0, 1]
    assert found.searches.nearest.tolist() == [0.8, 0.5, 1.0]
    assert found.searches.stranger.tolist() == [0, 1, 2]
    assert found.comparisons.genuine.tolist() == [0.2, 0.9]
    assert found.comparisons.impostor.tolist() == [0.8, 1.2, 0.5, 0.7, 1.4, 1.0]
    assert found.comparisons.first.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.comparisons.second.tolist() == [1, 2, 0, 2, 0, 1]
