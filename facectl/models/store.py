"""The folder of installed models, and the one that commands use by default."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from facectl import paths
from facectl.context import Deployment
from facectl.errors import ModelError
from lambda_src.vision.store import (
    FORMAT,
    FP32,
    MANIFEST,
    NETWORKS,
    Model,
    ModelStoreError,
    file_digest,
)

_BUILD = "facectl models build"


def folder() -> Path:
    """The folder of installed models, one folder per model."""
    return paths.data_dir() / "models"


def installed() -> list[Model]:
    """Every installed model that can be read, by name."""
    return [found for path in _folders() if isinstance(found := _opened(path), Model)]


def damaged() -> dict[str, str]:
    """The names of unreadable model folders, with the errors."""
    opened = {path.name: _opened(path) for path in _folders()}
    return {name: str(found) for name, found in opened.items() if not isinstance(found, Model)}


def find(name: str | None = None, precision: str | None = None) -> Model:
    """The model with this name or embedding space, verified; the one built last by default.

    A space, and a name without its precision, can stand for two models: the one of
    `precision`, else the one built last, else fp32. Reads the whole model, which takes
    about 0.1 s. Raises ModelError if it is missing or damaged.
    """
    if name is None:
        name = _current()
    if name is None:
        raise ModelError(f"No model is installed in {folder()}", hint=_BUILD)
    model = _chosen(name, precision)
    if model is not None:
        verify(model)
        return model
    unreadable = damaged()
    if name in unreadable:
        raise ModelError(unreadable[name], hint=_BUILD)
    if unreadable:
        # The embedding space of a damaged folder is unknown: it may be the wanted one.
        raise ModelError(
            f"No readable model is called {name!r}: " + "; ".join(unreadable.values()), hint=_BUILD
        )
    raise ModelError(f"No installed model is called {name!r}", hint="facectl models list")


def deployed(deployment: Deployment) -> Model:
    """The installed model of a deployment's space and precision; raises ModelError.

    Before anything is deployed it is the model built last.
    """
    # Earlier versions deployed fp32 only and did not record it.
    precision = deployment.precision or (None if deployment.space is None else FP32)
    return find(deployment.space, precision)


def quantised(model: Model) -> dict[str, Any] | None:
    """How an int8 model was calibrated and its cosine to fp32; None for fp32."""
    found = json.loads((model.path / MANIFEST).read_bytes()).get("quantised")
    return found if isinstance(found, dict) else None


def verify(model: Model) -> None:
    """Compare every file of a model with its sha256; raises ModelError."""
    try:
        model.verify()
    except (ModelStoreError, OSError) as error:
        raise ModelError(str(error), hint=_BUILD) from error


@contextmanager
def installation(name: str) -> Iterator[Path]:
    """A new folder for a model; replaces the model with this name if the block succeeds.

    The old folder stays in place until the new one is complete.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(dir=folder(), prefix=f".{name}."))
    except OSError as error:
        raise ModelError(f"Models can't be installed in {folder()}: {error}") from error
    try:
        yield temporary
        # Of two builds of one model the later replaces the earlier.
        with paths.locked(paths.state_dir() / "models.lock"):
            _replace(temporary, folder() / name)
            with paths.atomic_write(folder() / "current") as stream:
                stream.write(name.encode())
    except OSError as error:
        raise ModelError(f"The model could not be installed in {folder()}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_manifest(path: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of a folder of network files, with their sizes and digests."""
    files = {
        name: {"bytes": (path / name).stat().st_size, "sha256": file_digest(path / name)}
        for name in NETWORKS
    }
    with paths.atomic_write(path / MANIFEST, mode=0o644) as stream:
        stream.write(json.dumps({"format": FORMAT, **facts, "files": files}, indent=2).encode())


def _replace(new: Path, target: Path) -> None:
    new.chmod(0o755)
    # In a container image another user reads them.
    for file in new.iterdir():
        file.chmod(0o644)
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _folders() -> list[Path]:
    if not folder().is_dir():
        return []
    return sorted(p for p in folder().iterdir() if p.is_dir() and not p.name.startswith("."))


def _chosen(name: str, precision: str | None) -> Model | None:
    models = installed()
    for model in models:
        if model.path.name == name:
            return model
    found = [model for model in models if name in (model.space, model.space_name)]
    current = _current()
    # Sorting is stable, and the name of fp32, which has no suffix, is the first.
    found.sort(key=lambda model: (model.precision != precision, model.path.name != current))
    return found[0] if found else None


def _opened(path: Path) -> Model | ModelStoreError:
    try:
        return Model.open(path)
    except ModelStoreError as error:
        return error


def _current() -> str | None:
    file = folder() / "current"
    return file.read_text().strip() if file.exists() else None
