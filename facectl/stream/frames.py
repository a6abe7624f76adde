"""One frame of a source, and the image file that is sent for it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facectl.errors import InputError

Pixels: TypeAlias = NDArray[np.uint8]

# A 1080p frame is about 430 kB at 95, in base64 a tenth of what a Function URL
# takes. 85 would save 45 % of the upload, but an embedding is made of these pixels.
DEFAULT_QUALITY = 95
_REDUCTIONS = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame: either `pixels` (H, W, 3), uint8, BGR, or the `file` it was found as.

    `index` counts the yielded frames from 0, `timestamp` is in seconds from
    the source's beginning.
    """

    index: int
    name: str
    timestamp: float
    pixels: Pixels | None = None
    file: bytes | None = None


@dataclass(frozen=True, slots=True)
class Encoding:
    """How frames are encoded: longest side in pixels (None: unscaled), and JPEG quality."""

    max_side: int | None = None
    quality: int = DEFAULT_QUALITY

    def file_of(self, frame: Frame) -> bytes:
        """The image file to send: a JPEG, PNG or WebP that fits is sent unchanged.

        Raises InputError for a file that contains no image.
        """
        if frame.file is not None:
            as_found = sendable(frame.file)
            if as_found and self.max_side is None:
                return frame.file
            pixels = decoded(frame.file, frame.name, self.max_side)
            if as_found and max(pixels.shape[:2]) <= (self.max_side or 0):
                return frame.file
            return self._jpeg(scaled(pixels, self.max_side))
        return self._jpeg(self.pixels_of(frame))

    def pixels_of(self, frame: Frame) -> Pixels:
        """The frame as the function sees it: (H, W, 3), uint8, BGR."""
        if frame.pixels is not None:
            return scaled(frame.pixels, self.max_side)
        if frame.file is not None:
            return scaled(decoded(frame.file, frame.name, self.max_side), self.max_side)
        raise ValueError("a frame has pixels or a file")

    def _jpeg(self, pixels: Pixels) -> bytes:
        done, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        if not done:
            raise InputError(
                f"an image of {pixels.shape[1]}x{pixels.shape[0]} can't be encoded as JPEG"
            )
        return file.tobytes()


def sendable(file: bytes) -> bool:
    """Whether these bytes begin like one of the formats that face-detection reads."""
    return file.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (
        file[:4] == b"RIFF" and file[8:12] == b"WEBP"
    )


def scaled(pixels: Pixels, max_side: int | None) -> Pixels:
    """The pixels with a longest side of at most `max_side`; unchanged if they fit.

    Halved by averaging while they are at least twice too large, then linear: a sixth of the
    time of OpenCV's INTER_AREA for factors that are no whole number, and a third for others.
    """
    height, width = pixels.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return pixels
    factor = max_side / max(height, width)
    wide, high = max(1, round(width * factor)), max(1, round(height * factor))
    while width >= 2 * wide and height >= 2 * high:
        width, height = width // 2, height // 2
        # The last row or column of an odd number is cut off: halves are fast.
        even = pixels[: 2 * height, : 2 * width]
        pixels = _bytes(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
    if (width, height) == (wide, high):
        return pixels
    # Of a strip a few pixels wide, which is not halved.
    far = width >= 2 * wide or height >= 2 * high
    way = cv2.INTER_AREA if far else cv2.INTER_LINEAR
    return _bytes(cv2.resize(pixels, (wide, high), interpolation=way))


def decoded(file: bytes, name: str, max_side: int | None = None) -> Pixels:
    """The pixels of an image file, upright by its EXIF orientation; raises InputError.

    A JPEG whose longest side is at least twice `max_side` is decoded at a half, a quarter or
    an eighth of its size, which is still larger than `max_side`.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(file, np.uint8), _reduction(file, max_side))
    except cv2.error as error:
        raise InputError(f"{name} contains no image: {error.err}") from error
    if pixels is None:
        raise InputError(f"{name} contains no image that can be read")
    return _bytes(pixels)


def _reduction(file: bytes, max_side: int | None) -> int:
    """OpenCV's flag for the smallest size that a JPEG can be decoded at."""
    if max_side is None or not file.startswith(b"\xff\xd8\xff"):
        return cv2.IMREAD_COLOR
    try:
        with Image.open(io.BytesIO(file), formats=["JPEG"]) as image:
            longest = max(image.size)
    # Pillow raises SyntaxError, ValueError and others for damaged headers.
    except Exception:  # noqa: BLE001
        return cv2.IMREAD_COLOR
    # One pixel more than max_side: what fits is sent as it was found.
    for divisor, flag in _REDUCTIONS:
        if longest >= divisor * (max_side + 1):
            return flag
    return cv2.IMREAD_COLOR


def _bytes(array: Any) -> Pixels:
    return np.asarray(array, dtype=np.uint8)
