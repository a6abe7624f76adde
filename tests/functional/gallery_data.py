"""Helpers of the gallery's tests: embeddings, galleries, and an encoder without a model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from facectl.context import Deployment
from facectl.gallery.changes import Reference
from facectl.gallery.photographs import EncodedPhotograph, PhotographError
from facectl.gallery.store import Store, path

SPACE = "0123/facenet"
DEPLOYMENT = Deployment("alice", "aws", space=SPACE)


def unit(index: int, lean: float = 0.0) -> np.ndarray:
    """A unit vector along one axis; `lean` tilts it towards the next."""
    vector = np.zeros(512, dtype=np.float32)
    vector[index], vector[index + 1] = 1, lean
    return vector / np.linalg.norm(vector)


def face(seed: int) -> np.ndarray:
    """A random unit vector."""
    vector = np.random.default_rng(seed).standard_normal(512).astype(np.float32)
    return vector / np.linalg.norm(vector)


def made(asu_id: str = "alice") -> Store:
    """An open gallery."""
    return Store.for_space(asu_id, SPACE)


def put(store: Store, **people: int) -> None:
    """Add one version with these numbers of references by name."""
    with store.change("enroll") as change:
        for name, count in people.items():
            for index in range(count):
                sha256 = hashlib.sha256(f"{name}{index}".encode()).hexdigest()
                vector = face(int(sha256[:8], 16))
                change.add(name, Reference(vector, sha256, f"/photos/{name}{index}.jpg"))


def set_aside(asu_id: str = "alice") -> Path:
    """Move a gallery file away, as facectl 1 did when the model changed; returns its new path."""
    file = path(asu_id)
    count = len(list(file.parent.glob(f"{asu_id}*.db")))
    return file.rename(file.with_name(f"{asu_id}.aside-{count}.db"))


class FakeFaceEncoder:
    """Reads an embedding out of a photograph's text: `axis lean faces px probability sharpness`."""

    def __init__(self) -> None:
        self.looked: list[Path] = []

    def embed(self, photo: Path, *, take_largest: bool = False) -> EncodedPhotograph:
        self.looked.append(photo)
        data = photo.read_bytes()
        fields = data.decode().split()
        if fields[0] == "blank":
            raise PhotographError("no_face", "no face was found", 0)
        if fields[0] == "broken":
            raise PhotographError("unreadable", "can't be read: the image can't be decoded")
        axis, lean, faces, px, probability, sharpness = map(float, fields)
        if faces > 1 and not take_largest:
            raise PhotographError("several_faces", f"{faces:.0f} faces were found", faces)
        return EncodedPhotograph(
            photo, hashlib.sha256(data).hexdigest(), unit(int(axis), lean), int(faces), px,
            probability, sharpness,
        )  # fmt: skip


def photo(
    file: Path, axis: int, lean: float = 0.0, *, faces: int = 1, px: float = 100,
    probability: float = 0.999, sharpness: float = 300,
) -> Path:  # fmt: skip
    """A photograph that FakeFaceEncoder can read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{axis} {lean} {faces} {px} {probability} {sharpness}")
    return file
