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


def nms(boxes: Floats, scores: Floats, threshold: float) -> Indices:
    """Non-maximum suppression: indices of the kept boxes, best first; `threshold` is an IoU.

    Equal to torchvision's `nms`.
    """
    best_first = np.argsort(-scores, kind="stable")
    return _suppressed(boxes, best_first, threshold, iou)


def nms_by_smaller(boxes: Floats, scores: Floats, threshold: float) -> Indices:
    """Like `nms`, with the intersection over the smaller area, and edges that count as pixels.

    The last of equal scores, which are frequent close to 1, is kept, as in the original.
    """
    best_first = np.argsort(scores)[::-1]
    return _suppressed(boxes, best_first, threshold, _overlap_of_smaller)


def _suppressed(
    boxes: Floats, order: Indices, threshold: float, overlap: Callable[[Floats, Floats], Floats]
) -> Indices:
    limit = np.float32(threshold)
    kept: list[Indices] = []
    while order.size > 0:
        # First all pairs of a block, then the rest against the boxes that the block keeps.
        block, rest = order[:_BLOCK], order[_BLOCK:]
        overlaps = np.triu(overlap(boxes[block], boxes[block]) > limit, 1)
        alive = np.ones(len(block), dtype=bool)
        for index in np.flatnonzero(overlaps.any(axis=1)):
            if alive[index]:
                alive[overlaps[index]] = False
        selected = block[alive]
        kept.append(selected)
        if rest.size > 0:
            rest = rest[~(overlap(boxes[selected], boxes[rest]) > limit).any(axis=0)]
        order = rest
    return np.concatenate(kept) if kept else np.empty(0, np.intp)


def iou(some: Floats, others: Floats) -> Floats:
    """(N, M) float32: intersection over union (IoU) of all pairs."""
    shared = _intersections(some, others, 0)
    both = _areas(some, 0)[:, None] + _areas(others, 0)
    both -= shared
    with np.errstate(divide="ignore", invalid="ignore"):
        shared /= both
    return shared


def _overlap_of_smaller(some: Floats, others: Floats) -> Floats:
    """(N, M): intersection over the smaller area."""
    shared = _intersections(some, others, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shared /= np.minimum(_areas(some, 1)[:, None], _areas(others, 1))
    return shared


def _intersections(some: Floats, others: Floats, edge: int) -> Floats:
    width = np.minimum(some[:, 2, None], others[:, 2]) - np.maximum(some[:, 0, None], others[:, 0])
    height = np.minimum(some[:, 3, None], others[:, 3]) - np.maximum(some[:, 1, None], others[:, 1])
    if edge:
        width += np.float32(edge)
        height += np.float32(edge)
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    return width


def _areas(boxes: Floats, edge: int) -> Floats:
    sides = boxes[:, 2:] - boxes[:, :2] + np.float32(edge)
    areas: Floats = sides[:, 0] * sides[:, 1]
    return areas


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
