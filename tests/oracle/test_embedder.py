"""Crops and embeddings against facenet-pytorch's, and the whole path from image to embedding."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SAMPLES
from numpy.typing import NDArray
from PIL import Image
from scenes import Picture, frames, pasted, portraits

from facectl.models import portrait, reference
from facectl.models.reference import to_input
from lambda_src.vision.crops import crop_face, decode_crop, encode_crops
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.store import CSE546, crop_size

pytestmark = pytest.mark.oracle


def pictures() -> list[Picture]:
    found = [picture for _, picture in (*portraits(), *pasted())]
    video = SAMPLES / "faces-1080p.mp4"
    if video.exists():
        found += [picture for _, picture in frames(video, 640)][::15]
    return found


def original_crop(picture: Picture, box: tuple[float, ...], preprocessing: str) -> Any:
    """extract_face on a Pillow image, and what the course's code does with it."""
    face = reference.facenet().extract_face(
        Image.fromarray(picture), np.array(box), image_size=crop_size(preprocessing)
    )
    if preprocessing != CSE546:
        return face
    face = (face - 127.5) / 128.0
    face = face - face.min()
    return (face / face.max() * 255).byte().float()


def original_embedding(original: Any, face: Any, preprocessing: str) -> NDArray[np.float32]:
    """As a facenet-pytorch program gets it; the course's through a JPEG on the way."""
    if preprocessing == CSE546:
        stream = io.BytesIO()
        Image.fromarray(face.permute(1, 2, 0).byte().numpy()).save(stream, "JPEG")
        face = torch.from_numpy(np.array(Image.open(stream), np.float32)).permute(2, 0, 1) / 255
    else:
        face = (face - 127.5) / 128.0
    with torch.inference_mode():
        found: NDArray[np.float32] = original(face[None]).numpy()[0]
    return found


def test_crops(detector: Detector, preprocessing: str) -> None:
    compared = 0
    for picture in pictures():
        for face in detector.detect(picture):
            x0, y0, x1, y1 = face.box
            if x1 - max(x0, 0) < 2 or y1 - max(y0, 0) < 2:
                continue
            expected = original_crop(picture, face.box, preprocessing).permute(1, 2, 0).numpy()
            crop = crop_face(picture, face, preprocessing)
            assert np.abs(crop.astype(float) - expected).mean() <= 1.0
            compared += 1
    assert compared > 30


def test_embeddings_of_the_same_crop(embedder: Embedder, original: Any, preprocessing: str) -> None:
    crops = np.concatenate(
        [portrait.variants(preprocessing, 16, 1), portrait.patches(preprocessing, 16, 2)]
    )
    with torch.inference_mode():
        expected = original(to_input(crops, preprocessing)).numpy()
    found = embedder.embed(list(crops))
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert (found * expected).sum(axis=1).min() >= 0.9999


def test_embeddings_do_not_depend_on_the_batch(embedder: Embedder, preprocessing: str) -> None:
    crops = list(portrait.variants(preprocessing, 5, 3))
    alone = np.concatenate([embedder.embed([crop]) for crop in crops])
    assert (embedder.embed(crops) * alone).sum(axis=1).min() >= 0.99999


def test_from_image_to_embedding(
    detector: Detector, embedder: Embedder, original: Any, preprocessing: str
) -> None:
    """Ours through the queue's crop files, the original's in one program."""
    mtcnn = reference.facenet().MTCNN(keep_all=True)
    compared = 0
    for picture in pictures()[::3]:
        boxes, chances = mtcnn.detect(Image.fromarray(picture))
        faces = [face for face in detector.detect(picture) if face.probability >= 0.95]
        if boxes is None or not faces:
            continue
        files = encode_crops(
            [crop_face(picture, face, preprocessing) for face in faces],
            preprocessing,
            max_total_bytes=700_000,
        )
        found = embedder.embed([decode_crop(file, preprocessing) for file in files])
        for face, mine in zip(faces, found, strict=True):
            nearest = int(np.argmin(np.abs(boxes - np.array(face.box)).sum(axis=1)))
            if chances[nearest] < 0.95:
                continue
            crop = original_crop(picture, boxes[nearest], preprocessing)
            theirs = original_embedding(original, crop, preprocessing)
            assert float(mine @ theirs) >= 0.995
            compared += 1
    assert compared > 10


def test_embedding_survives_the_queue(
    detector: Detector, embedder: Embedder, preprocessing: str
) -> None:
    """A face that travelled agrees with the face cropped in place.

    In place the course's code saves a JPEG too: it is a part of its preprocessing.
    """
    picture = portrait.portrait()
    crop = crop_face(picture, detector.detect(picture)[0], preprocessing)
    file = encode_crops([crop], preprocessing, max_total_bytes=700_000)[0]
    if preprocessing == CSE546:
        stream = io.BytesIO()
        Image.fromarray(crop).save(stream, "JPEG")
        crop = np.asarray(Image.open(stream))
    through, in_place = embedder.embed([decode_crop(file, preprocessing), crop])
    assert float(through @ in_place) >= 0.999
