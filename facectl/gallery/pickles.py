"""`[embeddings, names]` as torch.save writes it, read without torch and without executing it.

A file of torch.save is a zip with a pickle and the tensors' bytes. The pickle
may name three things here: a tensor's construction, its storage and an ordered
dictionary; they are ours, and every other name is refused before it is looked up.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import GalleryError

_HINT = "give a file of torch.save([embeddings, names], file): a list of tensors, a list of names"
_MAX_PICKLE = 200_000_000
_MAX_STORAGE = 8_000_000_000
_KINDS = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2"}


def read_pairs(file: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Names, and embeddings (N, D) float32 as they are in the file; raises GalleryError."""
    try:
        with zipfile.ZipFile(file) as archive:
            root = _root(archive)
            loaded = _Reader(archive, root).load()
        return _pairs(loaded)
    except GalleryError as error:
        raise GalleryError(f"{file}: {error}", hint=error.hint) from error
    except Exception as error:
        raise GalleryError(
            f"{file} can't be read as a gallery of torch.save: {type(error).__name__}: {error}",
            hint=_HINT,
        ) from error


def _root(archive: zipfile.ZipFile) -> str:
    for info in archive.infolist():
        root, _, rest = info.filename.partition("/")
        if rest == "data.pkl":
            if info.file_size > _MAX_PICKLE:
                raise GalleryError("its structure is too large for a gallery", hint=_HINT)
            return root
    raise GalleryError("no file of torch.save (1.6 or later)", hint=_HINT)


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root
        self._storages: dict[str, NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            # A new class each time: a pickle may set attributes on what it gets.
            return type("OrderedDict", (OrderedDict,), {})
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: _tensor(storage, offset, size, stride)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _KINDS:
            return name
        raise GalleryError(
            f"it asks for {module}.{name}, which a gallery has no business with: nothing of it "
            "was executed",
            hint=_HINT,
        )

    def persistent_load(self, pid: Any) -> Any:
        """A storage: kind, key of its bytes, device, number of elements."""
        _, kind, key, _, count = pid
        if key not in self._storages:
            info = self._archive.getinfo(f"{self._root}/data/{key}")
            if info.file_size > _MAX_STORAGE:
                raise GalleryError("a tensor is too large for a gallery", hint=_HINT)
            self._storages[key] = np.frombuffer(self._archive.read(info), _KINDS[kind])
        return self._storages[key][: int(count)]


def _tensor(storage: Any, offset: int, size: Any, stride: Any) -> NDArray[np.float32]:
    if not isinstance(storage, np.ndarray):
        raise GalleryError("a tensor without numbers", hint=_HINT)
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    last = int(offset) + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(size, default=1) < 1 or min(stride, default=0) < 0 or not 0 <= offset <= last:
        raise GalleryError("a tensor of impossible shape", hint=_HINT)
    # Read beyond its storage it would be somebody else's memory.
    if last >= len(storage):
        raise GalleryError("a tensor that reaches past its numbers", hint=_HINT)
    if len(size) > 1 and int(np.prod(size, dtype=np.float64)) > len(storage):
        raise GalleryError("a tensor that repeats its numbers", hint=_HINT)
    width = storage.itemsize
    view = np.lib.stride_tricks.as_strided(
        storage[offset:], size, tuple(step * width for step in stride), writeable=False
    )
    return view.astype(np.float32)


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
    return [str(name) for name in names], np.stack(flat)
