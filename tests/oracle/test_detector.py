"""The detector against facenet-pytorch's MTCNN, picture by picture."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLES
from scenes import Picture, frames, pasted, portraits

from facectl.models import reference
from lambda_src.vision.boxes import Face
from lambda_src.vision.detector import Detector
from lambda_src.vision.image import decode_image

pytestmark = pytest.mark.oracle

SURE = 0.95
# At most one picture in this many may differ.
ALLOWED = 200


def originals(mtcnn: Any, picture: Picture) -> list[Face]:
    """facenet-pytorch's answer; nothing where the picture is too small for it to try."""
    if min(picture.shape[:2]) < 20:
        return []
    boxes, chances, points = mtcnn.detect(picture, landmarks=True)
    if boxes is None:
        return []
    return [
        Face(tuple(map(float, box)), float(chance), tuple((float(x), float(y)) for x, y in five))
        for box, chance, five in zip(boxes, chances, points, strict=True)
    ]


def overlap(one: Face, other: Face) -> float:
    """Intersection over union."""
    x0, y0 = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    x1, y1 = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    shared = max(0.0, x1 - x0) * max(0.0, y1 - y0)
    return shared / (one.area + other.area - shared)


def difference(mine: list[Face], theirs: list[Face], width: int) -> str | None:
    """What differs between two answers among the faces that either is sure of; None if nothing."""
    for some, others, whose in ((mine, theirs, "facectl"), (theirs, mine, "facenet-pytorch")):
        for face in some:
            if face.probability < SURE:
                continue
            match = max(others, key=lambda other: overlap(face, other), default=None)
            if match is None or overlap(face, match) < 0.98:
                return f"only {whose} has the face at {face.box}"
            if abs(face.probability - match.probability) > 0.01:
                return f"probability {face.probability} and {match.probability}"
            apart = np.linalg.norm(np.subtract(face.landmarks, match.landmarks), axis=1).max()
            if apart > max(1.0, width / 640):
                return f"landmarks {apart:.2f} px apart"
    return None


def compare(detector: Detector, mtcnn: Any, pictures: Iterable[tuple[str, Picture]]) -> None:
    differences, count, faces = [], 0, 0
    for name, picture in pictures:
        theirs = originals(mtcnn, picture)
        found = difference(detector.detect(picture), theirs, picture.shape[1])
        count += 1
        faces += sum(face.probability >= SURE for face in theirs)
        if found:
            differences.append(f"{name}: {found}")
    print(f"{count} pictures, {faces} faces, {len(differences)} differ: {differences}")
    assert faces > 0
    assert len(differences) <= count // ALLOWED, differences


def test_portrait(detector: Detector, mtcnn: Any) -> None:
    compare(detector, mtcnn, portraits())


def test_scenes(detector: Detector, mtcnn: Any) -> None:
    compare(detector, mtcnn, pasted())


@pytest.mark.parametrize(
    ("width", "every"),
    [
        (640, 10),
        pytest.param(None, 26, marks=pytest.mark.slow),
        pytest.param(640, 1, marks=pytest.mark.slow),
        pytest.param(None, 1, marks=pytest.mark.slow),
    ],
)
def test_video(detector: Detector, mtcnn: Any, width: int | None, every: int) -> None:
    video = SAMPLES / "faces-1080p.mp4"
    if not video.exists():
        pytest.skip(f"no sample video at {video}")
    compare(detector, mtcnn, islice(frames(video, width), 0, None, every))


def test_six_faces(detector: Detector, mtcnn: Any) -> None:
    file = SAMPLES / "six-faces.jpg"
    if not file.exists():
        pytest.skip(f"no sample photograph at {file}")
    picture = decode_image(file.read_bytes(), max_bytes=10_000_000, max_pixels=10_000_000)
    assert len(detector.detect(picture)) == 6
    compare(detector, mtcnn, [("six faces", picture)])


def test_faces_are_in_the_order_of_the_reference(detector: Detector, mtcnn: Any) -> None:
    """Largest first, as facenet-pytorch's `select_largest` has it."""
    for _, picture in pasted():
        mine, theirs = detector.detect(picture), originals(mtcnn, picture)
        if len(mine) == len(theirs):
            for one, other in zip(mine, theirs, strict=True):
                assert one.box == pytest.approx(other.box, abs=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_face_size": 40},
        {"thresholds": (0.7, 0.8, 0.9)},
        {"pyramid_factor": 0.8},
        {"thresholds": (0.5, 0.5, 0.5), "min_face_size": 15},
    ],
)
def test_settings(built: dict[str, Any], settings: dict[str, Any]) -> None:
    theirs = {"factor" if k == "pyramid_factor" else k: v for k, v in settings.items()}
    original = reference.facenet().MTCNN(keep_all=True, **theirs)
    compare(Detector(built["facenet"], threads=1, **settings), original, portraits())


def test_two_threads_find_the_same_faces(built: dict[str, Any], detector: Detector) -> None:
    both = Detector(built["facenet"], threads=2)
    for name, picture in pasted():
        one, two = detector.detect(picture), both.detect(picture)
        assert len(one) == len(two), name
        for face, other in zip(one, two, strict=True):
            assert face.box == pytest.approx(other.box, abs=0.01)
            assert face.probability == pytest.approx(other.probability, abs=1e-5)


def test_a_picture_can_have_its_own_smallest_face(
    built: dict[str, Any], detector: Detector
) -> None:
    coarse = Detector(built["facenet"], threads=1, min_face_size=60)
    for _, picture in portraits():
        assert detector.detect(picture, 60) == coarse.detect(picture)
