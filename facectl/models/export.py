"""Writes the networks as ONNX files, and compares these with facenet-pytorch's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import ModelError
from facectl.models import inception_resnet, mtcnn, numpy_resnet, recorded, reference, spaces
from facectl.models.archive import State
from facectl.models.sources import Source
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import EMBEDDER, EMBEDDER_WEIGHTS, ONET, PNET, RNET

# Scores, offsets and landmarks are relative to 1: a thousandth is far below a pixel.
_MAX_DIFFERENCE = 1e-3
_MIN_COSINE = 0.9999
_CASCADE = {"pnet": PNET, "rnet": RNET, "onet": ONET}
_EMBEDDER = "embedder"
_FACENET = "facenet-pytorch"

_Outputs = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the built networks were compared with, and how well they agree.

    `recorded`, `numpy`, `live`: with recorded outputs of facenet-pytorch, with NumPy, and with
    facenet-pytorch on this computer; by network the largest difference, and for the
    embedder the smallest cosine. `torch`: the version of the live comparison.
    """

    recorded: dict[str, float]
    numpy: dict[str, float] = field(default_factory=dict)
    live: dict[str, float] = field(default_factory=dict)
    torch: str | None = None

    def facts(self) -> dict[str, Any]:
        """The comparison as the manifest has it."""
        kinds = {"recorded": self.recorded, "numpy": self.numpy, "live": self.live}
        found: dict[str, Any] = {kind: values for kind, values in kinds.items() if values}
        return found if self.torch is None else {**found, "torch": self.torch}

    def sentence(self) -> str:
        """What was compared, for the user."""
        if self.live:
            return "every network agrees with facenet-pytorch"
        if _EMBEDDER in self.recorded:
            return "every network agrees with the recorded outputs of facenet-pytorch"
        return (
            "the detector agrees with the recorded outputs of facenet-pytorch; the embedder, of "
            "which none are recorded, with a computation in NumPy. To compare it with "
            "facenet-pytorch: pip install 'facectl[models]'"
        )


def write_networks(
    folder: Path, cascade: dict[str, State], source: Source, preprocessing: str
) -> None:
    """Write the four network files into a folder."""
    import onnx

    onnx.save(mtcnn.pnet(cascade["pnet"]), folder / PNET)
    onnx.save(mtcnn.rnet(cascade["rnet"]), folder / RNET)
    onnx.save(mtcnn.onet(cascade["onet"]), folder / ONET)
    onnx.save(
        inception_resnet.embedder(source.weights, preprocessing),
        folder / EMBEDDER,
        save_as_external_data=True,
        location=EMBEDDER_WEIGHTS,
    )


def compare(
    folder: Path, cascade: dict[str, State], source: Source, preprocessing: str
) -> Comparison:
    """Compare the written networks; raises ModelError if one differs."""
    crops = recorded.embedder_inputs(preprocessing)
    built = {
        name: Network(folder / file, threads=1)(recorded.cascade_inputs(name))
        for name, file in _CASCADE.items()
    }
    built[_EMBEDDER] = Network(folder / EMBEDDER, threads=1)(crops)
    known = dict(recorded.outputs())
    for name, digest in spaces.RECORDED.items():
        if digest == source.identity:
            known[_EMBEDDER] = known[f"{name}/{preprocessing}"]
    comparison = Comparison(recorded=_agreement(built, known))
    _refuse(f"the recorded outputs of {_FACENET}", comparison.recorded)
    if reference.available():
        version, expected = _originals(cascade, source, crops, preprocessing)
        comparison = replace(comparison, live=_agreement(built, expected), torch=version)
        _refuse(f"{_FACENET}'s", comparison.live)
    elif _EMBEDDER not in comparison.recorded:
        some = slice(None, None, 3)
        expected = {_EMBEDDER: numpy_resnet.embeddings(source.weights, crops[some], preprocessing)}
        agreement = _agreement({_EMBEDDER: built[_EMBEDDER][some]}, expected)
        comparison = replace(comparison, numpy=agreement)
        _refuse("NumPy's", comparison.numpy)
    return comparison


def _originals(
    cascade: dict[str, State], source: Source, crops: NDArray[np.uint8], preprocessing: str
) -> tuple[str, _Outputs]:
    """torch's version, and what facenet-pytorch computes with the weights as they came."""
    reference.facenet()
    import torch

    # Its threads wait by spinning, which takes many times longer beside other work.
    torch.set_num_threads(1)
    found = {
        name: reference.cascade_outputs(network, recorded.cascade_inputs(name))
        for name, network in reference.cascade(cascade).items()
    }
    embedder = reference.embedder(source.state)
    found[_EMBEDDER] = reference.embeddings(embedder, crops, preprocessing)
    return str(torch.__version__), found


def _agreement(built: _Outputs, expected: _Outputs) -> dict[str, float]:
    """The largest difference of each network, of the embedder the smallest cosine."""
    found = {}
    for name, outputs in built.items():
        if name not in expected:
            continue
        if name == _EMBEDDER:
            found[name] = float((outputs * expected[name]).sum(axis=1).min())
        else:
            found[name] = recorded.cascade_difference(outputs, expected[name])
    return found


def _refuse(other: str, values: dict[str, float]) -> None:
    for name, value in values.items():
        if name == _EMBEDDER:
            if not value >= _MIN_COSINE:
                raise ModelError(
                    f"{EMBEDDER} differs from {other}: cosine {value:.6f} (minimum "
                    f"{_MIN_COSINE}), and was not installed"
                )
        elif not value <= _MAX_DIFFERENCE:
            raise ModelError(
                f"{_CASCADE[name]} differs from {other} by {value:.2g} "
                f"(maximum {_MAX_DIFFERENCE}) and was not installed"
            )
