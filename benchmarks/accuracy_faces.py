"""The faces of the sample media, embedded by facectl or by facenet-pytorch, and kept in a file.

Labelled people: photographs below `people/`, of the five people in `enrolled` and `unseen`.
Strangers: people of the videos and of `six-faces.jpg`, who are in no gallery, and the crowd of
`faces-1080p.mp4`, whose people nobody has labelled: they count as one person.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facectl.errors import ModelError
from facectl.gallery.photographs import photographs
from facectl.models import reference, sources
from facectl.models.weights import RELEASES
from lambda_src.settings import available_threads
from lambda_src.vision.crops import crop_face, decode_crop, encode_crops
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.image import decode_image
from lambda_src.vision.store import MANIFEST, Model, file_digest

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
# The faces of an image, the largest first: embeddings (N, 512) of length 1.
Encode = Callable[[Image], Floats]
Tell = Callable[[str], None]

# Neighbouring frames are almost equal.
_EVERY_FRAME = {"one-person": 5, "faces-1080p": 7}
_CROWD = "crowd"
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class Faces:
    """Embedded faces.

    embeddings: (N, 512), of length 1. people: the name of each face's person. labelled: whether
    it may be enrolled or searched for as an enrolled person; the others are strangers.
    images, unused: the numbers of images with a face, and of photographs to enroll that
    `gallery enroll` refuses, because they have no face or several.
    """

    embeddings: Floats
    people: NDArray[np.str_]
    labelled: NDArray[np.bool_]
    images: int
    unused: int


def of_model(model: Model, samples: Path, cache: Path, tell: Tell) -> Faces:
    """The faces as facectl's functions embed them with a model."""
    key = (file_digest(model.path / MANIFEST), model.preprocessing)
    return _kept(samples, cache, key, lambda: _facectl(model), tell)


def of_facenet_pytorch(model: Model, samples: Path, cache: Path, tell: Tell) -> Faces:
    """The faces as facenet-pytorch embeds them with a model's weights; raises ModelError."""
    if model.weights not in RELEASES:
        raise ModelError(f"the weights {model.weights} have no published file")
    key = ("facenet-pytorch", model.space)
    return _kept(samples, cache, key, lambda: _facenet_pytorch(model.weights), tell)


def _kept(
    samples: Path, cache: Path, key: tuple[str, ...], encoder: Callable[[], Encode], tell: Tell
) -> Faces:
    listing = [(str(file.relative_to(samples)), file.stat().st_size) for file in _files(samples)]
    identity = json.dumps([_FORMAT, key, listing])
    file = cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz"
    if file.exists():
        with np.load(file) as found:
            return Faces(**{name: found[name] for name in found.files})  # type: ignore[arg-type]
    faces = _embedded(samples, encoder(), tell)
    cache.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".part.npz")
    np.savez(partial, **{name: getattr(faces, name) for name in Faces.__slots__})
    partial.replace(file)
    return faces


def _files(samples: Path) -> list[Path]:
    files = [*photographs(samples / "people"), *sorted((samples / "videos").glob("*.mp4"))]
    return [*files, samples / "six-faces.jpg", samples / "faces-1080p.mp4"]


def _embedded(samples: Path, encode: Encode, tell: Tell) -> Faces:
    found: list[tuple[Floats, str, bool]] = []
    images = unused = 0
    for number, (image, name, kind) in enumerate(_images(samples), 1):
        faces = encode(image)
        images += len(faces) > 0
        if kind == "enrolled":
            # As `gallery enroll` does, which refuses photographs with several faces.
            unused += len(faces) != 1
            found += [(faces[0], name, True)] if len(faces) == 1 else []
        elif kind == "largest":
            found += [(face, name, not name.startswith("video")) for face in faces[:1]]
        else:
            found += [
                (face, name if name == _CROWD else f"{name} {index}", False)
                for index, face in enumerate(faces)
            ]
        if number % 20 == 0:
            tell(f"  {number} images")
    embeddings, people, labelled = zip(*found, strict=True)
    return Faces(np.stack(embeddings), np.array(people), np.array(labelled), images, unused)


def _images(samples: Path) -> Iterator[tuple[Image, str, str]]:
    """Every image with the name of its person, and which of its faces to take."""
    for kind, folder in (("enrolled", "enrolled"), ("largest", "unseen")):
        for file in photographs(samples / "people" / folder):
            yield _decoded(file), file.parent.name, kind
    for file in sorted((samples / "videos").glob("*.mp4")):
        for frame in _frames(file, _EVERY_FRAME["one-person"]):
            yield frame, f"video {file.stem}", "largest"
    yield _decoded(samples / "six-faces.jpg"), "six faces", "all"
    for frame in _frames(samples / "faces-1080p.mp4", _EVERY_FRAME["faces-1080p"]):
        yield frame, _CROWD, "all"


def _decoded(file: Path) -> Image:
    return decode_image(file.read_bytes(), max_bytes=64_000_000, max_pixels=100_000_000)


def _frames(file: Path, every: int) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(file))
    number = 0
    while capture.grab():
        if number % every == 0:
            readable, frame = capture.retrieve()
            if readable:
                yield np.ascontiguousarray(frame[:, :, ::-1])
        number += 1
    capture.release()


def _facectl(model: Model) -> Encode:
    threads = available_threads({})
    detector, embedder = Detector(model, threads=threads), Embedder(model, threads=threads)

    def encode(image: Image) -> Floats:
        faces = sorted(detector.detect(image), key=lambda face: -face.area)
        crops = [crop_face(image, face, model.preprocessing) for face in faces]
        sent = encode_crops(crops, model.preprocessing, max_total_bytes=64_000_000)
        return embedder.embed([decode_crop(data, model.preprocessing) for data in sent])

    return encode


def _facenet_pytorch(weights: str) -> Encode:
    module: Any = reference.facenet()
    import torch
    from PIL import Image as Pillow

    # With several threads, torch's spin while they wait: on a busy machine that takes minutes.
    torch.set_num_threads(1)
    network = reference.embedder(sources.read(weights).state)
    detector = module.MTCNN(image_size=160, margin=0, keep_all=True)

    def encode(image: Image) -> Floats:
        picture = Pillow.fromarray(image)
        with torch.inference_mode():
            boxes, _ = detector.detect(picture)
            if boxes is None:
                return np.empty((0, 512), np.float32)
            sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
            boxes = boxes[np.argsort(-sizes, kind="stable")]
            crops = detector.extract(picture, boxes, None)
            found: Floats = network(crops).numpy()
        return found

    return encode
