"""From weights to an installed model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facectl.console import err
from facectl.errors import InputError, ModelError
from facectl.models import store
from facectl.models.weights import RELEASES, fetch, state_digest
from lambda_src.vision.store import FACENET, PREPROCESSINGS, Model, file_digest

SYNTHETIC = "synthetic"


@dataclass(frozen=True, slots=True)
class _Source:
    """Weights to build from: their name, their sha256, and the tensors."""

    name: str
    digest: str
    state: dict[str, Any]
    synthetic: bool = False


def build(weights: str | Path = "vggface2", preprocessing: str = FACENET) -> Model:
    """Build a model, compare it with facenet-pytorch, install it and make it the current one.

    `weights` is vggface2, casia-webface, synthetic, or a file with a state dict
    or a trace. Raises ModelError, and InputError for a preprocessing that is
    not known; what was installed before stays where anything fails.
    """
    if preprocessing not in PREPROCESSINGS:
        raise InputError(
            f"No preprocessing is called {preprocessing!r}",
            hint="facectl models build --preprocessing facenet",
        )
    source = _source(weights, preprocessing)
    with err.status("Exporting the networks and comparing them with facenet-pytorch"):
        return _install(source, preprocessing)


def ensure(weights: str | Path = "vggface2", preprocessing: str = FACENET) -> Model:
    """The installed model of these weights, built first where there is none."""
    name = _name(str(weights), preprocessing)
    if str(weights) in (*RELEASES, SYNTHETIC):
        for model in store.installed():
            if model.path.name == name:
                return model
    return build(weights, preprocessing)


def _source(weights: str | Path, preprocessing: str) -> _Source:
    # Torch takes a second to import, so first what may fail without it.
    name = str(weights)
    if name in RELEASES:
        file = fetch(RELEASES[name])
    elif name != SYNTHETIC:
        file = Path(weights).expanduser()
        if not file.is_file():
            known = ", ".join((*RELEASES, SYNTHETIC))
            raise ModelError(
                f"No weights are called {name!r}, and no file is there: {known} or a file",
                hint="facectl models build --weights synthetic",
            )
    from facectl.models import archive, reference, synthetic

    with err.status("Loading torch and facenet-pytorch"):
        reference.facenet()
    if name == SYNTHETIC:
        with err.status("Making synthetic weights"):
            state = synthetic.state(preprocessing)
        tensors = {key: tensor.numpy().tobytes() for key, tensor in state.items()}
        return _Source(name, state_digest(tensors), state, synthetic=True)
    digest = file_digest(file)
    if name not in RELEASES:
        name = f"{file.stem}-{digest[:8]}"
    return _Source(name, digest, archive.read_state(file))


def _install(source: _Source, preprocessing: str) -> Model:
    import torch

    from facectl.models import export, reference

    embedder, cascade = reference.embedder(source.state), reference.cascade()
    name = _name(source.name, preprocessing)
    with store.installation(name) as folder:
        export.write_networks(folder, cascade, embedder, preprocessing)
        differences = export.compare(folder, cascade, embedder, preprocessing)
        store.write_manifest(
            folder,
            {
                "space": f"{source.digest}/{preprocessing}",
                "preprocessing": preprocessing,
                "synthetic": source.synthetic,
                "weights": source.name,
                "compared": {"torch": torch.__version__, **differences},
            },
        )
    return store.find(name)


def _name(weights: str, preprocessing: str) -> str:
    """The folder's name of a model."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', weights)}-{preprocessing}"
