"""Incremental density clustering, 2-means and representatives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from facectl.gallery.changes import EmbeddingSpace
from facectl.strangers.grouping import (
    CORE,
    Grouping,
    halves,
    neighbour_distance,
    representatives,
)

DISTANCE = 0.8


def grouping(**options: object) -> Grouping:
    numbers = itertools.count(1)
    return Grouping(DISTANCE, lambda: next(numbers), **options)  # type: ignore[arg-type]


def at(*angles: float) -> np.ndarray:
    """Vectors in one plane; neighbours are at most 47 degrees apart."""
    radians = np.radians(angles)
    vectors = np.zeros((len(angles), 512), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(radians), np.sin(radians)
    return vectors


def crowd(people: int, faces: int, *, spread: float, seed: int = 1) -> np.ndarray:
    """Faces of people, one person after the other, each `spread` from its person's mean."""
    random = np.random.default_rng(seed)
    means = random.standard_normal((people, 512)).astype(np.float32)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    noise = random.standard_normal((people * faces, 512)).astype(np.float32)
    noise *= spread / np.linalg.norm(noise, axis=1, keepdims=True)
    found = np.repeat(means, faces, axis=0) + noise
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def groups_of(found: Grouping, embeddings: np.ndarray, *, batch: int = 1) -> list[int]:
    """The group of each face after all were added in batches, 0 for none."""
    groups = dict.fromkeys(range(len(embeddings)), 0)
    for start in range(0, len(embeddings), batch):
        ids = list(range(start, min(start + batch, len(embeddings))))
        groups.update(found.add(ids, embeddings[ids]).groups)
    return list(groups.values())


def test_three_faces_are_a_group_and_two_are_not() -> None:
    found = grouping()
    assert found.add([10, 11], at(0, 10)).groups == {}
    assert found.add([12], at(20)).groups == {10: 1, 11: 1, 12: 1}


def test_a_face_at_the_border_joins_the_nearest_core_and_extends_nothing() -> None:
    # 60 is a neighbour of 20 only, so it is no core, and 110 is too far from every core.
    assert groups_of(grouping(), at(0, 10, 20, 60, 110)) == [1, 1, 1, 1, 0]


def test_a_group_is_found_whatever_the_order() -> None:
    for order in itertools.permutations([0.0, 10.0, 20.0, 60.0]):
        assert groups_of(grouping(), at(*order)) == [1, 1, 1, 1], order


def test_people_are_kept_apart_one_by_one_and_in_blocks() -> None:
    embeddings = crowd(people=12, faces=30, spread=0.45)
    shuffled = np.random.default_rng(2).permutation(len(embeddings))
    people = shuffled // 30
    for batch in (1, 7, 300):
        groups = np.array(groups_of(grouping(), embeddings[shuffled], batch=batch))
        assert groups.min() >= 1
        pairs = set(zip(people.tolist(), groups.tolist(), strict=True))
        assert len(pairs) == 12
        assert len({group for _, group in pairs}) == 12


def two_close_groups(**options: object) -> Grouping:
    found = grouping(**options)
    assert groups_of(found, at(0, 1, 2, 90, 91, 92)) == [1, 1, 1, 2, 2, 2]
    return found


def test_one_face_between_groups_merges_them_only_with_enough_neighbours_in_both() -> None:
    # 45.5 has three core neighbours on both sides, 47 sees only two on the left.
    assert two_close_groups().add([9], at(45.5)).merged == {2: 1}
    few = grouping()
    groups_of(few, at(0, 1, 2, 90, 91, 92))
    changed = few.add([9], at(48.5))
    assert changed.merged == {}
    assert changed.groups == {9: 2}


def test_merging_two_groups_leaves_a_third_one_alone() -> None:
    found = two_close_groups()
    assert found.add([6, 7, 8], at(200, 201, 202)).groups == {6: 3, 7: 3, 8: 3}
    changed = found.add([9], at(45.5))
    assert changed.merged == {2: 1}
    assert {face: group for face, group in changed.groups.items() if group != 1} == {}
    assert found.add([10], at(203)).groups == {10: 3}


def test_a_face_joins_the_group_of_most_neighbours_not_of_the_nearest() -> None:
    found = grouping()
    assert groups_of(found, at(0, 1, 2, 70, 115, 116)) == [1, 1, 1, 2, 2, 2]
    # Three neighbours in the first group, one in the second that is nearer.
    assert found.add([9], at(46.5)).groups == {9: 1}


def test_a_discarded_face_is_nobodys_neighbour() -> None:
    found = grouping()
    found.add([1, 2], at(0, 1))
    found.discard([1, 2, 77])
    changed = found.add([3], at(2))
    assert (changed.groups, changed.counts) == ({}, {3: 1})


def test_groups_that_must_not_merge_stay_apart() -> None:
    apart = two_close_groups(can_merge=lambda _one, _other: False)
    assert apart.add([9], at(45.5)).merged == {}


def test_a_loaded_grouping_continues() -> None:
    embeddings = at(0, 10, 20, 30)
    whole = grouping()
    expected = groups_of(whole, embeddings)
    for known in range(4):
        first = grouping()
        groups, counts = dict.fromkeys(range(known), 0), dict.fromkeys(range(known), 0)
        for face in range(known):
            changed = first.add([face], embeddings[face : face + 1])
            groups.update(changed.groups)
            counts.update(changed.counts)
        second = grouping()
        second.load(list(groups), embeddings[:known], list(groups.values()), list(counts.values()))
        for face in range(known, 4):
            groups.update(second.add([face], embeddings[face : face + 1]).groups)
        assert list(groups.values()) == expected, known


def test_counts_end_at_the_core_so_that_large_groups_cost_no_writes() -> None:
    found = grouping()
    for face in range(20):
        changed = found.add([face], at(face))
        assert len(changed.counts) <= CORE
        assert max(changed.counts.values()) <= CORE


@pytest.mark.parametrize(
    ("model", "expected"), [("casia-webface-facenet", 0.8175), ("other-facenet", 0.75)]
)
def test_the_distance_is_a_share_of_the_threshold_of_the_space(model: str, expected: float) -> None:
    assert neighbour_distance(EmbeddingSpace("0/facenet", model=model)) == pytest.approx(expected)


def test_halves_are_the_two_people() -> None:
    embeddings = crowd(people=2, faces=9, spread=0.6)
    order = np.random.default_rng(3).permutation(18)
    side = halves(embeddings[order])
    assert len({(bool(half), face // 9) for half, face in zip(side, order, strict=True)}) == 2


def test_every_face_is_most_like_its_own_half() -> None:
    for seed in range(20):
        embeddings = crowd(people=4, faces=6, spread=0.9, seed=seed)
        side = halves(embeddings)
        centers = [embeddings[side == half].mean(axis=0) for half in (False, True)]
        first, second = (embeddings @ (center / np.linalg.norm(center)) for center in centers)
        assert ((second > first) == side).all(), seed


@pytest.mark.parametrize("count", [2, 3, 8])
def test_equal_faces_have_two_halves_too(count: int) -> None:
    side = halves(at(*[5] * count))
    assert 0 < side.sum() < count


def test_representatives_are_good_and_differ() -> None:
    embeddings = at(0, 1, 2, 40, 3, 80)
    # The last one differs most and is bad.
    chosen = representatives(embeddings, [0.9, 0.8, 0.7, 0.6, 0.1, 0.0], 2)
    assert chosen == [0, 2]
    assert representatives(embeddings, [0.9, 0.1, 0.2, 0.8, 0.7, 0.0], 2) == [0, 3]
    assert representatives(at(0), [0.5], 5) == [0]
    # Of five, the better half is three.
    assert representatives(at(0, 1, 60, 70, 80), [0.9, 0.8, 0.7, 0.6, 0.5], 2) == [0, 2]
