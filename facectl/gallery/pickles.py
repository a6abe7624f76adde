"""`[embeddings, names]` as torch.save writes it, read without torch and without executing it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import GalleryError
from facectl.torch_files import TensorUnpickler, TorchFileError

_HINT = "give a file of torch.save([embeddings, names], file): a list of tensors, a list of names"
_MAX_STRUCTURE = 200_000_000
_KINDS = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2"}


def read_pairs(file: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Names, and embeddings (N, D) float32 as they are in the file; raises GalleryError."""
    try:
        with zipfile.ZipFile(file) as archive:
            root = _root(archive)
            loaded = TensorUnpickler(archive, root, _KINDS, _MAX_STRUCTURE).load()
        return _pairs(loaded)
    except TorchFileError as error:
        raise GalleryError(f"{file}: {error}", hint=_HINT) from error
    except GalleryError as error:
        raise GalleryError(f"{file}: {error}", hint=error.hint) from error
    except Exception as error:
        raise GalleryError(
            f"{file} can't be read as a gallery of torch.save: {type(error).__name__}: {error}",
            hint=_HINT,
        ) from error


def _root(archive: zipfile.ZipFile) -> str:
    for name in archive.namelist():
        root, _, rest = name.partition("/")
        if rest == "data.pkl":
            return root
    raise GalleryError("no file of torch.save (1.6 or later)", hint=_HINT)


def _pairs(loaded: Any) -> tuple[list[str], NDArray[np.float32]]:
    if not isinstance(loaded, list | tuple) or len(loaded) != 2:
        raise GalleryError("it is no pair of embeddings and names", hint=_HINT)
    embeddings, names = loaded
    if isinstance(embeddings, np.ndarray):
        embeddings = list(embeddings)
    if not isinstance(embeddings, list | tuple) or not isinstance(names, list | tuple):
        raise GalleryError("it is no pair of lists of embeddings and names", hint=_HINT)
    if len(embeddings) != len(names):
        raise GalleryError(f"{len(embeddings)} embeddings for {len(names)} names", hint=_HINT)
    if not all(isinstance(name, str) for name in names):
        raise GalleryError("a name that is no text", hint=_HINT)
    if not names or not all(isinstance(item, np.ndarray) for item in embeddings):
        raise GalleryError("it holds no embeddings", hint=_HINT)
    flat = [item.reshape(-1) for item in embeddings]
    if len({len(item) for item in flat}) != 1:
        raise GalleryError("embeddings of different dimensions", hint=_HINT)
    return [str(name) for name in names], np.stack(flat).astype(np.float32)
