"""Quantises the embedder to int8, and compares its embeddings with those of fp32.

Static quantisation with ONNX Runtime: 8-bit activations whose ranges are measured on face
crops, 8-bit weights with a scale per output channel. Weights use 7 of their 8 bits
(`reduce_range`): CPUs without VNNI add pairs of products in 16 bits, which would overflow.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import InputError, ModelError
from facectl.models import portrait
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import EMBEDDER, EMBEDDER_WEIGHTS, Model

# The smallest cosine between the embeddings of both precisions, for faces that the ranges
# were not measured on. Measured with casia-webface: 0.997 to 0.998 after a calibration on
# 16 to 60 crops, 0.94 with an unfortunate choice of 8, 0.86 with noise.
MIN_COSINE = 0.995
_VARIANTS, _COMPARED = 32, 16
_SEED, _COMPARED_SEED = 11, 77
# Of a folder: the photographs that are read, and the faces that are used and needed.
_MOST_PHOTOGRAPHS, _MOST_FACES, _FEWEST_FACES = 400, 80, 20
# Every fifth face is compared, not measured.
_COMPARED_EVERY = 5
_BATCH = 8
_WITHOUT_FOLDER = "leave --calibration out: faces from facectl itself are used then"

Crops = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Crops (N, S, S, 3): to measure ranges on, and to compare both precisions on.

    `source` says in words where they are from.
    """

    measured: Crops
    compared: Crops
    source: str


def from_portrait(preprocessing: str) -> Calibration:
    """Variants of the shipped portrait."""
    return Calibration(
        portrait.variants(preprocessing, _VARIANTS, _SEED),
        portrait.variants(preprocessing, _COMPARED, _COMPARED_SEED),
        f"{_VARIANTS} variants of the shipped portrait",
    )


def listed(folder: Path) -> list[Path]:
    """The photographs below a folder; raises InputError if it is missing or has too few."""
    from facectl.gallery.photographs import photographs

    if not folder.is_dir():
        raise InputError(f"--calibration {folder} is not a folder", hint=_WITHOUT_FOLDER)
    found = photographs(folder)
    if not found:
        raise InputError(
            f"--calibration {folder}: no photographs found (JPEG, PNG or WebP)",
            hint=_WITHOUT_FOLDER,
        )
    # One face of each is used, so too few photographs are known before weights are downloaded.
    if len(found) < _FEWEST_FACES:
        raise InputError(
            f"--calibration {folder}: {_counted(len(found), 'photograph')} found, and the faces of "
            f"at least {_FEWEST_FACES} are needed",
            hint=_WITHOUT_FOLDER,
        )
    return found


def from_folder(folder: Path, model: Model) -> Calibration:
    """The largest face of each photograph below a folder, at most 80; found by `model`.

    Of more than 400 photographs every n-th is read. Raises InputError for too few faces.
    """
    found = listed(folder)
    step = max(1, -(-len(found) // _MOST_PHOTOGRAPHS))
    read = found[::step]
    crops = []
    for crop in _faces(read, model):
        crops.append(crop)
        if len(crops) == _MOST_FACES:
            break
    if len(crops) < _FEWEST_FACES:
        raise InputError(
            f"--calibration {folder}: {_counted(len(crops), 'face')} found in "
            f"{'' if step == 1 else f'{len(read)} of '}{_counted(len(found), 'photograph')}, and "
            f"at least {_FEWEST_FACES} are needed",
            hint=_WITHOUT_FOLDER,
        )
    held = np.arange(len(crops)) % _COMPARED_EVERY == 0
    every = np.stack(crops)
    return Calibration(
        every[~held],
        np.concatenate([every[held], from_portrait(model.preprocessing).compared]),
        f"{int((~held).sum())} faces of {len(found)} photographs in {folder}",
    )


def quantise(folder: Path, calibration: Calibration) -> float:
    """Replace the fp32 embedder in a model folder by its int8 form.

    Returns the smallest cosine between the embeddings of both precisions. Raises
    ModelError if it is below MIN_COSINE; the folder is not usable then.
    """
    expected = _embeddings(folder, calibration.compared)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        _write_int8(folder, Path(temporary), calibration.measured)
    found = _embeddings(folder, calibration.compared)
    cosine = float((expected * found).sum(axis=1).min())
    if not cosine >= MIN_COSINE:
        raise ModelError(
            f"The int8 embedder differs from fp32: cosine {cosine:.4f} (minimum {MIN_COSINE}), "
            f"calibrated on {calibration.source}; it was not installed",
            hint="facectl models build --precision fp32   or other photographs: --calibration",
        )
    return cosine


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _faces(photos: list[Path], model: Model) -> Iterator[Crops]:
    from facectl.gallery.photographs import PhotographEncoder, PhotographError

    encoder = PhotographEncoder(model)
    for photo in photos:
        with suppress(PhotographError):
            yield encoder.face(photo, model.preprocessing)


def _embeddings(folder: Path, crops: Crops) -> NDArray[np.float32]:
    return Network(folder / EMBEDDER, threads=1).in_batches(crops, _BATCH)


def _write_int8(folder: Path, temporary: Path, measured: Crops) -> None:
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    model = onnx.load(folder / EMBEDDER)
    # The graph has no operations left to fuse; without this the library warns that it may.
    add_pre_process_metadata(model)
    quantize_static(
        model,
        str(temporary / "quantised.onnx"),
        _reader(measured),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        per_channel=True,
        reduce_range=True,
    )
    _fuse(temporary / "quantised.onnx", temporary / "fused.onnx")
    for name in (EMBEDDER, EMBEDDER_WEIGHTS):
        (folder / name).unlink()
    onnx.save(
        onnx.load(temporary / "fused.onnx"),
        folder / EMBEDDER,
        save_as_external_data=True,
        location=EMBEDDER_WEIGHTS,
    )


def _reader(crops: Crops) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    from facectl.models.graph import PIXELS

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out one crop at a time, as the library asks for them."""

        def __init__(self) -> None:
            self._inputs = iter([{PIXELS: crop[None]} for crop in crops])

        def get_next(self) -> Any:
            return next(self._inputs, None)

    return Reader()


def _fuse(source: Path, target: Path) -> None:
    """Write the network with each convolution and its scales fused into one operation.

    ONNX Runtime does so at every load; done once, a cold start is 40 ms shorter. The
    operations of this level (`extended`) are the same on every CPU.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
