"""Detected faces, and arithmetic on bounding boxes as in facenet-pytorch's `detect_face`.

Arrays of boxes are (N, 4) float32: x0 y0 x1 y1 in pixels. Precision and rounding equal
the original's, because a box that is one pixel off gives another crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

_BLOCK = 128


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face, in pixels of its image.

    `box`: x0 y0 x1 y1; it may extend beyond the image, as MTCNN's boxes do.
    `landmarks`: x, y of the eyes, the nose and the corners of the mouth, the image's
    left before its right.
    """

    box: tuple[float, float, float, float]
    probability: float
    landmarks: tuple[tuple[float, float], ...]

    @property
    def area(self) -> float:
        """The area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


def largest(faces: list[Face], count: int) -> list[Face]:
    """The `count` faces with the largest boxes, left to right."""
    chosen = sorted(faces, key=lambda face: face.area, reverse=True)[:count]
    return sorted(chosen, key=lambda face: face.box[0])


def nms(boxes: Floats, scores: Floats, threshold: float, groups: Indices | None = None) -> Indices:
    """Non-maximum suppression: indices of the kept boxes, best first; `threshold` is an IoU.

    Equal to torchvision's `nms`; with `groups`, a number for each box, to that of each group,
    one after another.
    """
    groups = np.zeros(len(boxes), np.intp) if groups is None else groups
    best_first = np.lexsort((-scores, groups))
    return _suppressed(_sides(boxes, 0), best_first, threshold, _overlap_of_union, groups)


def nms_by_smaller(boxes: Floats, scores: Floats, threshold: float) -> Indices:
    """Like `nms`, with the intersection over the smaller area, and edges that count as pixels.

    The last of equal scores, which are frequent close to 1, is kept, as in the original.
    """
    best_first = np.argsort(scores)[::-1]
    groups = np.zeros(len(boxes), np.intp)
    return _suppressed(_sides(boxes, 1), best_first, threshold, _overlap_of_smaller, groups)


def _suppressed(
    sides: Floats,
    order: Indices,
    threshold: float,
    overlap: Callable[[Floats, Floats], Floats],
    groups: Indices,
) -> Indices:
    limit = np.float32(threshold)
    sides, groups = sides[:, order], groups[order]
    kept = [order[:0]]
    while order.size > 0:
        # First all pairs of a block, then the rest of its last group against the boxes of the
        # group that the block keeps.
        block, group = sides[:, :_BLOCK], groups[:_BLOCK]
        overlapping = overlap(block, block) > limit
        overlapping &= group[:, None] == group
        best = np.array(_greedy(overlapping))
        kept.append(order[best])
        order, sides, groups = order[_BLOCK:], sides[:, _BLOCK:], groups[_BLOCK:]
        count = int(np.searchsorted(groups, group[-1], "right"))
        if count > 0:
            some = block[:, best[group[best] == group[-1]]]
            left = np.ones(order.size, bool)
            left[:count] = ~(overlap(some, sides[:, :count]) > limit).any(axis=0)
            order, sides, groups = order[left], sides[:, left], groups[left]
    return np.concatenate(kept)


def differ_in_area(boxes: Floats, groups: Indices, threshold: float) -> bool:
    """Whether the IoU of boxes of different groups can't be larger than this, by their areas.

    The boxes are sorted by `groups`, which have larger boxes one after another. Two boxes
    overlap by at most the ratio of their areas.
    """
    areas = _sides(boxes, 0)[4]
    first = np.flatnonzero(np.diff(groups, prepend=-1))
    smallest, largest = np.minimum.reduceat(areas, first), np.maximum.reduceat(areas, first)
    # A little less, because areas are rounded.
    return bool((largest[:-1] < np.float32(threshold * 0.999) * smallest[1:]).all())


def _greedy(overlapping: NDArray[np.bool_]) -> list[int]:
    """The boxes that overlap none of those that are kept before them."""
    # One number of many bits for each box, because a step with numbers is much faster than
    # one with arrays.
    packed = np.packbits(overlapping, axis=1, bitorder="little")
    data, length = packed.tobytes(), packed.shape[1]
    kept, suppressed = [], 0
    for box in range(len(packed)):
        if not suppressed >> box & 1:
            kept.append(box)
            start = box * length
            suppressed |= int.from_bytes(data[start : start + length], "little")
    return kept


def iou(some: Floats, others: Floats) -> Floats:
    """(N, M) float32: intersection over union (IoU) of all pairs."""
    return _overlap_of_union(_sides(some, 0), _sides(others, 0))


def _sides(boxes: Floats, edge: int) -> Floats:
    """(5, N): x0, y0, x1, y1 and area; `edge` is added to width and height."""
    x0, y0, x1, y1 = boxes.T
    area = (x1 - x0 + np.float32(edge)) * (y1 - y0 + np.float32(edge))
    return np.stack([x0, y0, x1, y1, area])


def _overlap_of_union(some: Floats, others: Floats) -> Floats:
    """(N, M): intersection over union of `_sides`."""
    shared = _intersections(some, others, 0)
    both = some[4][:, None] + others[4]
    both -= shared
    with np.errstate(divide="ignore", invalid="ignore"):
        shared /= both
    return shared


def _overlap_of_smaller(some: Floats, others: Floats) -> Floats:
    """(N, M): intersection over the smaller area of `_sides`."""
    shared = _intersections(some, others, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shared /= np.minimum(some[4][:, None], others[4])
    return shared


def _intersections(some: Floats, others: Floats, edge: int) -> Floats:
    x0, y0, x1, y1 = some[:4, :, None]
    width = np.minimum(x1, others[2])
    width -= np.maximum(x0, others[0])
    height = np.minimum(y1, others[3])
    height -= np.maximum(y0, others[1])
    if edge:
        width += np.float32(edge)
        height += np.float32(edge)
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    shared: Floats = width
    return shared


def to_square(boxes: Floats) -> Floats:
    """Boxes extended to squares with the same centre."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    side = np.maximum(width, height)
    x0 = boxes[:, 0] + width * np.float32(0.5) - side * np.float32(0.5)
    y0 = boxes[:, 1] + height * np.float32(0.5) - side * np.float32(0.5)
    return np.stack([x0, y0, x0 + side, y0 + side], axis=1)


def refined(boxes: Floats, offsets: Floats, edge: int) -> Floats:
    """Boxes moved by a network's offsets, which are relative to width and height plus `edge`."""
    width = boxes[:, 2] - boxes[:, 0] + np.float32(edge)
    height = boxes[:, 3] - boxes[:, 1] + np.float32(edge)
    moved: Floats = boxes + offsets * np.stack([width, height, width, height], axis=1)
    return moved


def clipped(boxes: Floats, width: int, height: int) -> NDArray[np.int64]:
    """Whole-pixel slices [x0:x1, y0:y1] of an image, equal to those of the original's `pad`.

    The slice starts one pixel before the box, and may be empty.
    """
    whole = np.trunc(boxes).astype(np.int64)
    whole[:, :2] = np.maximum(whole[:, :2], 1) - 1
    whole[:, 2] = np.minimum(whole[:, 2], width)
    whole[:, 3] = np.minimum(whole[:, 3], height)
    return whole
