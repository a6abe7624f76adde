"""Weights files without their code: state dicts, and the tensors of TorchScript archives.

Both formats are pickles at heart. A state dict is read by torch's own
restricted reader. A TorchScript archive is a zip whose `data.pkl` names classes
of the traced code; here those become plain attribute holders, tensors are
read from the zip's raw storages, and every other name is refused, so nothing
that the file brings along is executed.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from facectl.errors import ModelError

_HINT = "give a facenet-pytorch state dict (torch.save(model.state_dict(), file)) or a trace of it"
_MAX_PICKLE = 50_000_000


def read_state(file: Path) -> dict[str, Any]:
    """The tensors of a weights file by name; raises ModelError for anything else."""
    if not file.is_file():
        raise ModelError(f"No weights file at {file}", hint="facectl models build --help")
    try:
        root = _torchscript_root(file)
        state = _state_dict(file) if root is None else _traced(file, root)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{file} can't be read as weights: {_first_line(error)}", hint=_HINT
        ) from error
    if not state:
        raise ModelError(f"{file} holds no tensors", hint=_HINT)
    return state


def _state_dict(file: Path) -> dict[str, Any]:
    import torch

    state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ModelError(f"{file} holds a {type(state).__name__}, not a state dict", hint=_HINT)
    return {str(key): value for key, value in state.items() if isinstance(value, torch.Tensor)}


def _torchscript_root(file: Path) -> str | None:
    """The folder inside the archive that holds everything; None where it is no TorchScript."""
    if not zipfile.is_zipfile(file):
        return None
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            root, _, rest = name.partition("/")
            if rest == "constants.pkl":
                return root
    return None


def _traced(file: Path, root: str) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        if archive.getinfo(f"{root}/data.pkl").file_size > _MAX_PICKLE:
            raise ModelError(f"{file} is no trace of a network: its structure is too large")
        module = _Reader(archive, root).load()
    state: dict[str, Any] = {}
    _collect(module, "", state)
    return state


def _first_line(error: Exception) -> str:
    """An exception in one line; torch's go on with advice to switch off the safety."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


class _Holder:
    """Stands for any class of traced code: attributes, no behaviour."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _Reader(pickle.Unpickler):
    """Reads tensors, plain containers and attribute holders; refuses every other name."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Holder
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name.endswith("Storage"):
            return name
        raise ModelError(f"a weights file has no business with {module}.{name}", hint=_HINT)

    def persistent_load(self, pid: Any) -> Any:
        """A storage: kind, key of its bytes, device, number of elements."""
        import torch

        _, kind, key, _, count = pid
        kinds = {"FloatStorage": torch.float32, "LongStorage": torch.int64}
        if kind not in kinds:
            raise ModelError(f"weights are float32, not {kind}", hint=_HINT)
        data = self._archive.read(f"{self._root}/data/{key}")
        return torch.frombuffer(bytearray(data), dtype=kinds[kind])[: int(count)]


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> Any:
    return storage.as_strided(tuple(size), tuple(stride), offset).clone()


def _collect(module: _Holder, prefix: str, state: dict[str, Any]) -> None:
    import torch

    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            state[prefix + name] = value
        elif isinstance(value, _Holder):
            _collect(value, f"{prefix}{name}.", state)
