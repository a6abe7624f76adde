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
from functools import lru_cache
from typing import NamedTuple

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
        colours = np.zeros(_ROWS * self.width * 3 + 1, "<u2")
        # A number of 64 bits begins at each pixel. Its last 16 bits are the next pixel's red,
        # which is never read.
        pixels = np.ndarray((_ROWS, self.width), "<i8", colours, 0, (self.width * 6, 6))
        packed = np.empty_like(pixels)
        for top in range(0, self.height, _ROWS):
            rows = image[top : top + _ROWS]
            count = len(rows)
            colours[: rows.size].reshape(rows.shape)[:] = rows
            packed[:count] = pixels[:count]
            _sum_up(packed[:count], self._sums[top : top + count + 1])

    def resized(self, height: int, width: int, rows: slice = slice(None)) -> NDArray[np.float32]:
        """The whole image as (3, height, width) float32, or only these rows of the result."""
        down, across = _bins(self.height, height), _bins(self.width, width)
        y0, y1, shares = down.begin[rows], down.end[rows], down.shares[rows, None]
        tall, wide = _parts(down.longest, across.longest)
        columns = _cuts(across.begin, across.end, wide)
        pixels = np.empty((3, len(y0), width), np.float32)
        for first in range(0, len(y0), _ROWS):
            rows = slice(first, first + _ROWS)
            parts = []
            for top, bottom in _cuts(y0[rows], y1[rows], tall):
                strip = self._sums.take(bottom, 0)
                strip -= self._sums.take(top, 0)
                for begin, end in columns:
                    sums = strip.take(end, 1)
                    sums -= strip.take(begin, 1)
                    parts.append(sums)
            _average(parts, shares[rows] * across.shares, pixels[:, rows])
        return pixels

    def windows(self, boxes: Edges, pixels: NDArray[np.float32]) -> None:
        """Fill pixels, (N, 3, size, size), with the pixels of non-empty slices x0 y0 x1 y1.

        Fast for slices of similar sizes: one that is large makes all be read in parts.
        """
        count, size = len(boxes), pixels.shape[-1]
        corner, sides = boxes[:, :2, None], (boxes[:, 2:] - boxes[:, :2])[:, :, None]
        begin, end, shares = _divided(sides, size)
        across, down = (end - begin).max(axis=2).max(axis=0).tolist()
        tall, wide = _parts(down, across)
        begin += corner
        end += corner
        rows = _cuts(begin[:, 1, :, None], end[:, 1, :, None], tall)
        columns = _cuts(begin[:, 0, None, :], end[:, 0, None, :], wide)
        parts = [self._areas(*row, *column) for row in rows for column in columns]
        weights = shares[:, 1, :, None] * shares[:, 0, None, :]
        flat = pixels.reshape(count, 3, size * size).swapaxes(0, 1)
        _average([part.reshape(count, -1) for part in parts], weights.reshape(count, -1), flat)

    def _areas(self, top: Edges, bottom: Edges, left: Edges, right: Edges) -> Sums:
        """The sums of the pixels between these rows and columns."""
        sums = self._sums.reshape(-1)
        # No index is outside; "wrap" is the fastest of numpy's ways to make sure of it.
        stride = self.width + 1
        height, width = (bottom - top) * stride, right - left
        index = bottom * stride + right
        found: Sums = sums.take(index, mode="wrap")
        index -= width
        found -= sums.take(index, mode="wrap")
        index -= height
        found += sums.take(index, mode="wrap")
        index += width
        found -= sums.take(index, mode="wrap")
        return found


def _sum_up(packed: Sums, sums: Sums) -> None:
    """Fill sums[1:] from these rows; sums[0] is the sum of everything above them."""
    np.cumsum(packed, axis=1, out=sums[1:, 1:])
    for above, row in itertools.pairwise(sums):
        np.add(above, row, row)


def _average(parts: list[Sums], weights: NDArray[np.float32], pixels: NDArray[np.float32]) -> None:
    """Unpack the sums of each colour and average them; colour is the first axis of `pixels`."""
    colours = [part.view("<u2").reshape(*part.shape, 4) for part in parts]
    for colour in range(3):
        average = pixels[colour]
        average[...] = colours[0][..., colour]
        for part in colours[1:]:
            average += part[..., colour]
        average *= weights


def _parts(height: int, width: int) -> tuple[int, int]:
    """Into how many parts to cut areas of at most this size, so that no part overflows."""
    if height * width <= _MAX_AREA:
        return 1, 1
    tall = min(height, _MAX_AREA)
    return -(-height // tall), -(-width // (_MAX_AREA // tall))


def _cuts(begin: Edges, end: Edges, count: int) -> list[tuple[Edges, Edges]]:
    """Ranges from begin to end, all cut into `count` parts."""
    edges = [begin + (end - begin) * i // count for i in range(1, count)]
    return list(itertools.pairwise([begin, *edges, end]))


class _Bins(NamedTuple):
    """Which pixels each pixel of a resized side is the mean of; `shares` are 1 / their number."""

    begin: Edges
    end: Edges
    shares: NDArray[np.float32]
    longest: int


# The levels of a few image sizes.
@lru_cache(maxsize=64)
def _bins(source: int, target: int) -> _Bins:
    begin, end, shares = _divided(np.int64(source), target)
    return _Bins(begin, end, shares, int((end - begin).max()))


def _divided(lengths: Edges | np.int64, count: int) -> tuple[Edges, Edges, NDArray[np.float32]]:
    """Lengths divided into `count` ranges, along the last axis: begin, end, 1 / their length."""
    index = np.arange(count, dtype=np.int64)
    begin = index * lengths // count
    end = -(-(index + 1) * lengths // count)
    return begin, end, (1 / (end - begin)).astype(np.float32)
