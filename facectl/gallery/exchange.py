"""Imports galleries from .pt files, .npz files and deployments; exports .npz files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl import paths
from facectl.aws import Clients
from facectl.context import Deployment
from facectl.errors import GalleryError, InputError, ModelError
from facectl.gallery import anchors, publish
from facectl.gallery.changes import Reference, check_name
from facectl.gallery.store import Store
from facectl.models.store import find
from facectl.models.weights import RELEASES
from facectl.torch_files import TensorUnpickler, TorchFileError
from lambda_src.contract import UNKNOWN
from lambda_src.gallery.matching import DIMENSIONS, Embeddings, GalleryFormatError
from lambda_src.gallery.parts import read_part
from lambda_src.vision.store import PREPROCESSINGS

# Shorter embeddings can't be normalised.
_MIN_LENGTH = 1e-6
_PAIRS_HINT = (
    "give a file of torch.save([embeddings, names], file): a list of tensors, a list of names"
)
_MAX_STRUCTURE = 200_000_000
_KINDS = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2"}

# Lineage and version of a published gallery that was imported.
Origin = tuple[str, int]


@dataclass(frozen=True, slots=True)
class ImportedGallery:
    """Imported names and embeddings (N, 512); `space` is None if the file does not state it.

    The name `Unknown` is an anchor's; `anchors` are the ids of those rows, in their order.
    """

    names: list[str]
    embeddings: Embeddings
    space: str | None = None
    synthetic: bool = False
    anchors: tuple[str, ...] = ()


def space_of(weights: str, preprocessing: str) -> tuple[str, bool]:
    """The space of these weights and preprocessing, and whether the weights are synthetic.

    `weights`: a release, an installed model, or a weights file. Raises
    InputError, and ModelError if the weights are unknown.
    """
    if preprocessing not in PREPROCESSINGS:
        known = " or ".join(PREPROCESSINGS)
        raise InputError(f"--preprocessing must be {known}, not {preprocessing!r}")
    release = RELEASES.get(weights)
    if release is not None and release.sha256 is not None:
        return f"{release.sha256}/{preprocessing}", False
    file = Path(weights).expanduser()
    from facectl.models import sources, spaces

    if file.is_file():
        return f"{sources.read(weights).identity}/{preprocessing}", False
    if weights in spaces.RECORDED:
        return f"{spaces.RECORDED[weights]}/{preprocessing}", False
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


def read(file: Path) -> ImportedGallery:
    """Read a .pt or .npz gallery and normalise its embeddings; raises GalleryError."""
    if not file.is_file():
        raise InputError(f"No file at {file}")
    if file.suffix.lower() == ".npz":
        return _checked(_npz(file), file)
    names, embeddings = read_pairs(file)
    return _checked(ImportedGallery(names, embeddings), file)


def read_published(clients: Clients) -> tuple[ImportedGallery, str, int]:
    """The published gallery, its lineage and its version; raises GalleryError."""
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
    ids = tuple(f"imported {number}" for number in range(names.count(UNKNOWN)))
    imported = ImportedGallery(names, embeddings, manifest.space, manifest.synthetic, ids)
    return _checked(imported, Path(there.key)), manifest.lineage, manifest.version


def read_source(
    deployment: Deployment,
    source: Path | None,
    preprocessing: str | None,
    weights: str,
    published: bool,
) -> tuple[ImportedGallery, Origin | None]:
    """The gallery to import, with its space; raises InputError, GalleryError, ModelError."""
    if published == (source is not None):
        raise InputError(
            "say what to import: a file, a folder, or --published",
            hint="facectl gallery import --help",
        )
    if source is None:
        imported, lineage, version = read_published(Clients(deployment))
        return imported, (lineage, version)
    imported = read(source)
    if preprocessing is None:
        if imported.space is None:
            raise InputError(
                f"{source} does not say how its faces were preprocessed, and embeddings "
                "of different preprocessings can't be compared",
                hint=f"facectl gallery import {source} --preprocessing cse546",
            )
        return imported, None
    space, synthetic = space_of(weights, preprocessing)
    if imported.space not in (None, space):
        raise GalleryError(
            f"{source} is of embedding space {imported.space}, not of {space}",
            hint=f"facectl gallery import {source}",
        )
    return ImportedGallery(imported.names, imported.embeddings, space, synthetic), None


def store_for(deployment: Deployment, imported: ImportedGallery, origin: Origin | None) -> Store:
    """Open the gallery to import into; raises GalleryError for another space."""
    space = str(imported.space)
    if deployment.space is not None and deployment.space != space:
        raise GalleryError(
            f"the imported gallery is of embedding space {space}, the deployed model of "
            f"{deployment.space}: their embeddings can't be compared",
            hint="facectl models build --help, then facectl deploy with the gallery's model",
        )
    store = Store.for_space(deployment.asu_id, space, synthetic=imported.synthetic)
    if origin is not None:
        store.adopt(*origin)
    return store


def add(
    store: Store, imported: ImportedGallery, progress: Callable[[], None] = lambda: None
) -> int:
    """Add an imported gallery as one version; returns the number of new references.

    Skips a reference that the person already has, up to rounding.
    """
    known: dict[str, list[NDArray[np.float32]]] = {}
    ids = iter(imported.anchors)
    count = 0
    with store.change("import") as change:
        for name, embedding in zip(imported.names, imported.embeddings, strict=True):
            anchor = next(ids) if name == UNKNOWN else None
            if name not in known:
                known[name] = [reference.embedding for reference in store.references(name)]
            if all(float(other @ embedding) < 0.99999 for other in known[name]):
                if anchor is None:
                    change.add(name, Reference(embedding))
                else:
                    change.add_anchor(anchor, Reference(embedding))
                known[name].append(embedding)
                count += 1
            progress()
    return count


def write(store: Store, file: Path) -> int:
    """Write the newest version as an .npz file without pickles; returns its references."""
    names, embeddings = store.rows()
    # Apart from people: earlier versions of facectl read only those.
    ids, ignored = anchors.rows(store)
    header = {
        "space": store.space,
        "synthetic": store.synthetic,
        **asdict(store.settings),
        "names": names,
        "ignored": ids,
    }
    try:
        with paths.atomic_write(file) as stream:
            np.savez_compressed(
                stream,
                header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
                embeddings=embeddings,
                ignored=ignored,
            )
    except OSError as error:
        raise InputError(f"{file} can't be written: {error.strerror}") from error
    return len(names)


def read_pairs(file: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Names, and embeddings (N, D) float32 as they are in the file; raises GalleryError."""
    try:
        with zipfile.ZipFile(file) as archive:
            root = _root(archive)
            loaded = TensorUnpickler(archive, root, _KINDS, _MAX_STRUCTURE).load()
        return _pairs(loaded)
    except (TorchFileError, GalleryError) as error:
        raise GalleryError(f"{file}: {error}", hint=_PAIRS_HINT) from error
    except Exception as error:
        raise GalleryError(
            f"{file} can't be read as a gallery of torch.save: {type(error).__name__}: {error}",
            hint=_PAIRS_HINT,
        ) from error


def _root(archive: zipfile.ZipFile) -> str:
    for name in archive.namelist():
        root, _, rest = name.partition("/")
        if rest == "data.pkl":
            return root
    raise GalleryError("not a file of torch.save (1.6 or later)")


def _pairs(loaded: Any) -> tuple[list[str], NDArray[np.float32]]:
    if not isinstance(loaded, list | tuple) or len(loaded) != 2:
        raise GalleryError("it is not a pair of embeddings and names")
    embeddings, names = loaded
    if isinstance(embeddings, np.ndarray):
        embeddings = list(embeddings)
    if not isinstance(embeddings, list | tuple) or not isinstance(names, list | tuple):
        raise GalleryError("it is not a pair of lists of embeddings and names")
    if len(embeddings) != len(names):
        raise GalleryError(f"{len(embeddings)} embeddings for {len(names)} names")
    if not all(isinstance(name, str) for name in names):
        raise GalleryError("a name that is not text")
    if not names or not all(isinstance(item, np.ndarray) for item in embeddings):
        raise GalleryError("it contains no embeddings")
    flat = [item.reshape(-1) for item in embeddings]
    if len({len(item) for item in flat}) != 1:
        raise GalleryError("embeddings of different dimensions")
    return [str(name) for name in names], np.stack(flat).astype(np.float32)


def _npz(file: Path) -> ImportedGallery:
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            embeddings = arrays["embeddings"]
            if "header" in arrays:
                header = json.loads(arrays["header"].tobytes())
                names, space = header["names"], header["space"]
                synthetic = header["synthetic"] is True
                ids = tuple(map(str, header.get("ignored", ())))
                if ids:
                    names = [*names, *(UNKNOWN for _ in ids)]
                    embeddings = np.concatenate([embeddings, arrays["ignored"]])
                return ImportedGallery(list(names), embeddings, str(space), synthetic, ids)
            return ImportedGallery([str(name) for name in arrays["names"]], embeddings)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise GalleryError(
            f"{file} can't be read as a gallery: {error}",
            hint="give an .npz with the arrays 'embeddings' (N, 512) and 'names' (N), no objects",
        ) from error


def _checked(imported: ImportedGallery, file: Path) -> ImportedGallery:
    embeddings = imported.embeddings
    shape = (len(imported.names), DIMENSIONS)
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
            f"{file}: {len(bad)} embedding(s) are zero or not finite, the first one of "
            f"{imported.names[bad[0]]!r}"
        )
    people = [name for name in imported.names if not (imported.anchors and name == UNKNOWN)]
    if len(people) + len(imported.anchors) != len(imported.names):
        raise GalleryError(f"{file}: {len(imported.anchors)} ids for the faces named {UNKNOWN}")
    names = iter(_names(people, file))
    unit = (wide / lengths[:, None]).astype(np.float32)
    checked = [
        UNKNOWN if imported.anchors and name == UNKNOWN else next(names) for name in imported.names
    ]
    return replace(imported, names=checked, embeddings=unit)


def _names(names: Sequence[object], file: Path) -> list[str]:
    try:
        return [check_name(str(name)) for name in names]
    except InputError as error:
        raise GalleryError(f"{file}: {error}") from error
