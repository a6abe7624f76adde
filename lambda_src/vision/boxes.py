"""Arithmetic on boxes, as facenet-pytorch's `detect_face` does it.

Boxes are (N, 4) float32 of x0 y0 x1 y1 in pixels. Precision and rounding follow
the original, because a box that falls one pixel to the side is another crop.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


def non_maximum(boxes: Floats, scores: Floats, threshold: float) -> Indices:
    """Which boxes stay where no two may overlap by more than `threshold` (IoU), best first.

    The same choice as torchvision's `nms`.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return _suppress(boxes, areas, scores, threshold, whole_pixels=False)


def non_maximum_of_smaller(boxes: Floats, scores: Floats, threshold: float) -> Indices:
    """The same, with the overlap as a share of the smaller box and edges counted as pixels."""
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    return _suppress(boxes, areas, scores, threshold, whole_pixels=True)


def _suppress(
    boxes: Floats, areas: Floats, scores: Floats, threshold: float, *, whole_pixels: bool
) -> Indices:
    order = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = boxes.T
    edge = np.float32(1 if whole_pixels else 0)
    kept: list[np.intp] = []
    while order.size > 0:
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest]) + edge
        height = np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest]) + edge
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        if whole_pixels:
            whole = np.minimum(areas[best], areas[rest])
        else:
            whole = areas[best] + areas[rest] - shared
        order = rest[~(shared > np.float32(threshold) * whole)]
    return np.array(kept, dtype=np.intp)


def squared(boxes: Floats) -> Floats:
    """Boxes widened to squares around the same centre."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    side = np.maximum(width, height)
    x0 = boxes[:, 0] + width * np.float32(0.5) - side * np.float32(0.5)
    y0 = boxes[:, 1] + height * np.float32(0.5) - side * np.float32(0.5)
    return np.stack([x0, y0, x0 + side, y0 + side], axis=1)


def refined(boxes: Floats, offsets: Floats, edge: int) -> Floats:
    """Boxes moved by a network's offsets, given as shares of width and height plus `edge`."""
    width = boxes[:, 2] - boxes[:, 0] + np.float32(edge)
    height = boxes[:, 3] - boxes[:, 1] + np.float32(edge)
    moved: Floats = boxes + offsets * np.stack([width, height, width, height], axis=1)
    return moved


def clipped(boxes: Floats, width: int, height: int) -> NDArray[np.int64]:
    """Whole-pixel slices [x0:x1, y0:y1] of an image, as the original's `pad` makes them.

    The first pixel is one before the box's, and slices may be empty.
    """
    whole = np.trunc(boxes).astype(np.int64)
    whole[:, :2] = np.maximum(whole[:, :2], 1) - 1
    whole[:, 2] = np.minimum(whole[:, 2], width)
    whole[:, 3] = np.minimum(whole[:, 3], height)
    return whole
