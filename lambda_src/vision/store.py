"""An installed model: a folder of network files and their manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
# Increased when older folders can't be read any more.
FORMAT = 3
PNET, RNET, ONET, EMBEDDER = "pnet.onnx", "rnet.onnx", "onet.onnx", "embedder.onnx"
# In a file of their own they are mapped into memory instead of parsed and copied: this
# saves 0.1 s and 90 MB at every cold start.
EMBEDDER_WEIGHTS = "embedder.weights"
# The files that each function loads; its container image has no others.
DETECTION = (PNET, RNET, ONET)
RECOGNITION = (EMBEDDER, EMBEDDER_WEIGHTS)
NETWORKS = (*DETECTION, *RECOGNITION)

# From a face to the embedder's input; part of an embedding space's identity. `facenet` is
# facenet-pytorch's: a 160-pixel crop, scaled as (x - 127.5) / 128. `cse546` is that of the
# CSE 546 course project: a 240-pixel crop stretched to 0..255, saved as JPEG, scaled as
# x / 255. The embedder's graph scales; crops are bytes.
FACENET, CSE546 = "facenet", "cse546"
PREPROCESSINGS = (FACENET, CSE546)
_CROP_SIZES = {FACENET: 160, CSE546: 240}

# The number format in which the embedder computes. Its embeddings are comparable with those
# of the other precision: the embedding space is the same.
FP32, INT8 = "fp32", "int8"
PRECISIONS = (FP32, INT8)

_REBUILD = "rebuild it with `facectl models build`"


class ModelStoreError(ValueError):
    """A model folder that is missing, damaged or of an unknown format."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A small picture of a face, and its embedding when the model was built; both base64.

    `face`: (40, 40, 3) uint8 RGB. `embedding`: (512,) float16, little endian.
    """

    face: str
    embedding: str


@dataclass(frozen=True, slots=True)
class Model:
    """An installed model; the sizes of its files equal those in the manifest.

    `space`: the embedding space: sha256 of the weights, a slash, the preprocessing.
    `weights`: the name of their source. `synthetic`: the weights were never trained,
    so names mean nothing. `precision`: one of PRECISIONS, of the embedder. `reference`:
    None for models of earlier versions.
    """

    path: Path
    space: str
    preprocessing: str
    synthetic: bool
    weights: str
    precision: str = FP32
    reference: Reference | None = None

    @classmethod
    def open(cls, path: Path, networks: tuple[str, ...] = NETWORKS) -> Model:
        """Read a model folder with at least these networks; raises ModelStoreError.

        Only `verify` compares digests.
        """
        manifest = _manifest(path)
        try:
            model = cls(
                path,
                str(manifest["space"]),
                str(manifest["preprocessing"]),
                manifest["synthetic"] is True,
                str(manifest["weights"]),
                _precision(manifest),
                _reference(manifest),
            )
            sizes = {name: int(manifest["files"][name]["bytes"]) for name in networks}
        except (KeyError, TypeError, ValueError) as error:
            raise ModelStoreError(
                f"{path / MANIFEST} is damaged ({type(error).__name__}: {error}): {_REBUILD}"
            ) from error
        for name, size in sizes.items():
            _check_size(path / name, size)
        return model

    @property
    def space_name(self) -> str:
        """The folder's name without the precision: the same for all models of the space."""
        return self.path.name.removesuffix(f"-{self.precision}")

    def file(self, name: str) -> Path:
        """The path of one of NETWORKS."""
        return self.path / name

    def verify(self) -> None:
        """Compare every file with its sha256; raises ModelStoreError with the first that differs.

        Not in `open`, because it reads the whole model, which takes 0.1 s or more.
        """
        files = _manifest(self.path)["files"]
        for file in map(self.file, NETWORKS):
            if file_digest(file) != files[file.name]["sha256"]:
                raise ModelStoreError(
                    f"{file} is damaged: its sha256 differs from the manifest's: {_REBUILD}"
                )


def crop_size(preprocessing: str) -> int:
    """The side of a crop in pixels; raises ValueError for an unknown preprocessing."""
    try:
        return _CROP_SIZES[preprocessing]
    except KeyError:
        known = " or ".join(PREPROCESSINGS)
        raise ValueError(f"preprocessing must be {known}, not {preprocessing!r}") from None


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ModelStoreError(
            f"{path} contains no model (no {MANIFEST}): build one with `facectl models build`"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelStoreError(f"{path / MANIFEST} can't be read ({error}): {_REBUILD}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or found != FORMAT:
        raise ModelStoreError(
            f"{path} has format {found!r}, and this version reads {FORMAT}: {_REBUILD}"
        )
    return manifest


def _precision(manifest: dict[str, Any]) -> str:
    # Earlier versions built fp32 only and did not write it.
    found = manifest.get("precision", FP32)
    if found not in PRECISIONS:
        raise ValueError(f"precision {found!r} is not {' or '.join(PRECISIONS)}")
    return str(found)


def _reference(manifest: dict[str, Any]) -> Reference | None:
    found = manifest.get("reference")
    return None if found is None else Reference(str(found["face"]), str(found["embedding"]))


def _check_size(file: Path, size: int) -> None:
    try:
        found = file.stat().st_size
    except OSError as error:
        raise ModelStoreError(f"{file} is missing: {_REBUILD}") from error
    if found != size:
        raise ModelStoreError(
            f"{file} is damaged: {found} bytes where the manifest says {size}: {_REBUILD}"
        )
