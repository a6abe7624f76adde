"""Shrinking by area: the image at every scale, and the candidates' pixels.

torch's `interpolate(mode="area")` is adaptive average pooling: pixel i of n out
of m is the mean of pixels floor(i*m/n) to ceil((i+1)*m/n). With an integral
image every such mean is four look-ups, whatever the scale.

The three colours are summed in one 64-bit number, 16 bits each, so that one
look-up serves all three. The sums themselves overflow, but a difference of two
wrapped sums is right as long as the area's own sum fits: up to 257 pixels,
beyond which an area is read in strips.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 12  # the side of P-Net's window, in pixels
_MAX_AREA = (2**16 - 1) // 255
# Rows at a time: what is worked on stays in the core's own cache.
_ROWS = 16
_WINDOWS = 32

Edges = NDArray[np.int64]
Sums = NDArray[np.int64]


def scales(height: int, width: int, min_face_size: int, factor: float) -> list[float]:
    """The scales at which P-Net looks at an image, the finest first."""
    scale = _SMALLEST / min_face_size
    shortest = min(height, width) * scale
    found = []
    while shortest >= _SMALLEST:
        found.append(scale)
        scale *= factor
        shortest *= factor
    return found


class AreaImage:
    """An image whose areas can be averaged quickly."""

    def __init__(self, image: NDArray[np.uint8], previous: AreaImage | None = None) -> None:
        """Sum up an (H, W, 3) uint8 image, in the memory of a previous one of that size.

        The previous one must not be used any more. New memory costs as much
        as the sums themselves, and the frames of one camera have one size.
        """
        self.height, self.width = image.shape[:2]
        shape = (self.height + 1, self.width + 1)
        again = previous is not None and previous._sums.shape == shape
        self._sums: Sums = previous._sums if previous and again else np.zeros(shape, "<i8")
        packed = np.zeros((_ROWS, self.width), "<i8")
        colours = _colours(packed)
        for top in range(0, self.height, _ROWS):
            rows = image[top : top + _ROWS]
            count = len(rows)
            for colour in range(3):
                colours[:count, :, colour] = rows[:, :, colour]
            _sum_up(packed[:count], self._sums[top : top + count + 1])

    def resized(self, height: int, width: int) -> NDArray[np.float32]:
        """The whole image as (3, height, width) float32."""
        y0, y1 = _bins(self.height, height)
        x0, x1 = _bins(self.width, width)
        tall, wide = _largest_part(y1 - y0, x1 - x0)
        columns = _cuts(x0, x1, wide)
        pixels = np.empty((3, height, width), np.float32)
        for first in range(0, height, _ROWS):
            rows = slice(first, first + _ROWS)
            parts = []
            for top, bottom in _cuts(y0[rows], y1[rows], tall):
                strip = self._sums[bottom]
                strip -= self._sums[top]
                parts += [strip.take(end, 1) - strip.take(begin, 1) for begin, end in columns]
            _average(parts, _share((y1 - y0)[rows, None], x1 - x0), pixels[:, rows])
        return pixels

    def windows(self, boxes: Edges, size: int) -> NDArray[np.float32]:
        """Slices x0 y0 x1 y1 that are not empty, as (N, 3, size, size) float32."""
        pixels = np.empty((len(boxes), 3, size, size), np.float32)
        # Large ones have to be read in parts, so they are kept to themselves.
        order = np.argsort(boxes[:, 2] - boxes[:, 0])
        for first in range(0, len(boxes), _WINDOWS):
            some = order[first : first + _WINDOWS]
            pixels[some] = self._cut(boxes[some], size)
        return pixels

    def _cut(self, boxes: Edges, size: int) -> NDArray[np.float32]:
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
        _average(parts, _share((y1 - y0)[:, :, None], (x1 - x0)[:, None, :]), pixels)
        return np.moveaxis(pixels, 0, 1)


def _sum_up(packed: Sums, sums: Sums) -> None:
    """Fill sums[1:] from these rows, where sums[0] holds everything above them."""
    np.cumsum(packed, axis=1, out=sums[1:, 1:])
    for row in range(1, len(sums)):
        sums[row] += sums[row - 1]


def _colours(packed: Sums) -> NDArray[np.uint16]:
    """A view of packed numbers as their four parts, of which the last is unused."""
    return packed.view("<u2").reshape(*packed.shape, 4)


def _average(parts: list[Sums], share: NDArray[np.float32], pixels: NDArray[np.float32]) -> None:
    """Unpack the sums of each colour and average them; colour is the first axis of `pixels`."""
    for colour in range(3):
        pixels[colour] = _colours(parts[0])[..., colour]
        for part in parts[1:]:
            pixels[colour] += _colours(part)[..., colour]
    pixels *= share


def _largest_part(heights: Edges, widths: Edges) -> tuple[int, int]:
    """The height and width in which areas of these sizes can be read without overflow."""
    height, width = int(heights.max()), int(widths.max())
    if height * width <= _MAX_AREA:
        return height, width
    height = min(height, _MAX_AREA)
    return height, _MAX_AREA // height


def _cuts(begin: Edges, end: Edges, most: int, unit: int = 1) -> list[tuple[Edges, Edges]]:
    """Every range from begin to end in as many parts, none longer than `most` units."""
    lengths = (end - begin) // unit
    count = -(-int(lengths.max()) // most)
    edges = [begin + lengths * i // count * unit for i in range(count)]
    return list(itertools.pairwise([*edges, end]))


def _share(heights: Edges, widths: Edges) -> NDArray[np.float32]:
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
