"""Error rates and thresholds from known distances, with exact answers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from facectl.errors import GalleryError
from facectl.gallery import statistics
from facectl.gallery.statistics import (
    Scores,
    calibrate,
    curve,
    equal_error,
    leave_one_out,
    pick,
    rates,
)

NAN = np.nan


def scores(genuine: list[float], impostor: list[list[float]], people: list[int]) -> Scores:
    """Scores of a gallery in which every distance is kept."""
    own, others = np.array(genuine), np.array(impostor)
    rank = 1 + np.sum(others < own[:, None], axis=1)
    nearest = np.nanmin(others, axis=1)
    return Scores(own, others, nearest, rank, np.array(people), others.shape[1])


FOUR = scores(
    [0.2, 0.3, 0.9, NAN],
    [[NAN, 0.8, 1.2], [NAN, 1.0, 1.1], [1.3, NAN, 0.7], [1.4, 1.0, NAN]],
    [0, 0, 1, 2],
)


def test_rates_are_shares() -> None:
    found = rates(FOUR, 0.85)
    assert found.far == pytest.approx(2 / 8)
    assert found.frr == pytest.approx(1 / 3)
    # Two of the four probes have somebody else within the threshold.
    assert found.fpir == pytest.approx(2 / 4)


def test_a_distance_equal_to_the_threshold_is_accepted() -> None:
    assert rates(FOUR, 0.7).far == pytest.approx(1 / 8)
    assert rates(FOUR, 0.9).frr == 0


def test_the_equal_error_rate() -> None:
    separable = scores([0.1, 0.2], [[NAN, 0.9], [0.8, NAN]], [0, 1])
    assert equal_error(separable)[0] == 0
    assert 0.2 <= equal_error(separable)[1] < 0.8
    mixed = scores([0.1, 0.3, 0.5, 0.9], [[NAN, 0.4], [0.6, NAN], [NAN, 0.8], [1.0, NAN]],
                   [0, 1, 0, 1])  # fmt: skip
    eer, threshold = equal_error(mixed)
    assert (eer, threshold) == (0.25, 0.5)


def test_the_middle_of_equally_good_thresholds_is_picked() -> None:
    separable = scores([0.1, 0.2], [[NAN, 0.9], [0.8, NAN]], [0, 1])
    assert pick(separable, far=0.0) == pytest.approx(0.5)


def test_the_false_accept_rate_bounds_the_threshold() -> None:
    threshold = pick(FOUR, far=0.0)
    assert rates(FOUR, threshold).far == 0
    assert threshold == pytest.approx((0.3 + 0.7) / 2)
    looser = pick(FOUR, far=0.25)
    assert rates(FOUR, looser).far <= 0.25
    assert rates(FOUR, looser).frr < rates(FOUR, threshold).frr


def test_curves_start_at_far_0_and_end_at_frr_0() -> None:
    thresholds, far, frr = curve(FOUR)
    assert (far[0], frr[0]) == (0, 1)
    assert frr[-1] == 0
    assert np.all(np.diff(thresholds) > 0)
    assert np.all(np.diff(far) >= 0)
    assert np.all(np.diff(frr) <= 0)


def unit(*values: float) -> np.ndarray:
    vector = np.zeros(512, np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


def test_each_reference_is_compared_with_all_others_but_not_itself() -> None:
    names = ["Ada", "Ada", "Bob"]
    rows = np.stack([unit(1), unit(0, 1), unit(0, 0, 1)])
    found = leave_one_out(names, rows, "euclidean", "best")
    np.testing.assert_allclose(found.genuine, [np.sqrt(2), np.sqrt(2), NAN], rtol=1e-6)
    np.testing.assert_allclose(
        found.impostor, [[NAN, np.sqrt(2)], [NAN, np.sqrt(2)], [np.sqrt(2), NAN]], rtol=1e-6
    )
    assert found.people.tolist() == [0, 0, 1]
    cosine = leave_one_out(names, rows, "cosine", "best")
    np.testing.assert_allclose(cosine.own, [1, 1], rtol=1e-6)


def test_matching_uses_the_nearest_photograph_or_the_mean() -> None:
    names = ["Ada", "Ada", "Bob"]
    rows = np.stack([unit(1), unit(0, 1), unit(1, 0.1)])
    best = leave_one_out(names, rows, "cosine", "best").impostor[2, 0]
    mean = leave_one_out(names, rows, "cosine", "centroid").impostor[2, 0]
    assert best == pytest.approx(1 - 1 / np.sqrt(1.01), abs=1e-5)
    assert mean == pytest.approx(1 - 1.1 / np.sqrt(2.02), abs=1e-5)


def crowd(people: int, photographs: int, spread: float) -> tuple[list[str], np.ndarray]:
    random = np.random.default_rng(0)
    faces = random.standard_normal((people, 512))
    rows = np.repeat(faces, photographs, axis=0)
    rows += spread * random.standard_normal(rows.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [f"p{i:04}" for i in range(people) for _ in range(photographs)], rows.astype(np.float32)


def test_well_separated_people_calibrate_without_errors() -> None:
    found = calibrate(leave_one_out(*crowd(20, 3, 0.5), "euclidean", "best"), far=0.001)
    assert (found.eer, found.validated.far, found.validated.frr) == (0, 0, 0)
    assert found.scores.own.max() < found.chosen.threshold < found.scores.others.min()
    assert len(found.folds) == 5
    assert (found.genuine, found.impostor) == (60, 60 * 19)


def test_the_same_gallery_gives_the_same_threshold() -> None:
    measured = leave_one_out(*crowd(10, 2, 1.5), "euclidean", "best")
    assert calibrate(measured, far=0.01).folds == calibrate(measured, far=0.01).folds


def test_large_galleries_are_sampled_from_people_with_two_photographs() -> None:
    names, rows = crowd(3000, 1, 0.5)
    more, again = crowd(100, 2, 0.5)
    found = leave_one_out(
        names + [f"q{name}" for name in more], np.concatenate([rows, again]), "euclidean", "best"
    )
    assert len(found.own) == 200


def test_a_large_gallery_keeps_some_distances_and_every_rank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, rows = crowd(20, 2, 4)
    every = leave_one_out(names, rows, "cosine", "best")
    monkeypatch.setattr(statistics, "_MAX_DISTANCES", 300)
    some = leave_one_out(names, rows, "cosine", "best")
    # 40 probes and 20 people: every third person is 280 distances.
    assert (some.step, some.enrolled, some.impostor.shape) == (3, 20, (40, 7))
    np.testing.assert_array_equal(some.impostor, every.impostor[:, ::3])
    for field in ("genuine", "nearest_other", "rank", "people"):
        np.testing.assert_array_equal(getattr(some, field), getattr(every, field))
    assert every.rank.max() > 1
    # The FPIR that an FAR becomes is that of the whole gallery.
    assert calibrate(some, far=0.01).people == 20


def test_the_memory_of_a_large_gallery_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_MAX_PROBES", 200)
    monkeypatch.setattr(statistics, "_MAX_DISTANCES", 40_000)
    people = 15_000
    names = [f"p{i // 2:05}" for i in range(2 * people)]
    rows = np.random.default_rng(0).standard_normal((2 * people, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    tracemalloc.start()
    try:
        found = calibrate(leave_one_out(names, rows, "euclidean", "best"), far=0.01)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.people == people
    # Every distance would be 24 MB, and the bootstrap's draws of everybody 120 MB.
    assert peak < 20e6


@pytest.mark.parametrize("photographs", [[1, 1, 1], [2, 1, 1]])
def test_calibration_needs_people_with_two_photographs(photographs: list[int]) -> None:
    names = [f"p{i}" for i, count in enumerate(photographs) for _ in range(count)]
    measured = leave_one_out(names, np.eye(len(names), 512, dtype=np.float32), "euclidean", "best")
    with pytest.raises(GalleryError, match="more than one photograph") as caught:
        calibrate(measured, far=0.001)
    assert "second photograph" in (caught.value.hint or "")
