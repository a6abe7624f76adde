"""Crops and their files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lambda_src.vision.boxes import Face
from lambda_src.vision.crops import crop_face, decode_crop, encode_crops
from lambda_src.vision.store import CSE546, FACENET, crop_size


def face(*box: float) -> Face:
    return Face((box[0], box[1], box[2], box[3]), 1.0, ())


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_crop_equals_pillows_bilinear_resize_of_the_whole_pixels() -> None:
    image = noise(100, 200, 3)
    found = crop_face(image, face(-3.7, 10.9, 80.2, 120.0), FACENET)
    expected = Image.fromarray(image).crop((0, 10, 80, 100))
    expected = expected.resize((160, 160), Image.Resampling.BILINEAR)
    assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize(
    "box", [(300, 10, 320, 40), (-50, -50, -10, -10), (10, 10, 10, 10), (5.2, 5.2, 5.4, 5.4)]
)
@pytest.mark.parametrize("preprocessing", [FACENET, CSE546])
def test_boxes_without_pixels(box: tuple[float, ...], preprocessing: str) -> None:
    size = crop_size(preprocessing)
    assert crop_face(noise(100, 200, 3), face(*box), preprocessing).shape == (size, size, 3)


def test_cse546_stretches_to_the_whole_range() -> None:
    dull = (noise(50, 50, 3) // 4 + 90).astype(np.uint8)
    found = crop_face(dull, face(0, 0, 50, 50), CSE546)
    assert found.shape == (240, 240, 3)
    assert (found.min(), found.max()) == (0, 255)


def test_a_uniform_crop_is_not_stretched() -> None:
    with np.errstate(all="raise"):
        found = crop_face(np.full((50, 50, 3), 77, np.uint8), face(0, 0, 50, 50), CSE546)
    assert (found == 0).all()


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)]
)
def test_invalid_images_are_errors_with_their_dtype(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 of shape") as caught:
        crop_face(image, face(0, 0, 5, 5), FACENET)
    assert str(image.dtype) in str(caught.value)
    assert str(image.shape) in str(caught.value)


def test_crops_that_fit_are_lossless() -> None:
    crops = [noise(160, 160, 3), np.zeros((160, 160, 3), np.uint8)]
    files = encode_crops(crops, FACENET, max_total_bytes=500_000)
    for crop, file in zip(crops, files, strict=True):
        assert np.array_equal(decode_crop(file, FACENET), crop)


@pytest.mark.parametrize("limit", [60_000, 30_000, 12_000])
def test_crops_that_do_not_fit_are_compressed_more(limit: int) -> None:
    crops = [noise(160, 160, 3)] * 2
    files = encode_crops(crops, FACENET, max_total_bytes=limit)
    assert sum(map(len, files)) <= limit
    assert all(decode_crop(file, FACENET).shape == (160, 160, 3) for file in files)


def test_crops_that_never_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 crops do not fit in 100 bytes"):
        encode_crops([noise(160, 160, 3)] * 3, FACENET, max_total_bytes=100)


def test_cse546_is_saved_with_pillows_defaults() -> None:
    crop = noise(240, 240, 3)
    stream = io.BytesIO()
    Image.fromarray(crop).save(stream, "JPEG")
    assert encode_crops([crop], CSE546, max_total_bytes=10**6) == [stream.getvalue()]


def test_no_crops() -> None:
    assert encode_crops([], FACENET, max_total_bytes=0) == []


def test_crops_of_another_size_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"\(160, 160, 3\), not uint8 of shape \(240, 240, 3\)"):
        encode_crops([noise(240, 240, 3)], FACENET, max_total_bytes=10**6)
    file = encode_crops([noise(240, 240, 3)], CSE546, max_total_bytes=10**6)[0]
    with pytest.raises(ValueError, match="160x160"):
        decode_crop(file, FACENET)


@pytest.mark.parametrize("data", [b"", b"nothing", b"\x89PNG\r\n\x1a\n", bytes(5_000_000)])
def test_files_that_are_not_crops(data: bytes) -> None:
    with pytest.raises(ValueError, match="crop"):
        decode_crop(data, FACENET)


def test_unknown_preprocessing() -> None:
    with pytest.raises(ValueError, match="facenet or cse546, not 'other'"):
        crop_size("other")
