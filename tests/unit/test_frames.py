"""How frames are encoded before they are sent."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from facectl.errors import InputError
from facectl.stream.frames import Encoding, Frame, decoded, scaled

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


def test_a_whole_half_is_the_mean_of_its_pixels() -> None:
    means = NOISE.reshape(45, 2, 80, 2, 3).mean(axis=(1, 3))
    assert np.abs(scaled(NOISE, 80) - means).max() <= 0.5
    means = NOISE[:88].reshape(22, 4, 40, 4, 3).mean(axis=(1, 3))
    # Twice rounded.
    assert np.abs(scaled(NOISE[:88], 40) - means).max() <= 1


@pytest.mark.parametrize("side", [90, 64, 50, 33, 20])
def test_scaling_moves_nothing(side: int) -> None:
    ramp = np.broadcast_to(np.arange(161, dtype=np.uint8)[None, :, None], (91, 161, 3))
    pixels = scaled(np.ascontiguousarray(ramp), side)
    centres = (np.arange(side) + 0.5) * 161 / side - 0.5
    assert max(pixels.shape[:2]) == side
    assert np.abs(pixels[3, :, 0] - centres)[1:-1].max() < 1.5


@pytest.mark.parametrize(
    ("max_side", "shape"),
    [(None, (90, 160)), (160, (90, 160)), (80, (90, 160)), (79, (45, 80)), (39, (23, 40)),
     (19, (12, 20)), (5, (12, 20))],
)  # fmt: skip
def test_a_jpeg_is_decoded_at_the_smallest_size_that_is_large_enough(
    max_side: int | None, shape: tuple[int, int]
) -> None:
    assert decoded(encoded(".jpg"), "a", max_side).shape[:2] == shape
    assert decoded(encoded(".png"), "a", max_side).shape[:2] == (90, 160)


def test_a_jpeg_that_is_cut_off_in_its_header_is_refused_at_every_size() -> None:
    with pytest.raises(InputError, match="contains no image"):
        decoded(encoded(".jpg")[:30], "a", 20)


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
