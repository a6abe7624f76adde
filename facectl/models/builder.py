"""Builds models: gets weights, writes the networks, compares and installs them."""

from __future__ import annotations

import re
from pathlib import Path

from facectl.errors import InputError
from facectl.models import sources, store
from facectl.models.sources import SYNTHETIC, BuildProgress, Source
from facectl.models.weights import RELEASES
from lambda_src.vision.store import FACENET, PREPROCESSINGS, Model


def build(
    weights: str | Path | None = None,
    preprocessing: str = FACENET,
    progress: BuildProgress | None = None,
) -> Model:
    """Build a model, compare its networks, install it and make it the current one.

    `weights`: vggface2, casia-webface, synthetic, or a file with a state dict or a
    trace; None: the first of them that can be had. Raises ModelError, and InputError for an
    unknown preprocessing; on failure the installed models do not change.
    """
    if preprocessing not in PREPROCESSINGS:
        raise InputError(
            f"Unknown preprocessing {preprocessing!r}: {' or '.join(PREPROCESSINGS)}",
            hint="facectl models build --preprocessing facenet",
        )
    progress = progress or BuildProgress()
    if weights is None:
        source = sources.first_available(preprocessing, progress)
    else:
        source = sources.read(str(weights), preprocessing, progress)
    return _install(source, preprocessing, progress)


def ensure(
    weights: str | Path | None = None,
    preprocessing: str = FACENET,
    progress: BuildProgress | None = None,
) -> Model:
    """The installed model of these weights; built first if it is not installed.

    None: an installed model of trained weights, whose names are known; else as `build`.
    """
    wanted = sources.TRAINED if weights is None else (str(weights),)
    there = {model.path.name: model for model in store.installed()}
    for name in wanted:
        if name in (*RELEASES, SYNTHETIC) and _name(name, preprocessing) in there:
            return there[_name(name, preprocessing)]
    return build(weights, preprocessing, progress)


def _install(source: Source, preprocessing: str, progress: BuildProgress) -> Model:
    from facectl.models import export

    cascade = sources.mtcnn(progress)
    name = _name(source.name, preprocessing)
    with (
        progress.step("Writing the networks and comparing them with facenet-pytorch"),
        store.installation(name) as folder,
    ):
        export.write_networks(folder, cascade, source, preprocessing)
        compared = export.compare(folder, cascade, source, preprocessing)
        store.write_manifest(
            folder,
            {
                "space": f"{source.identity}/{preprocessing}",
                "preprocessing": preprocessing,
                "synthetic": source.synthetic,
                "weights": source.name,
                "compared": compared.facts(),
            },
        )
    progress.say(f"Built {name}: {compared.sentence()}")
    return store.find(name)


def _name(weights: str, preprocessing: str) -> str:
    """The name of a model's folder."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', weights)}-{preprocessing}"
