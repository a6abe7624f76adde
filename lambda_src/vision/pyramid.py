"""Shrinking by area: the image at every scale, and the candidates' pixels.

torch's `interpolate(mode="area")` is adaptive average pooling: pixel i of n out
of m is the mean of pixels floor(i*m/n) to ceil((i+1)*m/n). With an integral
image every such mean is four look-ups, whatever the scale.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SMALLEST = 12  # the side of P-Net's window, in pixels


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

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self.height, self.width = image.shape[:2]
        # 32 bits overflow beyond 8 megapixels, but a difference of two wrapped
        # sums is right as long as the area itself stays below that.
        self._sums = np.asarray(cv2.integral(image, sdepth=cv2.CV_32S), dtype=np.int32)

    def resized(self, height: int, width: int) -> NDArray[np.float32]:
        """The whole image as (height, width, 3) float32."""
        y0, y1 = _bins(self.height, height)
        x0, x1 = _bins(self.width, width)
        rows = self._sums[y1] - self._sums[y0]
        sums = rows[:, x1] - rows[:, x0]
        return _means(sums, (y1 - y0)[:, None] * (x1 - x0))

    def windows(self, boxes: NDArray[np.int64], size: int) -> NDArray[np.float32]:
        """Slices x0 y0 x1 y1 that are not empty, each as (size, size, 3) float32."""
        x0, x1 = _window_bins(boxes[:, 0], boxes[:, 2], size)
        y0, y1 = _window_bins(boxes[:, 1], boxes[:, 3], size)
        flat = self._sums.reshape(-1, 3)
        stride = self.width + 1
        top, bottom = (y0 * stride)[:, :, None], (y1 * stride)[:, :, None]
        left, right = x0[:, None, :], x1[:, None, :]
        sums = flat[bottom + right] - flat[bottom + left] - flat[top + right] + flat[top + left]
        return _means(sums, (y1 - y0)[:, :, None] * (x1 - x0)[:, None, :])


def _means(sums: NDArray[np.int32], areas: NDArray[np.int64]) -> NDArray[np.float32]:
    count = areas[..., None].astype(np.float32)
    return np.divide(sums.astype(np.float32), count, dtype=np.float32)


def _bins(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    index = np.arange(target, dtype=np.int64)
    return index * source // target, -(-(index + 1) * source // target)


def _window_bins(
    first: NDArray[np.int64], last: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    length = (last - first)[:, None]
    index = np.arange(size, dtype=np.int64)
    begin = index * length // size
    end = -(-(index + 1) * length // size)
    return first[:, None] + begin, first[:, None] + end
