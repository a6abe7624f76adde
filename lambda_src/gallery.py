"""Reference embeddings: the file's format, matching, and keeping a running function up to date."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_src import log
from lambda_src.aws import Aws, AwsError
from lambda_src.contract import UNKNOWN

FORMAT = 1
DIMENSIONS = 512
# How long a batch waits for a gallery that is slow to come before it goes on with the last one.
_PATIENCE = 2.0

Embeddings = NDArray[np.float32]


class GalleryFormatError(ValueError):
    """A file that is no gallery, or a gallery that must not be used here."""


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest reference of a probe; `distance` is Euclidean, 0 to 2, or None without any."""

    name: str
    distance: float | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """Names and their reference embeddings, one row each, all of one embedding space.

    embeddings: (N, 512) float32, L2-normalised. A name may have several rows.
    threshold: the Euclidean distance beyond which a probe is `Unknown`.
    """

    space: str
    threshold: float
    names: tuple[str, ...] = ()
    embeddings: Embeddings = field(
        default_factory=lambda: np.zeros((0, DIMENSIONS), dtype=np.float32)
    )
    synthetic: bool = False

    def __post_init__(self) -> None:
        shape = (len(self.names), DIMENSIONS)
        if self.embeddings.shape != shape or self.embeddings.dtype != np.float32:
            raise GalleryFormatError(
                f"embeddings must be float32 of shape {shape}, "
                f"not {self.embeddings.dtype} of shape {self.embeddings.shape}"
            )
        norms = np.linalg.norm(self.embeddings, axis=1)
        if not np.all(np.abs(norms - 1) < 1e-3):
            raise GalleryFormatError("every embedding must be finite and of length 1")

    def match(self, probes: Embeddings) -> list[Match]:
        """The nearest reference of each probe, shape (M, 512), `Unknown` beyond the threshold."""
        if not self.names:
            return [Match(UNKNOWN, None) for _ in probes]
        cosine = probes @ self.embeddings.T
        nearest = np.argmax(cosine, axis=1)
        best = cosine[np.arange(len(probes)), nearest]
        distances = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * best))
        return [
            Match(self.names[index] if distance <= self.threshold else UNKNOWN, float(distance))
            for index, distance in zip(nearest, distances, strict=True)
        ]

    def serialise(self) -> bytes:
        """The gallery as the bytes of an .npz file without pickled objects."""
        header = {
            "format": FORMAT,
            "space": self.space,
            "threshold": self.threshold,
            "synthetic": self.synthetic,
            "names": list(self.names),
        }
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
            embeddings=self.embeddings,
        )
        return stream.getvalue()

    @classmethod
    def parse(cls, data: bytes) -> Gallery:
        """Read an .npz gallery; raises GalleryFormatError."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                embeddings = file["embeddings"]
            if header["format"] != FORMAT:
                raise GalleryFormatError(f"gallery format {header['format']!r} is not {FORMAT}")
            return cls(
                space=str(header["space"]),
                threshold=float(header["threshold"]),
                names=tuple(str(name) for name in header["names"]),
                embeddings=embeddings,
                synthetic=header["synthetic"] is True,
            )
        except GalleryFormatError:
            raise
        except (
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            OSError,
            EOFError,
            RecursionError,
            NotImplementedError,
            zipfile.BadZipFile,
            zipfile.LargeZipFile,
        ) as error:
            raise GalleryFormatError(f"not a gallery: {error}") from error


class GallerySource:
    """The published gallery as a running function sees it, asked for again every `refresh` seconds.

    The question travels while faces are embedded, so it costs no latency. An
    object that is broken or of another space is refused, and the last good one
    keeps serving.
    """

    def __init__(
        self,
        aws: Aws,
        bucket: str,
        key: str,
        *,
        space: str,
        refresh: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._aws = aws
        self._bucket = bucket
        self._key = key
        self._space = space
        self._refresh = refresh
        self._clock = clock
        self._asked: float | None = None
        self._etag: str | None = None
        self._gallery: Gallery | None = None
        self._refused: GalleryFormatError | None = None
        self._asking: threading.Thread | None = None

    def begin(self) -> None:
        """Ask for a newer version in the background if it is time to."""
        if self._asking is not None and self._asking.is_alive():
            return
        if self._asked is not None and self._clock() - self._asked < self._refresh:
            return
        self._asked = self._clock()
        self._asking = threading.Thread(target=self._fetch, daemon=True)
        self._asking.start()

    def current(self) -> Gallery:
        """The newest good gallery; raises GalleryFormatError where there never was one to use."""
        if self._asking is not None:
            self._asking.join(_PATIENCE)
        if self._gallery is not None:
            return self._gallery
        if self._refused is not None:
            raise self._refused
        return Gallery(space=self._space, threshold=0.0)

    def _fetch(self) -> None:
        try:
            answer = self._aws.get_object(self._bucket, self._key, known_etag=self._etag)
        except AwsError as error:
            if error.code == "NoSuchKey":
                # Nobody is enrolled, or nobody is any more.
                self._gallery, self._etag, self._refused = None, None, None
                return
            log.error("gallery", None, error=error.code or "unreachable", message=str(error))
            self._refused = self._refused or GalleryFormatError(f"no gallery yet: {error}")
            return
        if answer is not None:
            self._adopt(*answer)

    def _adopt(self, data: bytes, etag: str) -> None:
        self._etag = etag
        try:
            gallery = Gallery.parse(data)
            if gallery.space != self._space:
                raise GalleryFormatError(
                    f"the gallery is of space {gallery.space}, the model of {self._space}: enrol "
                    "again with `facectl gallery enroll`, or deploy the gallery's model"
                )
        except GalleryFormatError as error:
            self._refused = error
            log.error("gallery", None, error="refused", message=str(error))
            return
        self._gallery, self._refused = gallery, None
        info: dict[str, Any] = {"people": len(set(gallery.names)), "rows": len(gallery.names)}
        log.info("gallery", None, etag=etag, **info)
