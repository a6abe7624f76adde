"""Files of torch.save and TorchScript, read without torch and without executing code in them.

Both are zip archives: a pickle, `data.pkl`, describes the structure, and the
numbers of each tensor are in a file of their own. `TensorUnpickler` gives the
pickle an allowlist of names and returns tensors as arrays.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_STORAGE = 8_000_000_000


class TorchFileError(ValueError):
    """A file that is refused; the message says why."""


class ForbiddenNameError(TorchFileError):
    """A pickle that refers to `module.name` (in `name`), which is outside the allowlist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it refers to {name}, which is not allowed; no code was executed")
        self.name = name


class TensorUnpickler(pickle.Unpickler):
    """Reads tensors and plain containers from an archive; raises TorchFileError for the rest.

    root: the folder in the archive that has `data.pkl`. kinds: the numpy dtype of
    each storage class that is accepted, by its name in torch. max_structure: the
    largest `data.pkl`, in bytes.
    """

    def __init__(
        self, archive: zipfile.ZipFile, root: str, kinds: Mapping[str, str], max_structure: int
    ) -> None:
        structure = archive.getinfo(f"{root}/data.pkl")
        if structure.file_size > max_structure:
            raise TorchFileError("its structure is too large")
        super().__init__(io.BytesIO(archive.read(structure)))
        self._archive = archive
        self._root = root
        self._kinds = kinds
        self._storages: dict[str, NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        # A new object each time: a pickle can set attributes on what it gets.
        if (module, name) == ("collections", "OrderedDict"):
            return type("OrderedDict", (OrderedDict,), {})
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: _tensor(storage, offset, size, stride)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in self._kinds:
            return name
        raise ForbiddenNameError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """The numbers of a storage; `pid` has its kind, key, device and number of elements."""
        _, kind, key, _, count = pid
        if key not in self._storages:
            info = self._archive.getinfo(f"{self._root}/data/{key}")
            if info.file_size > _MAX_STORAGE:
                raise TorchFileError("a tensor is too large")
            self._storages[key] = np.frombuffer(self._archive.read(info), self._kinds[kind])
        return self._storages[key][: int(count)]


def _tensor(storage: Any, offset: int, size: Any, stride: Any) -> NDArray[Any]:
    """A copy of the tensor at an offset of its storage; offset and strides in elements."""
    if not isinstance(storage, np.ndarray):
        raise TorchFileError("a tensor without a storage")
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    last = int(offset) + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(size, default=1) < 1 or min(stride, default=0) < 0 or not 0 <= offset <= last:
        raise TorchFileError("a tensor with an invalid shape")
    # Outside the storage is other memory of this process.
    if last >= len(storage):
        raise TorchFileError("a tensor outside its storage")
    if int(np.prod(size, dtype=np.float64)) > len(storage):
        raise TorchFileError("a tensor larger than its storage")
    width = storage.itemsize
    view = np.lib.stride_tricks.as_strided(
        storage[offset:], size, tuple(step * width for step in stride), writeable=False
    )
    return np.array(view)
