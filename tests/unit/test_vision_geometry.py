"""Boxes and areas, compared with simple implementations of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_src.vision import boxes as geometry
from lambda_src.vision.pyramid import AreaImage, scales


def plain_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Adaptive average pooling by its definition, as (3, height, width)."""
    rows, columns = image.shape[:2]
    found = np.empty((3, height, width))
    for i in range(height):
        for j in range(width):
            y0, y1 = i * rows // height, math.ceil((i + 1) * rows / height)
            x0, x1 = j * columns // width, math.ceil((j + 1) * columns / width)
            found[:, i, j] = image[y0:y1, x0:x1].mean(axis=(0, 1))
    return found


def windows(area: AreaImage, boxes: np.ndarray, size: int) -> np.ndarray:
    found = np.full((len(boxes), 3, size, size), np.nan, np.float32)
    area.windows(boxes, found)
    return found


def exact_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same with the detector's roundings: of an exact sum times two rounded shares."""
    rows, columns = image.shape[:2]
    found = np.empty((3, height, width), np.float32)
    for i in range(height):
        for j in range(width):
            y0, y1 = i * rows // height, math.ceil((i + 1) * rows / height)
            x0, x1 = j * columns // width, math.ceil((j + 1) * columns / width)
            total = image[y0:y1, x0:x1].sum(axis=(0, 1)).astype(np.float32)
            found[:, i, j] = total * (np.float32(1 / (y1 - y0)) * np.float32(1 / (x1 - x0)))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(1, 30), st.integers(1, 30), st.integers(0)
)
def test_resizing_is_adaptive_average_pooling(
    rows: int, columns: int, height: int, width: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    found = AreaImage(image).resized(height, width)
    assert found.dtype == np.float32
    assert np.abs(found - plain_area(image, height, width)).max() < 1e-3
    assert np.array_equal(found, exact_area(image, height, width))
    some = slice(height // 3, height // 3 + 7)
    assert np.array_equal(AreaImage(image).resized(height, width, some), found[:, some])


@settings(max_examples=40, deadline=None)
@given(st.integers(0), st.integers(1, 12))
def test_windows_are_equal_to_the_bit_to_resized_slices(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (60, 330, 3), dtype=np.uint8)
    corner = random.integers(0, [329, 59], (count, 2))
    # Some are so wide that they are read in parts.
    end = random.integers(corner + 1, [331, 61])
    boxes = np.concatenate([corner, end], axis=1)
    for (x0, y0, x1, y1), window in zip(boxes, windows(AreaImage(image), boxes, 8), strict=True):
        assert np.array_equal(window, exact_area(image[y0:y1, x0:x1], 8, 8))


@pytest.mark.parametrize("shape", [(700, 40), (40, 700), (300, 300)])
def test_areas_whose_sums_would_overflow(shape: tuple[int, int]) -> None:
    white = np.full((*shape, 3), 255, np.uint8)
    area = AreaImage(white)
    assert np.abs(area.resized(2, 3) - 255).max() < 1e-3
    whole = np.array([[0, 0, shape[1], shape[0]]])
    assert np.abs(windows(area, whole, 2) - 255).max() < 1e-3


def test_windows_are_resized_slices() -> None:
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    corner = random.integers(0, 80, (50, 2))
    boxes = np.concatenate([corner, corner + random.integers(1, 40, (50, 2))], axis=1)
    found = windows(AreaImage(image), boxes, 24)
    for (x0, y0, x1, y1), window in zip(boxes, found, strict=True):
        assert np.abs(window - plain_area(image[y0:y1, x0:x1], 24, 24)).max() < 1e-3


def test_memory_is_reused_for_an_image_of_the_same_size() -> None:
    random = np.random.default_rng(4)
    first, second = random.integers(0, 256, (2, 50, 60, 3), dtype=np.uint8)
    area = AreaImage(second, AreaImage(first))
    assert np.array_equal(area.resized(20, 30), AreaImage(second).resized(20, 30))
    other = AreaImage(second[:40], AreaImage(first))
    assert np.array_equal(other.resized(20, 30), AreaImage(second[:40]).resized(20, 30))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (11, 11), (1, 5000), (19, 640)])
def test_images_smaller_than_a_face_have_no_scale(height: int, width: int) -> None:
    assert scales(height, width, 20, 0.709) == []


def test_the_smallest_scale_has_one_window() -> None:
    found = scales(360, 640, 20, 0.709)
    assert found[0] == 0.6
    assert len(found) == 9
    assert 360 * found[-1] >= 12 > 360 * found[-1] * 0.709


def plain_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    left = sorted(range(len(boxes)), key=lambda i: (-scores[i], i))
    kept: list[int] = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if not plain_overlap(boxes[best], boxes[i]) > threshold]
    return kept


def plain_overlap(a: np.ndarray, b: np.ndarray) -> float:
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / whole


@pytest.mark.parametrize("count", [0, 1, 2, 30, 700])
def test_nms(count: int) -> None:
    random = np.random.default_rng(count)
    corner = random.integers(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + random.integers(5, 30, (count, 2))], 1)
    boxes = boxes.astype(np.float32)
    scores = random.uniform(0, 1, count).astype(np.float32).round(2)
    for threshold in (0.3, 0.5, 0.7):
        found = geometry.nms(boxes, scores, threshold)
        assert found.tolist() == plain_nms(boxes, scores, threshold)


@settings(max_examples=60, deadline=None)
@given(st.integers(0), st.lists(st.integers(0, 200), min_size=1, max_size=5))
def test_nms_of_groups_is_that_of_each_group(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    corner = random.integers(0, 60, (len(groups), 2))
    boxes = np.concatenate([corner, corner + random.integers(5, 30, (len(groups), 2))], 1)
    boxes = boxes.astype(np.float32)
    scores = random.uniform(0, 1, len(groups)).astype(np.float32).round(2)
    expected: list[int] = []
    for group in range(len(sizes)):
        places = np.flatnonzero(groups == group)
        expected += places[plain_nms(boxes[places], scores[places], 0.5)].tolist()
    assert geometry.nms(boxes, scores, 0.5, groups).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.integers(0), st.floats(1.0, 2.0))
def test_boxes_that_differ_in_area_overlap_by_at_most_the_threshold(
    seed: int, growth: float
) -> None:
    random = np.random.default_rng(seed)
    groups = np.sort(random.integers(0, 4, 30))
    side = 20 * growth ** groups[:, None] + random.integers(-1, 2, (30, 2))
    corner = random.integers(0, 8, (30, 2))
    boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
    if geometry.differ_in_area(boxes, groups, 0.7):
        overlaps = geometry.iou(boxes, boxes)
        assert overlaps[groups[:, None] != groups].max(initial=0) <= np.float32(0.7)


@pytest.mark.parametrize(("growth", "differ"), [(1.0, False), (1.1, False), (1.3, True)])
def test_groups_differ_in_area_if_each_is_larger_than_the_last(growth: float, differ: bool) -> None:
    side = 100 * growth ** np.arange(3)
    boxes = np.stack([0 * side, 0 * side, side, side], axis=1).astype(np.float32)
    assert geometry.differ_in_area(boxes, np.arange(3), 0.7) is differ
    assert geometry.differ_in_area(boxes[:1], np.arange(1), 0.7)
    assert geometry.differ_in_area(boxes[:0], np.arange(0), 0.7)


def test_nms_by_smaller_counts_edges_as_pixels_and_keeps_the_last_of_equals() -> None:
    boxes = np.array([[0, 0, 99, 99], [10, 10, 19, 19], [0, 0, 99, 98]], np.float32)
    scores = np.array([0.9, 0.8, 0.9], np.float32)
    assert geometry.nms_by_smaller(boxes, scores, 0.7).tolist() == [2]
    apart = np.array([[0, 0, 9, 9], [7, 0, 16, 9]], np.float32)
    assert geometry.nms_by_smaller(apart, scores[:2], 0.7).tolist() == [0, 1]


def test_empty_boxes_do_not_warn() -> None:
    flat = np.zeros((3, 4), np.float32)
    with np.errstate(all="raise"):
        assert len(geometry.nms(flat, np.ones(3, np.float32), 0.5)) == 3


def test_squares_keep_their_centre() -> None:
    found = geometry.to_square(np.array([[10, 20, 30, 60]], np.float32))
    assert found.tolist() == [[0, 20, 40, 60]]


def test_slices_stay_inside_the_image() -> None:
    boxes = np.array([[-5.5, 3.9, 700, 20.2], [50, 50, 40, 40]], np.float32)
    assert geometry.clipped(boxes, 640, 360).tolist() == [[0, 2, 640, 20], [49, 49, 40, 40]]
