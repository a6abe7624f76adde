"""Builds models: gets weights, writes the networks, compares and installs them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facectl.errors import InputError
from facectl.models import portrait, quantise, sources, store
from facectl.models.sources import SYNTHETIC, BuildProgress, Source
from facectl.models.weights import RELEASES
from lambda_src.vision.embedder import REFERENCE_SIDE, reference
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import (
    EMBEDDER,
    FACENET,
    FP32,
    INT8,
    PRECISIONS,
    PREPROCESSINGS,
    Model,
)


def build(
    weights: str | Path | None = None,
    preprocessing: str = FACENET,
    progress: BuildProgress | None = None,
    *,
    precision: str | None = None,
    calibration: Path | None = None,
) -> Model:
    """Build a model, compare its networks, install it and make it the current one.

    `weights`: vggface2, casia-webface, synthetic, or a file with a state dict or a
    trace; None: the first of them that can be had. `precision`: fp32 or int8; None: int8,
    and fp32 for synthetic weights. `calibration`: a folder of photographs for int8. Raises
    ModelError, and InputError for an unknown preprocessing or precision; on failure the
    installed models do not change.
    """
    if preprocessing not in PREPROCESSINGS:
        raise InputError(
            f"Unknown preprocessing {preprocessing!r}: {' or '.join(PREPROCESSINGS)}",
            hint="facectl models build --preprocessing facenet",
        )
    progress = progress or BuildProgress()
    wanted = _Precision(precision, calibration)
    wanted.of(synthetic=str(weights) == SYNTHETIC)
    if weights is None:
        source = sources.first_available(preprocessing, progress)
    else:
        source = sources.read(str(weights), preprocessing, progress)
    return _install(source, preprocessing, progress, wanted)


def ensure(
    weights: str | Path | None = None,
    preprocessing: str = FACENET,
    progress: BuildProgress | None = None,
    *,
    precision: str | None = None,
) -> Model:
    """The installed model of these weights; built first if it is not installed.

    None: an installed model of trained weights, whose names are known; else as `build`.
    """
    wanted = sources.TRAINED if weights is None else (str(weights),)
    there = {model.path.name: model for model in store.installed()}
    for weight in wanted:
        of = _Precision(precision).of(synthetic=weight == SYNTHETIC)
        name = _name(weight, preprocessing, of)
        if weight in (*RELEASES, SYNTHETIC) and name in there:
            return there[name]
    return build(weights, preprocessing, progress, precision=precision)


@dataclass(frozen=True, slots=True)
class _Precision:
    """The precision that was asked for, None if none was, and a folder to calibrate it on."""

    wanted: str | None = None
    calibration: Path | None = None

    def of(self, *, synthetic: bool) -> str:
        """The precision to build; raises InputError for one that the weights can't have."""
        wanted = self.wanted
        if wanted is None:
            wanted = FP32 if synthetic and self.calibration is None else INT8
        if wanted not in PRECISIONS:
            raise InputError(
                f"Unknown precision {wanted!r}: {' or '.join(PRECISIONS)}",
                hint="facectl models build --precision int8",
            )
        if synthetic and wanted == INT8:
            raise InputError(
                "Synthetic weights can't be quantised: without training, small differences "
                "change which face is the nearest",
                hint="facectl models build --weights synthetic --precision fp32",
            )
        if self.calibration is not None:
            if wanted != INT8:
                raise InputError(
                    f"--calibration is for int8; {wanted} has no ranges to measure",
                    hint="facectl models build --precision int8 --calibration FOLDER",
                )
            quantise.listed(self.calibration)
        return wanted

    def quantise(self, model: Model) -> dict[str, Any]:
        """Quantise the embedder in the model's folder; returns the facts for its manifest."""
        chosen = (
            quantise.from_portrait(model.preprocessing)
            if self.calibration is None
            else quantise.from_folder(self.calibration, model)
        )
        cosine = quantise.quantise(model.path, chosen)
        return {"cosine": round(cosine, 5), "calibration": chosen.source}


def _install(
    source: Source, preprocessing: str, progress: BuildProgress, wanted: _Precision
) -> Model:
    from facectl.models import export

    cascade = sources.mtcnn(progress)
    precision = wanted.of(synthetic=source.synthetic)
    name = _name(source.name, preprocessing, precision)
    with store.installation(name) as folder:
        with progress.step("Writing the networks and comparing them with facenet-pytorch"):
            export.write_networks(folder, cascade, source, preprocessing)
            compared = export.compare(folder, cascade, source, preprocessing)
        space = f"{source.identity}/{preprocessing}"
        model = Model(folder, space, preprocessing, source.synthetic, source.name, precision)
        facts: dict[str, Any] = {"compared": compared.facts()}
        if precision == INT8:
            with progress.step("Quantising the embedder and comparing it with fp32"):
                facts["quantised"] = wanted.quantise(model)
        network = Network(model.file(EMBEDDER), threads=1)
        face = portrait.small_face(REFERENCE_SIDE)
        store.write_manifest(
            folder,
            {
                "space": model.space,
                "preprocessing": preprocessing,
                "synthetic": model.synthetic,
                "weights": model.weights,
                "precision": precision,
                "reference": asdict(reference(network, preprocessing, face)),
                **facts,
            },
        )
    progress.say(f"Built {name}: {compared.sentence()}")
    return store.find(name)


def _name(weights: str, preprocessing: str, precision: str) -> str:
    """The name of a model's folder; that of fp32 has no suffix."""
    suffix = "" if precision == FP32 else f"-{precision}"
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', weights)}-{preprocessing}{suffix}"
