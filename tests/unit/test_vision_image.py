"""Decoding of image files."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lambda_src.vision.image import ImageError, decode_image

LIMITS = {"max_bytes": 1_000_000, "max_pixels": 1_000_000}


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(height: int = 20, width: int = 30) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 8, y * 12, x + y], axis=2).astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_three_formats(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode_image(encoded(gradient(), kind, **options), **LIMITS)
    assert found.dtype == np.uint8
    assert found.shape == (20, 30, 3)
    tolerance = 12 if kind == "JPEG" else 0
    assert np.abs(found.astype(int) - np.asarray(gradient()).astype(int)).mean() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_by_exif(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(gradient(), "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(decode_image(data, **LIMITS), expected)


def test_an_image_with_damaged_exif_is_decoded() -> None:
    data = encoded(gradient(), "JPEG", exif=b"Exif\x00\x00II*\x00garbage")
    assert decode_image(data, **LIMITS).shape == (20, 30, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image = gradient().convert(mode)
    found = decode_image(encoded(image, kind), **LIMITS)
    assert found.shape == (20, 30, 3)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(found.astype(int) - expected).mean() < 4


def test_sixteen_bits_become_eight() -> None:
    deep = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    found = decode_image(encoded(Image.fromarray(deep), "PNG"), **LIMITS)
    assert np.array_equal(found[..., 1], (deep >> 8).astype(np.uint8))


def test_sixteen_bit_colour_becomes_eight() -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    found = decode_image(png(5, 4, 16, 2, rows), **LIMITS)
    assert np.abs(found.astype(int) - (deep >> 8)).max() <= 1


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_too_many_bytes() -> None:
    data = encoded(gradient(), "PNG")
    with pytest.raises(ImageError, match="at most 10 bytes") as caught:
        decode_image(data, max_bytes=10, max_pixels=10_000)
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize("side", [1000, 60_000])
def test_too_many_pixels_are_never_decoded(side: int) -> None:
    """The file has a header and no pixels, so decoding it would be `bad_image`."""
    with pytest.raises(ImageError) as caught:
        decode_image(png(side, side, 8, 2, b""), max_bytes=10_000, max_pixels=999_999)
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + bytes(50), b"BM" + bytes(60), b"%PDF-1.7", b"RIFF0000WAVEfmt "]
)
def test_unsupported_formats(data: bytes) -> None:
    with pytest.raises(ImageError, match="JPEG, PNG or WebP") as caught:
        decode_image(data, **LIMITS)
    assert caught.value.code == "unsupported_image"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_truncated_files(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(ImageError) as caught:
        decode_image(data[: len(data) // 2], **LIMITS)
    assert caught.value.code == "bad_image"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "WEBP", "JPEG"]), st.data())
def test_damaged_files_raise_only_image_errors(kind: str, draw: st.DataObject) -> None:
    data = bytearray(encoded(gradient(), kind))
    for _ in range(draw.draw(st.integers(1, 5))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(ImageError):
            assert decode_image(bytes(data), **LIMITS).ndim == 3
