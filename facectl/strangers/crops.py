"""The quality and the embedding of a face in a sent frame, computed as the functions compute it."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facectl.errors import ModelError
from facectl.gallery.quality import MIN_FACE_PX, MIN_PROBABILITY, MIN_SHARPNESS
from facectl.visits.recorder import FollowedFace
from lambda_src.contract import Box
from lambda_src.vision.boxes import Face
from lambda_src.vision.crops import crop_face, decode_crop, encode_crops
from lambda_src.vision.embedder import Embedder, EmbedderMismatchError
from lambda_src.vision.image import ImageError, decode_image
from lambda_src.vision.store import Model

_MAX_BYTES = 64_000_000
_MAX_PIXELS = 100_000_000
# The crop that people look at: its margin as a share of the box, its longest side, its quality.
_MARGIN = 0.25
_SHOWN_SIDE = 224
_SHOWN_QUALITY = 85


@dataclass(frozen=True, slots=True)
class EmbeddedFace:
    """A face's embedding (512,) of length 1, and a JPEG of it to look at."""

    embedding: NDArray[np.float32]
    crop: bytes


def is_good(face: FollowedFace) -> bool:
    """Whether a face passes the quality checks of `gallery enroll`."""
    x0, y0, x1, y1 = face.box
    return (
        min(x1 - x0, y1 - y0) >= MIN_FACE_PX
        and face.probability >= MIN_PROBABILITY
        and face.sharpness >= MIN_SHARPNESS
    )


class FaceEncoder:
    """Embeds faces of frames with one thread; may be called by several threads.

    Raises ModelError if the model computes other embeddings here than when it was built.
    """

    _shared: ClassVar[WeakValueDictionary[tuple[Path, str], FaceEncoder]] = WeakValueDictionary()
    _loading: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, model: Model) -> None:
        self.model = model
        # One thread: the frames of the run need the others.
        self._embedder = Embedder(model, threads=1)
        try:
            self._embedder.verify()
        except EmbedderMismatchError as error:
            raise ModelError(
                f"{model.path.name}: {error}", hint="facectl models build --precision fp32"
            ) from error

    @classmethod
    def shared(cls, model: Model) -> FaceEncoder:
        """The encoder of a model that all sources of this process use: it takes about 100 MB.

        It is dropped with the last of them.
        """
        with cls._loading:
            found = cls._shared.get((model.path, model.space))
            if found is None:
                found = cls._shared[model.path, model.space] = cls(model)
            return found

    def embed(self, file: bytes, box: Box) -> EmbeddedFace | None:
        """Embed the face in a box of an image file; None for a file that can't be decoded."""
        try:
            image = decode_image(file, max_bytes=_MAX_BYTES, max_pixels=_MAX_PIXELS)
        except ImageError:
            return None
        preprocessing = self.model.preprocessing
        crop = crop_face(image, Face(box, 1.0, ()), preprocessing)
        # The pipeline sends the crop as an encoded image, which can change its pixels.
        sent = encode_crops([crop], preprocessing, max_total_bytes=1_000_000)[0]
        embedding = self._embedder.embed([decode_crop(sent, preprocessing)])[0]
        return EmbeddedFace(embedding, _shown(image, box))


def _shown(image: NDArray[np.uint8], box: Box) -> bytes:
    """The face with a margin as a small JPEG file."""
    across, down = (box[2] - box[0]) * _MARGIN, (box[3] - box[1]) * _MARGIN
    height, width = image.shape[:2]
    left = min(max(0, int(box[0] - across)), width - 1)
    top = min(max(0, int(box[1] - down)), height - 1)
    right = max(left + 1, min(width, int(box[2] + across)))
    bottom = max(top + 1, min(height, int(box[3] + down)))
    picture = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    picture.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_SHOWN_QUALITY)
    return stream.getvalue()
