"""Shrinking by area: the image at every scale, and the candidates' pixels.

torch's `interpolate(mode="area")` is adaptive average pooling: pixel i of n out
of m is the mean of pixels floor(i*m/n) to ceil((i+1)*m/n). With an integral
image every such mean is four look-ups, whatever the scale.

The three colours are summed in one 64-bit number, 21 bits each, so that one
look-up serves all three. The sums themselves overflow, but a difference of two
wrapped sums is right as long as the area's own sum fits: up to 8,224 pixels,
beyond which an area is read in strips.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 12  # the side of P-Net's window, in pixels
_BITS = 21
_MASK = (1 << _BITS) - 1
_MAX_AREA = _MASK // 255
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
        self._sums: Sums = previous._sums if previous and again else np.zeros(shape, np.int64)
        packed = np.empty((_ROWS, self.width), np.int64)
        for top in range(0, self.height, _ROWS):
            rows = image[top : top + _ROWS]
            _sum_rows(rows, packed[: len(rows)], self._sums[top : top + len(rows) + 1])

    def resized(self, height: int, width: int) -> NDArray[np.float32]:
        """The whole image as (3, height, width) float32."""
        y0, y1 = _bins(self.height, height)
        x0, x1 = _bins(self.width, width)
        pixels = np.empty((3, height, width), np.float32)
        strips = _strips(int((y1 - y0).max()), int((x1 - x0).max()))
        for top in range(0, height, _ROWS):
            rows = slice(top, top + _ROWS)
            sums = self._sums[y1[rows]]
            sums -= self._sums[y0[rows]]
            share = _share((y1 - y0)[rows, None], x1 - x0)
            _average(
                [
                    sums.take(right, axis=1) - sums.take(left, axis=1)
                    for left, right in _split(x0, x1, strips)
                ],
                share,
                pixels[:, rows],
            )
        return pixels

    def windows(self, boxes: Edges, size: int) -> NDArray[np.float32]:
        """Slices x0 y0 x1 y1 that are not empty, as (N, 3, size, size) float32."""
        pixels = np.empty((len(boxes), 3, size, size), np.float32)
        for first in range(0, len(boxes), _WINDOWS):
            some = slice(first, first + _WINDOWS)
            self._cut(boxes[some], size, pixels[some])
        return pixels

    def _cut(self, boxes: Edges, size: int, pixels: NDArray[np.float32]) -> None:
        x0, x1 = _window_bins(boxes[:, 0], boxes[:, 2], size)
        y0, y1 = _window_bins(boxes[:, 1], boxes[:, 3], size)
        flat = self._sums.reshape(-1)
        top = (y0 * (self.width + 1))[:, :, None]
        bottom = (y1 * (self.width + 1))[:, :, None]
        strips = _strips(int((y1 - y0).max()), int((x1 - x0).max()))
        share = _share((y1 - y0)[:, :, None], (x1 - x0)[:, None, :])
        parts = []
        for left, right in _split(x0[:, None, :], x1[:, None, :], strips):
            sums = flat.take(bottom + right)
            sums -= flat.take(bottom + left)
            sums -= flat.take(top + right)
            sums += flat.take(top + left)
            parts.append(sums)
        _average(parts, share, pixels.transpose(1, 0, 2, 3))


def _sum_rows(rows: NDArray[np.uint8], packed: Sums, sums: Sums) -> None:
    """Fill sums[1:] from these rows, where sums[0] holds everything above them."""
    packed[:] = rows[:, :, 2]
    packed <<= _BITS
    packed |= rows[:, :, 1]
    packed <<= _BITS
    packed |= rows[:, :, 0]
    np.cumsum(packed, axis=1, out=sums[1:, 1:])
    for row in range(1, len(sums)):
        sums[row] += sums[row - 1]


def _average(parts: list[Sums], share: NDArray[np.float32], pixels: NDArray[np.float32]) -> None:
    """Unpack the sums of each colour and average them; colour is the first axis of `pixels`."""
    for colour in range(3):
        for index, sums in enumerate(parts):
            channel = (sums >> colour * _BITS) & _MASK
            if index == 0:
                np.multiply(channel, share, out=pixels[colour], casting="unsafe", dtype=np.float32)
            else:
                pixels[colour] += (channel * share).astype(np.float32)


def _strips(height: int, width: int) -> int:
    """Into how many columns areas of this size have to be cut so that no sum overflows."""
    if height * width <= _MAX_AREA:
        return 1
    return min(width, -(-height * width // _MAX_AREA) + 1)


def _split(left: Edges, right: Edges, strips: int) -> list[tuple[Edges, Edges]]:
    edges = [left + (right - left) * i // strips for i in range(strips)] + [right]
    return list(itertools.pairwise(edges))


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
