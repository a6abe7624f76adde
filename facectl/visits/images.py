"""The images of the frames in flight: how sharp their faces are, and crops of them."""

from __future__ import annotations

import threading
from collections import OrderedDict

import cv2
import numpy as np

from facectl.errors import InputError
from facectl.stream.frames import Pixels, decoded
from lambda_src.contract import Box

# Bytes of image files that are kept until the answers to their frames arrive.
_CAPACITY = 64 * 1024 * 1024
# Sharpness is measured at a fixed size, because it depends on the size of the face; as in
# facectl/gallery/photographs.py.
_SHARPNESS_SIDE = 160
# The margin around the box in a crop, as a share of the box.
_MARGIN = 0.25
_CROP_QUALITY = 90


class SentImages:
    """The image files of the frames whose answers are awaited, the newest of them.

    `keep` is called by the sending threads, `take` by the thread that follows faces.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._files: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def keep(self, index: int, file: bytes) -> None:
        """Keep the image file of a frame; the oldest are dropped where they exceed the capacity."""
        with self._lock:
            self._drop(index)
            self._files[index] = file
            self._bytes += len(file)
            while self._bytes > self._capacity:
                self._drop(next(iter(self._files)))

    def take(self, index: int) -> bytes | None:
        """Remove and return the image file of a frame; None if it was dropped."""
        with self._lock:
            return self._drop(index)

    def _drop(self, index: int) -> bytes | None:
        file = self._files.pop(index, None)
        self._bytes -= len(file) if file is not None else 0
        return file


def grey_of(file: bytes) -> Pixels | None:
    """The brightness of an image file, (H, W) uint8; None if it can't be decoded."""
    try:
        pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def sharpness(grey: Pixels, box: Box) -> float | None:
    """The variance of the Laplacian of the face at 160 pixels; None for a box outside the image.

    `grey` is (H, W) uint8. Source: Pech-Pacheco et al., "Diatom autofocusing in
    brightfield microscopy", 2000.
    """
    x0, y0, x1, y1 = _inside(grey, box)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    face = cv2.resize(
        grey[y0:y1, x0:x1], (_SHARPNESS_SIDE, _SHARPNESS_SIDE), interpolation=cv2.INTER_AREA
    )
    return float(cv2.Laplacian(face, cv2.CV_64F).var())


def crop_file(file: bytes, box: Box) -> bytes | None:
    """The face with a margin as a JPEG file; None for a box outside the image."""
    try:
        pixels = decoded(file, "the frame")
    except InputError:
        return None
    across, down = (box[2] - box[0]) * _MARGIN, (box[3] - box[1]) * _MARGIN
    wider = (box[0] - across, box[1] - down, box[2] + across, box[3] + down)
    x0, y0, x1, y1 = _inside(pixels, wider)
    if x1 <= x0 or y1 <= y0:
        return None
    done, crop = cv2.imencode(
        ".jpg", pixels[y0:y1, x0:x1], [cv2.IMWRITE_JPEG_QUALITY, _CROP_QUALITY]
    )
    return crop.tobytes() if done else None


def _inside(pixels: Pixels, box: Box) -> tuple[int, int, int, int]:
    """The box rounded to pixels and clipped to the image."""
    height, width = pixels.shape[:2]
    x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
    return x0, y0, min(width, int(box[2])), min(height, int(box[3]))
