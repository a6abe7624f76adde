"""Crops: cuts faces out of an image, and encodes and decodes them for the queue."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lambda_src.vision.boxes import Face
from lambda_src.vision.store import CSE546, crop_size

# Pillow's default, which the CSE 546 course project uses.
_CSE546_QUALITY = 75
_QUALITIES = (95, 90, 85, 75, 60, 45, 30, 15)
_MAX_CROP_BYTES = 4_000_000


def crop_face(image: NDArray[np.uint8], face: Face, preprocessing: str) -> NDArray[np.uint8]:
    """Cut a face out of an (H, W, 3) uint8 RGB image, scaled to (S, S, 3) of the preprocessing.

    The pixels equal those of facenet-pytorch's `extract_face` for a Pillow image without
    a margin; for `cse546` they are stretched to 0..255, as in the CSE 546 course
    project. Raises ValueError for an image of another shape or dtype.
    """
    check_image(image)
    size = crop_size(preprocessing)
    height, width = image.shape[:2]
    # A box outside the image has no pixels: the nearest pixel replaces them.
    x0 = min(int(max(face.box[0], 0)), width - 1)
    y0 = min(int(max(face.box[1], 0)), height - 1)
    x1 = max(int(min(face.box[2], width)), x0 + 1)
    y1 = max(int(min(face.box[3], height)), y0 + 1)
    region = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1]))
    crop = np.asarray(region.resize((size, size), Image.Resampling.BILINEAR))
    return _stretched(crop) if preprocessing == CSE546 else crop


def encode_crops(
    crops: Sequence[NDArray[np.uint8]], preprocessing: str, *, max_total_bytes: int
) -> list[bytes]:
    """Encode crops as image files of at most `max_total_bytes` in total.

    As PNG if they fit, else as JPEG of the highest quality that fits; for `cse546` of
    at most the CSE 546 course project's quality. Raises ValueError if no quality fits.
    """
    size = crop_size(preprocessing)
    for crop in crops:
        check_crop(crop, size)
    for encode in _encoders(preprocessing):
        files = [encode(crop) for crop in crops]
        if sum(map(len, files)) <= max_total_bytes:
            return files
    raise ValueError(f"{len(crops)} crops do not fit in {max_total_bytes} bytes")


def decode_crop(data: bytes, preprocessing: str) -> NDArray[np.uint8]:
    """Decode a crop's file to (S, S, 3) uint8 RGB; raises ValueError for anything else."""
    size = crop_size(preprocessing)
    if len(data) > _MAX_CROP_BYTES:
        raise ValueError(f"a crop's file must be at most {_MAX_CROP_BYTES} bytes")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
            if image.size != (size, size):
                raise ValueError(f"a crop must be {size}x{size} pixels, not {image.size}")
            return np.asarray(image.convert("RGB"))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"a crop can't be decoded: {error}") from error


def check_image(image: NDArray[np.uint8]) -> None:
    """Raise ValueError unless this is a non-empty (H, W, 3) uint8 array."""
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", None)
    if dtype != np.uint8 or shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(
            f"an image must be uint8 of shape (height, width, 3), not {dtype} of shape {shape}"
        )


def check_crop(crop: NDArray[np.uint8], size: int) -> None:
    """Raise ValueError unless this is a (size, size, 3) uint8 array."""
    if crop.dtype != np.uint8 or crop.shape != (size, size, 3):
        raise ValueError(
            f"a crop must be uint8 of shape ({size}, {size}, 3), "
            f"not {crop.dtype} of shape {crop.shape}"
        )


def _stretched(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # The order of operations, precision and truncation are those of the CSE 546 course project.
    pixels = (crop.astype(np.float32) - np.float32(127.5)) / np.float32(128)
    pixels -= pixels.min()
    top = pixels.max()
    if top == 0:
        return np.zeros_like(crop)
    stretched: NDArray[np.uint8] = (pixels / top * np.float32(255)).astype(np.uint8)
    return stretched


def _encoders(preprocessing: str) -> list[Callable[[NDArray[np.uint8]], bytes]]:
    """Encoders, from the highest quality to the smallest files."""
    if preprocessing == CSE546:
        qualities = [quality for quality in _QUALITIES if quality < _CSE546_QUALITY]
        return [partial(_jpeg, quality=q, chroma="4:2:0") for q in (_CSE546_QUALITY, *qualities)]
    fine = [partial(_jpeg, quality=quality, chroma="4:4:4") for quality in _QUALITIES]
    return [_png, *fine, partial(_jpeg, quality=_QUALITIES[-1], chroma="4:2:0")]


def _png(crop: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    # Level 1 takes a fifth of the default's time and makes files 10 % larger.
    Image.fromarray(crop).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _jpeg(crop: NDArray[np.uint8], quality: int, *, chroma: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(crop).save(stream, "JPEG", quality=quality, subsampling=chroma)
    return stream.getvalue()
