"""From a photograph to a reference embedding, along the same path as a frame in the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from facectl.errors import GalleryError, InputError
from lambda_src.gallery import Embeddings, Gallery
from lambda_src.settings import available_threads
from lambda_src.vision.crops import crop_face, decode_crop, encode_crops
from lambda_src.vision.detector import Detector
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.faces import Face, largest
from lambda_src.vision.image import ImageError, decode_image
from lambda_src.vision.store import Model

MAX_NAME = 100
_MAX_PHOTO_BYTES = 64_000_000
_MAX_PHOTO_PIXELS = 100_000_000


class Enroller:
    """Finds the one face of a photograph and embeds it."""

    def __init__(self, model: Model) -> None:
        threads = available_threads({})
        self.model = model
        self._detector = Detector(model, threads=threads)
        self._embedder = Embedder(model, threads=threads)

    def embed(self, photo: Path, *, take_largest: bool = False) -> Embeddings:
        """The embedding of the photograph's face, shape (512,).

        Raises InputError for a file that can't be read and GalleryError for a
        photograph without a face, or with several unless `take_largest`.
        """
        try:
            image = decode_image(
                photo.read_bytes(), max_bytes=_MAX_PHOTO_BYTES, max_pixels=_MAX_PHOTO_PIXELS
            )
        except OSError as error:
            raise InputError(f"{photo} can't be read: {error.strerror}") from error
        except ImageError as error:
            raise InputError(
                f"{photo}: {error}", hint="enrol from a JPEG, PNG or WebP file"
            ) from error
        face = _only(self._detector.detect(image), photo, take_largest)
        crop = crop_face(image, face, self.model.preprocessing)
        # The crop travels as a file in the pipeline, so it does here.
        data = encode_crops([crop], self.model.preprocessing, max_total_bytes=1_000_000)[0]
        embedding: Embeddings = self._embedder.embed([decode_crop(data, self.model.preprocessing)])[
            0
        ]
        return embedding


def _only(faces: list[Face], photo: Path, take_largest: bool) -> Face:
    if not faces:
        raise GalleryError(
            f"{photo}: no face was found, so nobody was enrolled",
            hint="use a photograph in which the face is upright and at least 20 pixels wide",
        )
    if len(faces) > 1 and not take_largest:
        raise GalleryError(
            f"{photo}: {len(faces)} faces were found, so it is not clear who is meant",
            hint="crop the photograph to one face, or take the largest: add --largest",
        )
    return largest(faces, 1)[0]


def check_name(name: str) -> str:
    """The name as it is stored; raises InputError for one that an answer could not carry."""
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable() or "," in name:
        raise InputError(
            f"{name!r} can't be a name: 1 to {MAX_NAME} printable characters without a comma, "
            "which separates the names in an answer"
        )
    if name in {"Unknown", "No-Face", "Error"}:
        raise InputError(f"{name!r} can't be a name: it is one of the pipeline's own answers")
    return name


def add(gallery: Gallery, name: str, embeddings: Sequence[Embeddings]) -> Gallery:
    """The gallery with these embeddings, each of shape (512,), under a name."""
    return replace(
        gallery,
        names=(*gallery.names, *(name for _ in embeddings)),
        embeddings=np.vstack([gallery.embeddings, *embeddings]).astype(np.float32),
    )


def remove(gallery: Gallery, name: str) -> Gallery:
    """The gallery without a name; raises GalleryError for one that nobody has."""
    keep = [index for index, other in enumerate(gallery.names) if other != name]
    if len(keep) == len(gallery.names):
        raise GalleryError(f"nobody is called {name!r}", hint="facectl gallery list")
    return replace(
        gallery,
        names=tuple(gallery.names[index] for index in keep),
        embeddings=gallery.embeddings[keep],
    )
