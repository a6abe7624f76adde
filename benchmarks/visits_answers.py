"""Answers of the pipeline for the frames of clips, computed in this process with its own stages.

One detector, one embedder and one gallery answer for both functions; a clip's answers are kept
as JSON, because computing them takes minutes and deciding about visits takes milliseconds.
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

from facectl.gallery.photographs import PhotographEncoder, PhotographError, photographs
from facectl.stream.frames import Encoding, Frame, Pixels, decoded
from lambda_src.contract import FrameResult, NamedFace, joined_names
from lambda_src.gallery.matching import Gallery
from lambda_src.vision.boxes import largest
from lambda_src.vision.crops import crop_face, decode_crop, encode_crops
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.store import Model

MAX_FACES = 10
# Frames for which a photograph is shown in the clips made of photographs, and their rate.
_SHOWN = 24
_RATE = 24.0
_SIZE = (640, 480)


@dataclass(frozen=True)
class BenchClip:
    """The frames of a clip and the name of everybody in it, None for people not enrolled."""

    name: str
    rate: float
    person: str | None
    frames: Callable[[], Iterator[Pixels]]


def video(path: Path) -> BenchClip:
    """A video of people who are not enrolled."""
    capture = cv2.VideoCapture(str(path))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()

    def frames() -> Iterator[Pixels]:
        capture = cv2.VideoCapture(str(path))
        while True:
            read, pixels = capture.read()
            if not read:
                return
            yield pixels

    return BenchClip(path.stem, rate, None, frames)


def of_photographs(folder: Path) -> BenchClip:
    """A clip of one enrolled person: each photograph is shown for a second, moving and growing."""

    def frames() -> Iterator[Pixels]:
        for number, file in enumerate(photographs(folder)):
            picture = decoded(file.read_bytes(), file.name)
            for step in range(_SHOWN):
                yield _placed(picture, number, step / _SHOWN)

    return BenchClip(f"photographs-{folder.name}", _RATE, folder.name, frames)


def _placed(picture: Pixels, number: int, moved: float) -> Pixels:
    """The picture on a grey frame, at a place that differs from photograph to photograph."""
    width, height = _SIZE
    scale = min(width / picture.shape[1], height / picture.shape[0]) * (0.8 + 0.15 * moved)
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((height, width, 3), 127, np.uint8)
    left = int((width - small.shape[1]) * (0.1 + 0.8 * (number % 2)) + 10 * moved)
    left = min(max(0, left), width - small.shape[1])
    top = (height - small.shape[0]) // 2
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    return frame


def small(frame: Pixels) -> Pixels:
    """Three tenths of the side: a camera that is far away."""
    return _resized(frame, 0.3)


def blurred(frame: Pixels) -> Pixels:
    """Gaussian blur of 5/720 of the height: out of focus."""
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), 5 * frame.shape[0] / 720), np.uint8)


def dark(frame: Pixels) -> Pixels:
    """A tenth of the light, and the noise of a sensor."""
    noise = np.random.default_rng(int(frame[::50, ::50].sum())).normal(0, 4, frame.shape)
    return np.clip(frame * 0.1 + noise, 0, 255).astype(np.uint8)


def _resized(frame: Pixels, scale: float) -> Pixels:
    return np.asarray(
        cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
    )


# The change of each frame, and the frames a second that are sent (None: all).
VARIANTS: dict[str, tuple[Callable[[Pixels], Pixels] | None, float | None]] = {
    "as it is": (None, None),
    "small": (small, None),
    "blurred": (blurred, None),
    "dark": (dark, None),
    "1 frame a second": (None, 1.0),
}


class Pipeline:
    """Both functions in this process: a frame in, the answer with `detail` out."""

    def __init__(self, model: Model, people: Path, threshold: float) -> None:
        self._model = model
        self._detector = Detector(model, threads=2)
        self._embedder = Embedder(model, threads=2)
        self.gallery = _enrolled(model, people, threshold)

    def answer(self, file: bytes, request_id: str) -> FrameResult:
        """The answer for an image file."""
        image = np.ascontiguousarray(decoded(file, "")[:, :, ::-1])
        faces = largest(self._detector.detect(image), MAX_FACES)
        if not faces:
            return FrameResult(request_id, "No-Face", ())
        preprocessing = self._model.preprocessing
        crops = encode_crops(
            [crop_face(image, face, preprocessing) for face in faces],
            preprocessing,
            max_total_bytes=720_000,
        )
        embeddings = self._embedder.embed([decode_crop(crop, preprocessing) for crop in crops])
        named = tuple(
            NamedFace(face.box, face.probability, match.name, match.distance)
            for face, match in zip(faces, self.gallery.match(embeddings), strict=True)
        )
        return FrameResult(request_id, joined_names(named), named)


def _enrolled(model: Model, people: Path, threshold: float) -> Gallery:
    encoder = PhotographEncoder(model)
    names: list[str] = []
    rows: list[NDArray[np.float32]] = []
    for folder in sorted(path for path in people.iterdir() if path.is_dir()):
        for photo in photographs(folder):
            try:
                rows.append(encoder.embed(photo).embedding)
            except PhotographError:
                continue
            names.append(folder.name)
    return Gallery(model.space, threshold, tuple(names), np.stack(rows))


def sent_frames(clip: BenchClip, variant: str) -> Iterator[tuple[Frame, bytes]]:
    """The frames of a clip that are sent, with the image file of each."""
    change, rate = VARIANTS[variant]
    index, due = 0, 0.0
    for position, pixels in enumerate(clip.frames()):
        at = position / clip.rate
        if rate is not None and at + 0.001 < due:
            continue
        due += 1 / rate if rate is not None else 0.0
        frame = Frame(index, f"{clip.name}-{position:06d}.jpg", at, pixels=pixels)
        shown = Frame(index, frame.name, at, pixels=pixels if change is None else change(pixels))
        yield frame, Encoding().file_of(shown)
        index += 1


def answers(
    pipeline: Callable[[], Pipeline], clip: BenchClip, variant: str, folder: Path, key: str
) -> list[dict[str, Any]]:
    """The answers for a clip's frames in order: index, name, timestamp, answer, sharpness.

    Read from the folder if they were computed before with this key.
    """
    from facectl.visits.images import sharpness

    digest = hashlib.sha256(f"{key} {clip.name} {variant}".encode()).hexdigest()[:16]
    kept = folder / f"{clip.name}-{variant.replace(' ', '-')}-{digest}.json"
    if kept.exists():
        found: list[dict[str, Any]] = json.loads(kept.read_text())
        return found
    computed = []
    for frame, file in sent_frames(clip, variant):
        answer = pipeline().answer(file, f"bench-{frame.index:06d}")
        grey = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
        computed.append(
            {
                "index": frame.index,
                "name": frame.name,
                "timestamp": frame.timestamp,
                "answer": json.loads(answer.serialise()),
                "sharpness": [sharpness(grey, face.box) for face in answer.faces or ()],
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(computed))
    return computed
