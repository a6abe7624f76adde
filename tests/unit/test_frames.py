"""How frames are encoded before they are sent."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from facectl.errors import InputError
from facectl.stream.frames import Encoding, Frame, decoded

NOISE = np.random.default_rng(1).integers(0, 256, (90, 160, 3), dtype=np.uint8)


def encoded(suffix: str, pixels: np.ndarray = NOISE) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def frame(file: bytes) -> Frame:
    return Frame(0, "a", 0.0, file=file)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_file_of_a_known_format_is_sent_unchanged(suffix: str) -> None:
    file = encoded(suffix)
    assert Encoding().file_of(frame(file)) == file
    assert Encoding(max_side=160).file_of(frame(file)) == file


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_a_larger_image_is_scaled_to_the_longest_side(suffix: str) -> None:
    sent = Encoding(max_side=80).file_of(frame(encoded(suffix)))
    assert sent.startswith(b"\xff\xd8\xff")
    assert decoded(sent, "sent").shape == (45, 80, 3)


def test_another_format_is_sent_as_a_jpeg_of_the_same_size() -> None:
    sent = Encoding().file_of(frame(encoded(".bmp")))
    assert sent.startswith(b"\xff\xd8\xff")
    assert decoded(sent, "sent").shape == (90, 160, 3)


def test_a_lower_quality_makes_smaller_files() -> None:
    video = Frame(0, "a", 0.0, pixels=NOISE)
    sizes = [len(Encoding(quality=quality).file_of(video)) for quality in (30, 75, 95)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2


def test_scaling_never_enlarges_and_keeps_one_pixel() -> None:
    thin = Frame(0, "a", 0.0, pixels=np.zeros((1, 5000, 3), np.uint8))
    assert Encoding(max_side=16).pixels_of(thin).shape == (1, 16, 3)
    assert Encoding(max_side=6000).pixels_of(thin).shape == (1, 5000, 3)


def test_scaled_pixels_are_rotated_by_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, "JPEG", exif=exif)
    assert Encoding().pixels_of(frame(stream.getvalue())).shape == (160, 90, 3)


def test_the_error_names_a_file_that_is_no_image() -> None:
    with pytest.raises(InputError, match=r"^notes\.bmp contains no image"):
        Encoding().file_of(Frame(0, "notes.bmp", 0.0, file=b"dear diary"))
    with pytest.raises(InputError, match="empty"):
        decoded(b"", "empty")
