"""Embeds the face of a photograph with the same steps as the pipeline embeds a frame's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facectl.errors import ModelError
from lambda_src.settings import available_threads
from lambda_src.vision.boxes import largest
from lambda_src.vision.crops import crop_face, decode_crop, encode_crops
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder, EmbedderMismatchError
from lambda_src.vision.image import ImageError, decode_image
from lambda_src.vision.store import FACENET, Model

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_MAX_BYTES = 64_000_000
_MAX_PIXELS = 100_000_000
# Sharpness is measured at a fixed size, because it depends on the size of the face.
_SHARPNESS_SIDE = 160


class PhotographError(ValueError):
    """A photograph without an embedding; `kind`: `unreadable`, `no_face` or `several_faces`."""

    def __init__(self, kind: str, message: str, figure: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.figure = figure


@dataclass(frozen=True, slots=True)
class EncodedPhotograph:
    """The face of a photograph: its embedding (512,) and the input of the quality checks.

    face_px: the box's shorter side in the photograph's pixels. sharpness: the
    variance of the Laplacian of the grey face at 160 pixels (Pech-Pacheco et
    al. 2000); blurred faces have low values.
    """

    photo: Path
    sha256: str
    embedding: NDArray[np.float32]
    faces: int
    face_px: float
    probability: float
    sharpness: float

    @property
    def figures(self) -> dict[str, float]:
        """The measurements that are stored with the reference."""
        return {
            "faces": self.faces,
            "face_px": round(self.face_px, 1),
            "probability": round(self.probability, 4),
            "sharpness": round(self.sharpness, 1),
        }


class PhotographEncoder:
    """Finds the one face of a photograph and embeds it.

    Raises ModelError if the model computes other embeddings here than when it was built.
    """

    def __init__(self, model: Model) -> None:
        threads = available_threads({})
        self.model = model
        self._detector = Detector(model, threads=threads)
        self._embedder = Embedder(model, threads=threads)
        try:
            self._embedder.verify()
        except EmbedderMismatchError as error:
            raise ModelError(
                f"{model.path.name}: {error}", hint="facectl models build --precision fp32"
            ) from error

    def embed(self, photo: Path, *, take_largest: bool = False) -> EncodedPhotograph:
        """Embed the face; raises PhotographError, for several faces unless `take_largest`."""
        data = _read(photo)
        image = _decode(data)
        faces = self._detector.detect(image)
        if not faces:
            raise PhotographError("no_face", "no face was found", 0)
        if len(faces) > 1 and not take_largest:
            raise PhotographError(
                "several_faces",
                f"{len(faces)} faces were found, so it is not clear whose face to enroll",
                len(faces),
            )
        face = largest(faces, 1)[0]
        preprocessing = self.model.preprocessing
        crop = crop_face(image, face, preprocessing)
        # The pipeline sends the crop as an encoded image, which changes its pixels.
        sent = encode_crops([crop], preprocessing, max_total_bytes=1_000_000)[0]
        x0, y0, x1, y1 = face.box
        return EncodedPhotograph(
            photo=photo,
            sha256=hashlib.sha256(data).hexdigest(),
            embedding=self._embedder.embed([decode_crop(sent, preprocessing)])[0],
            faces=len(faces),
            face_px=min(x1 - x0, y1 - y0),
            probability=face.probability,
            sharpness=_sharpness(crop),
        )

    def face(self, photo: Path, preprocessing: str = FACENET) -> NDArray[np.uint8]:
        """The crop of the largest face, (S, S, 3) uint8 RGB; raises PhotographError."""
        image = decoded(photo)
        faces = self._detector.detect(image)
        if not faces:
            raise PhotographError("no_face", "no face was found", 0)
        return crop_face(image, largest(faces, 1)[0], preprocessing)


def _decode(data: bytes) -> NDArray[np.uint8]:
    try:
        return decode_image(data, max_bytes=_MAX_BYTES, max_pixels=_MAX_PIXELS)
    except ImageError as error:
        raise PhotographError("unreadable", f"can't be read: {error}") from error


def decoded(photo: Path) -> NDArray[np.uint8]:
    """The photograph's pixels, (H, W, 3) uint8 RGB; raises PhotographError."""
    return _decode(_read(photo))


def digest(photo: Path) -> str:
    """The sha256 of a photograph's file; raises PhotographError."""
    return hashlib.sha256(_read(photo)).hexdigest()


def photographs(folder: Path) -> list[Path]:
    """The image files below a folder, by path, without hidden ones and links to folders."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _read(photo: Path) -> bytes:
    try:
        if photo.stat().st_size > _MAX_BYTES:
            raise PhotographError(
                "unreadable", f"can't be read: the file must be at most {_MAX_BYTES} bytes"
            )
        return photo.read_bytes()
    except OSError as error:
        raise PhotographError("unreadable", f"can't be read: {error.strerror}") from error


def _sharpness(crop: NDArray[np.uint8]) -> float:
    face = cv2.resize(crop, (_SHARPNESS_SIDE, _SHARPNESS_SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
