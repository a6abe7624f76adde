"""Unusual images and wrong arrays: no crash, no warning, the right result or error."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facectl.models import portrait
from lambda_src.vision.crops import crop_face
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.image import decode_image
from lambda_src.vision.store import Model

pytestmark = pytest.mark.oracle


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(
    "shape", [(1, 1), (11, 11), (5000, 1), (1, 5000), (19, 19), (20, 20), (21, 33), (400, 21)]
)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_uniform_image_has_no_face(
    detector: Detector, shape: tuple[int, int], value: int
) -> None:
    assert detector.detect(np.full((*shape, 3), value, np.uint8)) == []


def test_all_black(detector: Detector) -> None:
    assert detector.detect(np.zeros((1080, 1920, 3), np.uint8)) == []


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "I;16"])
def test_a_face_in_each_image_mode(detector: Detector, mode: str) -> None:
    picture = Image.fromarray(portrait.portrait())
    if mode == "I;16":
        image = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        image = picture.convert(mode)
    stream = io.BytesIO()
    image.save(stream, "JPEG" if mode == "CMYK" else "PNG")
    decoded = decode_image(stream.getvalue(), max_bytes=10_000_000, max_pixels=1_000_000)
    (face,) = [face for face in detector.detect(decoded) if face.probability > 0.99]
    assert np.abs(np.subtract(face.box, portrait.FACE)).max() < 10


def test_fifty_faces(detector: Detector) -> None:
    face = Image.fromarray(portrait.portrait()).crop((140, 30, 310, 200)).resize((110, 110))
    scene = Image.new("RGB", (1200, 600), (90, 90, 90))
    for place in range(50):
        scene.paste(face, (place % 10 * 120 + 5, place // 10 * 120 + 5))
    assert len([f for f in detector.detect(np.asarray(scene)) if f.probability > 0.9]) == 50


@pytest.mark.parametrize("thresholds", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)])
def test_extreme_thresholds(
    built: dict[str, Model], thresholds: tuple[float, float, float]
) -> None:
    detector = Detector(built["facenet"], threads=1, thresholds=thresholds)
    found = detector.detect(np.ascontiguousarray(portrait.portrait()[40:200, 150:300]))
    assert bool(found) == (thresholds[0] == 0)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
        np.zeros((1, 64, 64, 3), np.uint8),
        None,
    ],
)
def test_a_wrong_dtype_or_shape_is_named(detector: Detector, image: Any) -> None:
    with pytest.raises(ValueError, match=r"uint8 of shape \(height, width, 3\), not") as caught:
        detector.detect(image)
    assert str(getattr(image, "dtype", None)) in str(caught.value)
    assert str(getattr(image, "shape", None)) in str(caught.value)


@pytest.mark.parametrize(
    "crop", [np.zeros((160, 160), np.uint8), np.zeros((8, 8, 3), np.uint8), np.zeros((160, 160, 3))]
)
def test_wrong_crops_are_named(built: dict[str, Model], crop: Any) -> None:
    with pytest.raises(ValueError, match=r"uint8 of shape \(160, 160, 3\), not") as caught:
        Embedder(built["facenet"], threads=1).embed([crop])
    assert str(crop.dtype) in str(caught.value)
    assert str(crop.shape) in str(caught.value)


def test_no_crops_give_no_embeddings(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, 512)


def test_read_only_and_strided_images(detector: Detector) -> None:
    picture = portrait.portrait()
    view = np.repeat(picture, 2, axis=1)[:, ::2]
    view.setflags(write=False)
    assert detector.detect(view) == detector.detect(picture)
    face = detector.detect(view)[0]
    assert np.array_equal(crop_face(view, face, "facenet"), crop_face(picture, face, "facenet"))
