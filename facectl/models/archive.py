"""Reads weights files without torch and without executing code in them.

State dicts of torch.save, in its present and its old format, and TorchScript archives. The
`data.pkl` of a TorchScript archive names classes of the traced code, which are replaced by a
class that only holds attributes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import ModelError
from facectl.torch_files import ForbiddenNameError, TensorUnpickler, load_old

# The tensors of a network by their names in facenet-pytorch.
State = dict[str, NDArray[Any]]

_HINT = "give a facenet-pytorch state dict (torch.save(model.state_dict(), file)) or a trace of it"
_MAX_STRUCTURE = 50_000_000
_KINDS = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
}


def read_state(file: Path) -> State:
    """The tensors of a weights file by name; raises ModelError for anything else."""
    if not file.is_file():
        raise ModelError(f"No weights file at {file}", hint="facectl models build --help")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file} can't be read: {error.strerror}") from error
    return state_of(data, str(file))


def state_of(data: bytes, name: str) -> State:
    """The tensors in a weights file's bytes; raises ModelError, in which `name` is the file."""
    try:
        state = _state(data)
    except ForbiddenNameError as error:
        raise ModelError(
            f"{name} can't be read as weights: it refers to {error.name}, which weights never "
            "need; nothing in the file was executed",
            hint=_HINT,
        ) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelError(f"{name} can't be read as weights: {reason}", hint=_HINT) from error
    if not state:
        raise ModelError(f"{name} contains no tensors", hint=_HINT)
    return state


def _state(data: bytes) -> State:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return _tensors(load_old(data, _KINDS))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name.partition("/") for name in archive.namelist()]
        for root, _, rest in names:
            if rest == "constants.pkl":
                module = _TraceUnpickler(archive, root, _KINDS, _MAX_STRUCTURE).load()
                state: State = {}
                _collect(module, "", state)
                return state
        for root, _, rest in names:
            if rest == "data.pkl":
                return _tensors(TensorUnpickler(archive, root, _KINDS, _MAX_STRUCTURE).load())
    raise ValueError("neither a state dict nor a trace")


def _tensors(loaded: Any) -> State:
    if not isinstance(loaded, Mapping):
        raise TypeError(f"a {type(loaded).__name__}, not a state dict")
    return {str(key): value for key, value in loaded.items() if isinstance(value, np.ndarray)}


class _Holder:
    """Replaces any class of traced code: it has attributes, but no methods."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _TraceUnpickler(TensorUnpickler):
    """Reads a `_Holder` for each object of a class of traced code."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Holder
        return super().find_class(module, name)


def _collect(module: _Holder, prefix: str, state: State) -> None:
    for name, value in vars(module).items():
        if isinstance(value, np.ndarray):
            state[prefix + name] = value
        elif isinstance(value, _Holder):
            _collect(value, f"{prefix}{name}.", state)
