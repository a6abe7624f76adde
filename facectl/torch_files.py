"""Files of torch.save and TorchScript, read without torch and without executing code in them.

Since torch 1.6 both are zip archives: a pickle, `data.pkl`, describes the structure, and the
numbers of each tensor are in a file of their own. Older files of torch.save are pickles
followed by the numbers of every storage (`load_old`). The pickles get an allowlist of names,
and tensors are returned as arrays.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_STORAGE = 8_000_000_000
# What a file of torch.save before 1.6 begins with, as a pickle, and the version of its format.
_OLD_MAGIC = 0x1950A86A20F9469CFC6C
_OLD_VERSION = 1001

# Gets the key, kind and number of elements of a storage; returns its numbers.
_Storages = Callable[[str, str, int], NDArray[Any]]


class TorchFileError(ValueError):
    """A file that is refused; the message says why."""


class ForbiddenNameError(TorchFileError):
    """A pickle that refers to `module.name` (in `name`), which is outside the allowlist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it refers to {name}, which is not allowed; no code was executed")
        self.name = name


# The unpickler in C allocates as many memo entries as a number in the file says: a few bytes
# take all memory. That in Python, which is slower, keeps a dictionary.
class _RestrictedUnpickler(pickle._Unpickler):
    """Reads tensors and plain containers; raises TorchFileError for the rest.

    kinds: the numpy dtype of each storage class that is accepted, by its name in torch.
    """

    def __init__(self, stream: io.BytesIO, kinds: Mapping[str, str], storages: _Storages) -> None:
        super().__init__(stream)
        self._kinds = kinds
        self._storage = storages

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
        _, kind, key, _, count = pid[:5]
        return self._storage(str(key), self._kinds[kind], int(count))


class TensorUnpickler(_RestrictedUnpickler):
    """Reads an archive's `data.pkl`, as _RestrictedUnpickler does.

    root: the folder in the archive that has `data.pkl`. max_structure: the largest
    `data.pkl`, in bytes.
    """

    def __init__(
        self, archive: zipfile.ZipFile, root: str, kinds: Mapping[str, str], max_structure: int
    ) -> None:
        structure = archive.getinfo(f"{root}/data.pkl")
        if structure.file_size > max_structure:
            raise TorchFileError("its structure is too large")
        read: dict[str, NDArray[Any]] = {}

        def storage(key: str, dtype: str, count: int) -> NDArray[Any]:
            if key not in read:
                info = archive.getinfo(f"{root}/data/{key}")
                if info.file_size > _MAX_STORAGE:
                    raise TorchFileError("a tensor is too large")
                read[key] = np.frombuffer(archive.read(info), dtype)
            return read[key][:count]

        super().__init__(io.BytesIO(archive.read(structure)), kinds, storage)


def load_old(data: bytes, kinds: Mapping[str, str]) -> Any:
    """The object in a file of torch.save before 1.6; raises TorchFileError for other bytes.

    Such a file is a row of pickles (magic number, version, facts about the machine, the
    object, the storages' keys) and then, for each key, the number of elements (8 bytes)
    and the elements. The object comes before its storages, so it is read twice.
    """
    stream = io.BytesIO(data)
    counts: dict[str, tuple[str, int]] = {}

    def empty(key: str, dtype: str, count: int) -> NDArray[Any]:
        if not 0 <= count * np.dtype(dtype).itemsize <= len(data):
            raise TorchFileError("a storage larger than the file")
        counts[key] = dtype, count
        return np.zeros(count, dtype)

    def pickled(storages: _Storages) -> Any:
        return _RestrictedUnpickler(stream, kinds, storages).load()

    if pickled(empty) != _OLD_MAGIC or pickled(empty) != _OLD_VERSION:
        raise TorchFileError("not a file of torch.save")
    pickled(empty)
    start = stream.tell()
    pickled(empty)
    keys = pickled(empty)
    storages: dict[str, NDArray[Any]] = {}
    for key in map(str, keys):
        dtype, count = counts[key]
        length, size = stream.read(8), count * np.dtype(dtype).itemsize
        if int.from_bytes(length, "little") != count or len(block := stream.read(size)) != size:
            raise TorchFileError("a storage is cut off or has another size")
        storages[key] = np.frombuffer(block, dtype)
    stream.seek(start)
    return pickled(lambda key, _dtype, count: storages[key][:count])


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
