"""The image pyramid: scales an image and its windows by area averaging.

torch's `interpolate(mode="area")` is adaptive average pooling: pixel i of n, computed from
m pixels, is the mean of pixels floor(i*m/n) to ceil((i+1)*m/n). With an integral image
(summed-area table), each mean needs four look-ups at any scale.

The three colours are summed in one 64-bit number, 16 bits each, so one look-up serves all
three. The sums overflow, but the difference of two wrapped sums is correct if the sum of
the area fits into 16 bits: up to 257 pixels. Larger areas are read in parts.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

_PNET_SIDE = 12  # of P-Net's window, in pixels
_MAX_AREA = (2**16 - 1) // 255
# Rows per step, so that the data fit into the core's cache.
_ROWS = 64

Edges = NDArray[np.int64]
Sums = NDArray[np.int64]


def scales(height: int, width: int, min_face_size: int, factor: float) -> list[float]:
    """The scales of the image pyramid, the largest first."""
    scale = _PNET_SIDE / min_face_size
    shortest = min(height, width) * scale
    found = []
    while shortest >= _PNET_SIDE:
        found.append(scale)
        scale *= factor
        shortest *= factor
    return found


class AreaImage:
    """The integral image of an image."""

    def __init__(self, image: NDArray[np.uint8], previous: AreaImage | None = None) -> None:
        """Sum an (H, W, 3) uint8 image, in the memory of `previous` if the sizes are equal.

        `previous` must not be used afterwards. Allocating memory takes as long as summing,
        and the frames of a camera have one size.
        """
        self.height, self.width = image.shape[:2]
        shape = (self.height + 1, self.width + 1)
        reuses = previous is not None and previous._sums.shape == shape
        self._sums: Sums = previous._sums if previous and reuses else np.zeros(shape, "<i8")
        packed = np.zeros((_ROWS, self.width), "<i8")
        colours = _colours(packed)
        for top in range(0, self.height, _ROWS):
            rows = image[top : top + _ROWS]
            count = len(rows)
            for colour in range(3):
                colours[:count, :, colour] = rows[:, :, colour]
            _sum_up(packed[:count], self._sums[top : top + count + 1])

    def resized(self, height: int, width: int, rows: slice = slice(None)) -> NDArray[np.float32]:
        """The whole image as (3, height, width) float32, or only these rows of the result."""
        y0, y1 = (edges[rows] for edges in _bins(self.height, height))
        x0, x1 = _bins(self.width, width)
        tall, wide = _largest_part(y1 - y0, x1 - x0)
        columns = _cuts(x0, x1, wide)
        pixels = np.empty((3, len(y0), width), np.float32)
        for first in range(0, len(y0), _ROWS):
            rows = slice(first, first + _ROWS)
            parts = []
            for top, bottom in _cuts(y0[rows], y1[rows], tall):
                strip = self._sums[bottom]
                strip -= self._sums[top]
                parts += [strip.take(end, 1) - strip.take(begin, 1) for begin, end in columns]
            _average(parts, _weights((y1 - y0)[rows, None], x1 - x0), pixels[:, rows])
        return pixels

    def windows(self, boxes: Edges, size: int) -> NDArray[np.float32]:
        """The pixels of non-empty slices x0 y0 x1 y1, as (N, 3, size, size) float32.

        Fast for slices of similar sizes: one that is large makes all be read in parts.
        """
        x0, x1 = _window_bins(boxes[:, 0], boxes[:, 2], size)
        y0, y1 = _window_bins(boxes[:, 1], boxes[:, 3], size)
        tall, wide = _largest_part(y1 - y0, x1 - x0)
        stride = self.width + 1
        flat = self._sums.reshape(-1)
        parts = []
        above, below = (y0 * stride)[:, :, None], (y1 * stride)[:, :, None]
        for top, bottom in _cuts(above, below, tall, stride):
            for left, right in _cuts(x0[:, None, :], x1[:, None, :], wide):
                sums = flat.take(bottom + right)
                sums -= flat.take(bottom + left)
                sums -= flat.take(top + right)
                sums += flat.take(top + left)
                parts.append(sums)
        pixels = np.empty((3, len(boxes), size, size), np.float32)
        _average(parts, _weights((y1 - y0)[:, :, None], (x1 - x0)[:, None, :]), pixels)
        return np.moveaxis(pixels, 0, 1)


def _sum_up(packed: Sums, sums: Sums) -> None:
    """Fill sums[1:] from these rows; sums[0] is the sum of everything above them."""
    np.cumsum(packed, axis=1, out=sums[1:, 1:])
    for row in range(1, len(sums)):
        sums[row] += sums[row - 1]


def _colours(packed: Sums) -> NDArray[np.uint16]:
    """A view of packed numbers as their four 16-bit parts; the last is unused."""
    return packed.view("<u2").reshape(*packed.shape, 4)


def _average(parts: list[Sums], weights: NDArray[np.float32], pixels: NDArray[np.float32]) -> None:
    """Unpack the sums of each colour and average them; colour is the first axis of `pixels`."""
    for colour in range(3):
        pixels[colour] = _colours(parts[0])[..., colour]
        for part in parts[1:]:
            pixels[colour] += _colours(part)[..., colour]
    pixels *= weights


def _largest_part(heights: Edges, widths: Edges) -> tuple[int, int]:
    """The height and width of the largest parts of areas that do not overflow."""
    height, width = int(heights.max()), int(widths.max())
    if height * width <= _MAX_AREA:
        return height, width
    height = min(height, _MAX_AREA)
    return height, _MAX_AREA // height


def _cuts(begin: Edges, end: Edges, limit: int, unit: int = 1) -> list[tuple[Edges, Edges]]:
    """Ranges from begin to end, all cut into the same number of parts of at most `limit` units."""
    lengths = (end - begin) // unit
    count = -(-int(lengths.max()) // limit)
    edges = [begin + lengths * i // count * unit for i in range(count)]
    return list(itertools.pairwise([*edges, end]))


def _weights(heights: Edges, widths: Edges) -> NDArray[np.float32]:
    return (1 / heights).astype(np.float32) * (1 / widths).astype(np.float32)


def _bins(source: int, target: int) -> tuple[Edges, Edges]:
    index = np.arange(target, dtype=np.int64)
    return index * source // target, -(-(index + 1) * source // target)


def _window_bins(first: Edges, last: Edges, size: int) -> tuple[Edges, Edges]:
    length = (last - first)[:, None]
    index = np.arange(size, dtype=np.int64)
    begin = index * length // size
    end = -(-(index + 1) * length // size)
    return first[:, None] + begin, first[:, None] + end
