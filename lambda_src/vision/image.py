"""Checks and decodes the image files of requests."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_UNSUPPORTED = "the image must be a JPEG, PNG or WebP file"
# Every scan of a progressive JPEG updates all pixels: 6 MB of 80-byte scans would take an
# hour. Encoders write about ten scans.
_MAX_SCANS = 100
_START_OF_SCAN = b"\xff\xda"
_EXIF_ORIENTATION = 0x0112
# EXIF 2.3, tag 0x0112: how to rotate or flip the stored picture to make it upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """An image that can't be used: `bad_image`, `image_too_large` or `unsupported_image`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def decode_image(data: bytes, *, max_bytes: int, max_pixels: int) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG or WebP file to (height, width, 3) uint8 RGB, upright by its EXIF.

    The size, and the number of scans of a JPEG, are checked before decoding. Grey, palette
    and CMYK become RGB, 16 bits become 8, and transparency is dropped. Raises ImageError.
    """
    if len(data) > max_bytes:
        raise ImageError("image_too_large", f"the image file must be at most {max_bytes} bytes")
    file_format = _format(data)
    # JPEG's byte stuffing keeps this marker out of coded pixels.
    if file_format == "JPEG" and data.count(_START_OF_SCAN) > _MAX_SCANS:
        raise ImageError("bad_image", f"the JPEG has more than {_MAX_SCANS} scans")
    try:
        # Pillow warns at its own limit; here the limit is max_pixels.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=[file_format]) as image:
                _check_pixels(image.width, image.height, max_pixels)
                return _pixels(image)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError("image_too_large", str(error)) from error
    except Exception as error:
        raise ImageError("bad_image", f"the image can't be decoded: {error}") from error


def _format(data: bytes) -> str:
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    raise ImageError("unsupported_image", _UNSUPPORTED)


def _check_pixels(width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise ImageError(
            "image_too_large",
            f"the image has {width}x{height} pixels; at most {limit} are decoded",
        )


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    transposition = _UPRIGHT.get(_orientation(image))
    upright: Image.Image = image if transposition is None else image.transpose(transposition)
    if upright.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit grey at 255 instead of scaling it.
        grey = (np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - the pixels may be valid although the EXIF is not
        return 1
