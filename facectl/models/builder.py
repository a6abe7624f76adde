"""Builds models: reads weights, exports the networks, compares and installs them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facectl.errors import InputError, ModelError
from facectl.models import store
from facectl.models.weights import RELEASES, DownloadWatch, fetch, state_digest, unwatched
from lambda_src.vision.store import FACENET, PREPROCESSINGS, Model, file_digest

SYNTHETIC = "synthetic"

# Gets the name of a slow step and returns the context in which it runs, e.g. a spinner.
Step = Callable[[str], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class _Source:
    """Weights with their name and sha256."""

    name: str
    digest: str
    state: dict[str, Any]
    synthetic: bool = False


def build(
    weights: str | Path = "vggface2",
    preprocessing: str = FACENET,
    *,
    step: Step = nullcontext,
    watch: DownloadWatch = unwatched,
) -> Model:
    """Build a model, compare it with facenet-pytorch, install it and make it the current one.

    `weights`: vggface2, casia-webface, synthetic, or a file with a state dict or a
    trace. Raises ModelError, and InputError for an unknown preprocessing; on failure
    the installed models do not change.
    """
    if preprocessing not in PREPROCESSINGS:
        raise InputError(
            f"Unknown preprocessing {preprocessing!r}: {' or '.join(PREPROCESSINGS)}",
            hint="facectl models build --preprocessing facenet",
        )
    source = _source(weights, preprocessing, step, watch)
    with step("Exporting the networks and comparing them with facenet-pytorch"):
        return _install(source, preprocessing)


def ensure(
    weights: str | Path = "vggface2",
    preprocessing: str = FACENET,
    *,
    step: Step = nullcontext,
    watch: DownloadWatch = unwatched,
) -> Model:
    """The installed model of these weights; built first if it is not installed."""
    name = _name(str(weights), preprocessing)
    if str(weights) in (*RELEASES, SYNTHETIC):
        for model in store.installed():
            if model.path.name == name:
                return model
    return build(weights, preprocessing, step=step, watch=watch)


def _source(weights: str | Path, preprocessing: str, step: Step, watch: DownloadWatch) -> _Source:
    # Torch takes a second to import, so the checks that do not need it come first.
    name = str(weights)
    if name in RELEASES:
        file = fetch(RELEASES[name], watch=watch)
    elif name != SYNTHETIC:
        file = Path(weights).expanduser()
        if not file.is_file():
            known = ", ".join((*RELEASES, SYNTHETIC))
            raise ModelError(
                f"No weights are called {name!r}, and no such file exists: {known} or a file",
                hint="facectl models build --weights synthetic",
            )
    from facectl.models import archive, reference, synthetic

    with step("Loading torch and facenet-pytorch"):
        reference.facenet()
    if name == SYNTHETIC:
        with step("Making synthetic weights"):
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
    """The name of a model's folder."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', weights)}-{preprocessing}"
