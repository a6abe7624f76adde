"""Reads weights files without executing code in them: state dicts and TorchScript archives.

torch's restricted unpickler reads a state dict. The `data.pkl` of a TorchScript archive
names classes of the traced code, which are replaced by a class that only holds attributes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from facectl.errors import ModelError
from facectl.torch_files import ForbiddenNameError, TensorUnpickler

_HINT = "give a facenet-pytorch state dict (torch.save(model.state_dict(), file)) or a trace of it"
_MAX_STRUCTURE = 50_000_000
_KINDS = {"FloatStorage": "<f4", "LongStorage": "<i8"}


def read_state(file: Path) -> dict[str, Any]:
    """The tensors of a weights file by name; raises ModelError for anything else."""
    if not file.is_file():
        raise ModelError(f"No weights file at {file}", hint="facectl models build --help")
    try:
        root = _torchscript_root(file)
        state = _state_dict(file) if root is None else _traced(file, root)
    except ModelError:
        raise
    except ForbiddenNameError as error:
        raise ModelError(
            f"{file} can't be read as weights: it refers to {error.name}, which weights never "
            "need; nothing in the file was executed",
            hint=_HINT,
        ) from error
    except Exception as error:
        raise ModelError(
            f"{file} can't be read as weights: {_first_line(error)}", hint=_HINT
        ) from error
    if not state:
        raise ModelError(f"{file} contains no tensors", hint=_HINT)
    return state


def _state_dict(file: Path) -> dict[str, Any]:
    import torch

    state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ModelError(f"{file} contains a {type(state).__name__}, not a state dict", hint=_HINT)
    return {str(key): value for key, value in state.items() if isinstance(value, torch.Tensor)}


def _torchscript_root(file: Path) -> str | None:
    """The top folder in a TorchScript archive; None for another file."""
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
        module = _TraceUnpickler(archive, root, _KINDS, _MAX_STRUCTURE).load()
    state: dict[str, Any] = {}
    _collect(module, "", state)
    return state


def _first_line(error: Exception) -> str:
    """An exception in one line, without torch's advice to disable the restricted mode."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


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


def _collect(module: _Holder, prefix: str, state: dict[str, Any]) -> None:
    import torch

    for name, value in vars(module).items():
        if isinstance(value, np.ndarray):
            state[prefix + name] = torch.from_numpy(value)
        elif isinstance(value, _Holder):
            _collect(value, f"{prefix}{name}.", state)
