"""The published form of a gallery: one small manifest, and parts that never change.

A part contains the rows of some people and is named by the sha256 of its bytes, so a new
version uploads only the parts that differ, and a download can be verified. The manifest
lists the parts of one version; `current.json`, which functions read, is a copy of the
newest manifest. Each embedding space has its own folder, so a function never reads a
gallery of another model.

Layout of a part: MAGIC, the length of the header (8 bytes, little endian), the header
(JSON), zeros up to a multiple of 64, the vectors row by row, and for `int8` the factor
(float32) of each row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lambda_src.gallery.matching import DIMENSIONS, METRICS, Embeddings, GalleryFormatError

FORMAT = 2
# The folder of all galleries in a deployment's bucket.
ROOT = "gallery"
MAGIC = b"FACEPART"
FLOAT32, INT8 = "float32", "int8"
_ALIGNMENT = 64
_HEX = frozenset("0123456789abcdef")
# No part and no gallery that facectl publishes is larger.
_MAX_PART_BYTES = 256_000_000
_MAX_ROWS = 20_000_000


@dataclass(frozen=True, slots=True)
class PartRef:
    """A manifest's reference to a part."""

    sha256: str
    bytes: int
    rows: int

    def __post_init__(self) -> None:
        good = len(self.sha256) == 64 and _HEX.issuperset(self.sha256)
        if not good or not 0 < self.bytes <= _MAX_PART_BYTES or self.rows < 1:
            raise GalleryFormatError("the manifest has invalid parts")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One published version of a gallery.

    lineage: the random identifier of the gallery that this is a version of.
    matching: `best` (a row per photograph) or `centroid` (a row per person).
    """

    lineage: str
    version: int
    published: str
    space: str
    synthetic: bool
    threshold: float
    metric: str
    matching: str
    people: int
    encoding: str
    parts: tuple[PartRef, ...]

    def __post_init__(self) -> None:
        if self.metric not in METRICS or self.encoding not in (FLOAT32, INT8):
            raise GalleryFormatError("the manifest has an unknown metric or encoding")
        if not 0 <= self.threshold <= 2:
            raise GalleryFormatError(f"threshold must be 0 to 2, not {self.threshold}")
        if self.rows > _MAX_ROWS:
            raise GalleryFormatError(f"the manifest has {self.rows} rows: at most {_MAX_ROWS}")

    @property
    def rows(self) -> int:
        """The number of rows of all parts."""
        return sum(part.rows for part in self.parts)

    def serialise(self) -> bytes:
        """The manifest as JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}).encode()

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Parse a manifest; raises GalleryFormatError."""
        try:
            fields = json.loads(data)
            if fields.pop("format") != FORMAT:
                raise GalleryFormatError("the gallery has another format: publish it again")
            parts = tuple(
                PartRef(str(part["sha256"]), int(part["bytes"]), int(part["rows"]))
                for part in fields.pop("parts")
            )
            return cls(
                lineage=str(fields["lineage"]),
                version=int(fields["version"]),
                published=str(fields["published"]),
                space=str(fields["space"]),
                synthetic=fields["synthetic"] is True,
                threshold=float(fields["threshold"]),
                metric=str(fields["metric"]),
                matching=str(fields["matching"]),
                people=int(fields["people"]),
                encoding=str(fields["encoding"]),
                parts=parts,
            )
        except GalleryFormatError:
            raise
        except (
            KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError
        ) as error:  # fmt: skip
            raise GalleryFormatError(f"not a gallery: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one part; `factors` is None for float32 vectors."""

    names: list[str]
    vectors: NDArray[Any]
    factors: NDArray[np.float32] | None = None


def manifest_key(space: str) -> str:
    """The key of the newest manifest of an embedding space."""
    return f"{ROOT}/{hashlib.sha256(space.encode()).hexdigest()[:16]}/current.json"


def part_key(manifest: str, sha256: str) -> str:
    """The key of a part: in a folder beside its manifest, whose key is given."""
    folder = manifest.rpartition("/")[0]
    return f"{folder}/parts/{sha256}.part".lstrip("/")


def quantised(embeddings: Embeddings) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(N, 512) int8, and the (N,) float32 factors that scale the rows to length 1."""
    steps = np.abs(embeddings).max(axis=1, keepdims=True) / np.float32(127)
    vectors = np.rint(embeddings / steps)
    factors = (1 / np.linalg.norm(vectors, axis=1)).astype(np.float32)
    return vectors.astype(np.int8), factors


def write_part(people: Sequence[tuple[str, int]], embeddings: Embeddings, encoding: str) -> bytes:
    """The bytes of a part; `people` are names with their number of rows, in the order of rows."""
    header = json.dumps(
        {
            "encoding": encoding,
            "names": [name for name, _ in people],
            "counts": [count for _, count in people],
        }
    ).encode()
    start = len(MAGIC) + 8 + len(header)
    padding = bytes(-start % _ALIGNMENT)
    pieces = [MAGIC, len(header).to_bytes(8, "little"), header, padding]
    if encoding == INT8:
        vectors, factors = quantised(embeddings)
        pieces += [vectors.tobytes(), factors.astype("<f4").tobytes()]
    else:
        pieces.append(embeddings.astype("<f4").tobytes())
    return b"".join(pieces)


def read_part(data: bytes | memoryview) -> Part:
    """A part whose vectors are views of `data`; raises GalleryFormatError."""
    try:
        return _read_part(memoryview(data))
    except GalleryFormatError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise GalleryFormatError(f"not a part of a gallery: {error!r}") from error


def _read_part(data: memoryview) -> Part:
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise GalleryFormatError("not a part of a gallery")
    length = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 8], "little")
    start = len(MAGIC) + 8
    header = json.loads(bytes(data[start : start + length]))
    start += length
    start += -start % _ALIGNMENT
    names: list[str] = []
    for name, count in zip(header["names"], header["counts"], strict=True):
        if not isinstance(name, str) or not 0 < len(names) + count <= len(data) // DIMENSIONS:
            raise GalleryFormatError("the part has invalid names")
        names.extend([name] * count)
    rows = len(names)
    is_int8 = header["encoding"] == INT8
    width = DIMENSIONS if is_int8 else DIMENSIONS * 4
    end = start + rows * width
    if len(data) != end + (rows * 4 if is_int8 else 0):
        raise GalleryFormatError("the part's length differs from its header")
    vectors = np.frombuffer(data[start:end], np.int8 if is_int8 else "<f4").reshape(rows, -1)
    factors = np.frombuffer(data[end:], "<f4") if is_int8 else None
    _check_lengths(vectors, factors)
    return Part(names, vectors, factors)


def _check_lengths(vectors: NDArray[Any], factors: NDArray[np.float32] | None) -> None:
    # A vector that overflows is rejected below; the warning would only be noise in the log.
    with np.errstate(over="ignore", invalid="ignore"):
        if factors is None:
            lengths = np.linalg.norm(vectors, axis=1)
        else:
            # Every 16th row: for a million rows, all of them would take half a second.
            wide = vectors[::16].astype(np.float32)
            lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide)) * factors[::16]
    if not np.all(np.abs(lengths - 1) < 1e-3) or (
        factors is not None and not bool(np.isfinite(factors).all())
    ):
        raise GalleryFormatError("every embedding must be finite and of length 1")
