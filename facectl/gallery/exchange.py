"""Galleries from elsewhere and for elsewhere: .pt of torch.save, .npz, and what is published."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facectl import paths
from facectl.aws import Clients
from facectl.errors import GalleryError, InputError, ModelError
from facectl.gallery import publish
from facectl.gallery.changes import Reference
from facectl.gallery.names import check_name
from facectl.gallery.pickles import read_pairs
from facectl.gallery.store import Store
from facectl.models.store import find
from facectl.models.weights import RELEASES
from lambda_src.gallery.matching import DIMENSIONS, Embeddings, GalleryFormatError
from lambda_src.gallery.parts import read_part
from lambda_src.vision.preprocessing import PREPROCESSINGS
from lambda_src.vision.store import file_digest

# Embeddings of length 1 are stored as such; others that can be are made so.
_MIN_LENGTH = 1e-6


@dataclass(frozen=True, slots=True)
class Foreign:
    """A gallery that was read: its space, None where the file does not say."""

    names: list[str]
    embeddings: Embeddings
    space: str | None = None
    synthetic: bool = False


def space_of(weights: str, preprocessing: str) -> tuple[str, bool]:
    """The space of embeddings made with these weights and this preprocessing, and if synthetic.

    `weights`: a release, an installed model, or a weights file. Raises
    InputError, and ModelError where nothing says what the weights are.
    """
    if preprocessing not in PREPROCESSINGS:
        known = " or ".join(PREPROCESSINGS)
        raise InputError(f"--preprocessing must be {known}, not {preprocessing!r}")
    release = RELEASES.get(weights)
    if release is not None and release.sha256 is not None:
        return f"{release.sha256}/{preprocessing}", False
    file = Path(weights).expanduser()
    if file.is_file():
        return f"{file_digest(file)}/{preprocessing}", False
    for name in (f"{weights}-{preprocessing}", weights):
        try:
            model = find(name)
        except ModelError:
            continue
        return f"{model.space.partition('/')[0]}/{preprocessing}", model.synthetic
    raise ModelError(
        f"No weights are called {weights!r}: {', '.join(RELEASES)}, an installed model or a file",
        hint="facectl models list",
    )


def read(file: Path) -> Foreign:
    """A .pt or .npz gallery, every embedding checked and of length 1; raises GalleryError."""
    if not file.is_file():
        raise InputError(f"No file at {file}")
    if file.suffix.lower() == ".npz":
        return _checked(_npz(file), file)
    names, embeddings = read_pairs(file)
    return _checked(Foreign(names, embeddings), file)


def published(clients: Clients) -> tuple[Foreign, str, int]:
    """The gallery that the deployment has, its lineage and version; raises GalleryError."""
    there = publish.inspect(clients)
    if there.manifest is None:
        raise GalleryError(there.problem or "the deployment has no gallery")
    names: list[str] = []
    blocks: list[NDArray[np.float32]] = []
    for ref in there.manifest.parts:
        try:
            part = read_part(publish.fetch_part(clients, there, ref.sha256))
        except GalleryFormatError as error:
            raise GalleryError(f"part {ref.sha256[:12]} of it is damaged: {error}") from error
        vectors = part.vectors.astype(np.float32)
        blocks.append(vectors if part.factors is None else vectors * part.factors[:, None])
        names += part.names
    embeddings = np.concatenate([np.zeros((0, DIMENSIONS), np.float32), *blocks])
    manifest = there.manifest
    foreign = Foreign(names, embeddings, manifest.space, manifest.synthetic)
    return _checked(foreign, Path(there.key)), manifest.lineage, manifest.version


def add(store: Store, foreign: Foreign, progress: Callable[[], None] = lambda: None) -> int:
    """Put what was read into the gallery as one version; how many references were new.

    A reference that the person has already, to within rounding, is not added again.
    """
    known: dict[str, list[NDArray[np.float32]]] = {}
    count = 0
    with store.change("import") as change:
        for name, embedding in zip(foreign.names, foreign.embeddings, strict=True):
            if name not in known:
                known[name] = [reference.embedding for reference in store.references(name)]
            if all(float(other @ embedding) < 0.99999 for other in known[name]):
                change.add(name, Reference(embedding))
                known[name].append(embedding)
                count += 1
            progress()
    return count


def write(store: Store, file: Path) -> int:
    """The newest version as one .npz file without pickles; how many references it holds."""
    names, embeddings = store.rows()
    header = {
        "space": store.space,
        "synthetic": store.synthetic,
        **asdict(store.settings),
        "names": names,
    }
    try:
        with paths.atomic_write(file) as stream:
            np.savez_compressed(
                stream,
                header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
                embeddings=embeddings,
            )
    except OSError as error:
        raise InputError(f"{file} can't be written: {error.strerror}") from error
    return len(names)


def _npz(file: Path) -> Foreign:
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            embeddings = arrays["embeddings"]
            if "header" in arrays:
                header = json.loads(arrays["header"].tobytes())
                names, space = header["names"], header["space"]
                return Foreign(list(names), embeddings, str(space), header["synthetic"] is True)
            return Foreign([str(name) for name in arrays["names"]], embeddings)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise GalleryError(
            f"{file} can't be read as a gallery: {error}",
            hint="give an .npz with the arrays 'embeddings' (N, 512) and 'names' (N), no objects",
        ) from error


def _checked(foreign: Foreign, file: Path) -> Foreign:
    embeddings = foreign.embeddings
    shape = (len(foreign.names), DIMENSIONS)
    if embeddings.shape != shape or embeddings.dtype.kind != "f":
        raise GalleryError(
            f"{file}: embeddings must be numbers of shape {shape}, "
            f"not {embeddings.dtype} of shape {embeddings.shape}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        wide = embeddings.astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths < _MIN_LENGTH))
    if len(bad):
        raise GalleryError(
            f"{file}: {len(bad)} embedding(s) are zero or not finite, the first of them of "
            f"{foreign.names[bad[0]]!r}"
        )
    names = _names(foreign.names, file)
    unit = (wide / lengths[:, None]).astype(np.float32)
    return Foreign(names, unit, foreign.space, foreign.synthetic)


def _names(names: Sequence[object], file: Path) -> list[str]:
    try:
        return [check_name(str(name)) for name in names]
    except InputError as error:
        raise GalleryError(f"{file}: {error}") from error
