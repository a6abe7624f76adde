"""One frame of a source, and the image file that is sent for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from facectl.errors import InputError

Pixels: TypeAlias = NDArray[np.uint8]

# A 1080p frame is about 430 kB at 95, in base64 a tenth of what a Function URL
# takes. 85 would save 45 % of the upload, but an embedding is made of these pixels.
DEFAULT_QUALITY = 95


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
            pixels = decoded(frame.file, frame.name)
            if as_found and max(pixels.shape[:2]) <= (self.max_side or 0):
                return frame.file
            return self._jpeg(self._scaled(pixels))
        return self._jpeg(self.pixels_of(frame))

    def pixels_of(self, frame: Frame) -> Pixels:
        """The frame as the function sees it: (H, W, 3), uint8, BGR."""
        if frame.pixels is not None:
            return self._scaled(frame.pixels)
        if frame.file is not None:
            return self._scaled(decoded(frame.file, frame.name))
        raise ValueError("a frame has pixels or a file")

    def _scaled(self, pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        if self.max_side is None or max(height, width) <= self.max_side:
            return pixels
        factor = self.max_side / max(height, width)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return _bytes(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))

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


def decoded(file: bytes, name: str) -> Pixels:
    """The pixels of an image file, upright by its EXIF orientation; raises InputError."""
    try:
        pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{name} contains no image: {error.err}") from error
    if pixels is None:
        raise InputError(f"{name} contains no image that can be read")
    return _bytes(pixels)


def _bytes(array: Any) -> Pixels:
    return np.asarray(array, dtype=np.uint8)
