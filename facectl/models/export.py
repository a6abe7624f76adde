"""Writes the networks as ONNX files, and compares these with facenet-pytorch's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the built networks were compared with, and how well they agree.

    `recorded`, `numpy`, `live`: with recorded outputs of facenet-pytorch, with NumPy, and with
    facenet-pytorch on this computer; by network the largest difference, and for the
    embedder the smallest cosine. `torch`: the version of the live comparison.
    """

    recorded: dict[str, float]
    numpy: dict[str, float]
    live: dict[str, float]
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
    built = {name: Network(folder / file, threads=1) for name, file in _CASCADE.items()}
    found = {name: network(recorded.cascade_inputs(name)) for name, network in built.items()}
    crops = recorded.embedder_inputs(preprocessing)
    embedded = Network(folder / EMBEDDER, threads=1)(crops)
    known = recorded.outputs()
    differences = {n: recorded.cascade_difference(found[n], known[n]) for n in _CASCADE}
    comparison = Comparison(differences, {}, {})
    for name, digest in spaces.RECORDED.items():
        if digest == source.identity:
            differences[_EMBEDDER] = _cosine(embedded, known[f"{name}/{preprocessing}"])
    if reference.available():
        comparison = _live(comparison, cascade, source, found, (crops, embedded, preprocessing))
    elif _EMBEDDER not in differences:
        expected = numpy_resnet.embeddings(source.weights, crops[::3], preprocessing)
        comparison.numpy[_EMBEDDER] = _cosine(embedded[::3], expected)
    for other, values in (
        (f"the recorded outputs of {_FACENET}", comparison.recorded),
        ("NumPy's", comparison.numpy),
        (f"{_FACENET}'s", comparison.live),
    ):
        _refuse(other, values)
    return comparison


def _live(
    comparison: Comparison,
    cascade: dict[str, State],
    source: Source,
    found: dict[str, Any],
    embedded: tuple[Any, Any, str],
) -> Comparison:
    """The comparison with facenet-pytorch as well, which takes the weights as they came."""
    import torch

    # Its threads wait by spinning, which takes many times longer beside other work.
    torch.set_num_threads(1)
    values = {}
    for name, network in reference.cascade(cascade).items():
        expected = reference.cascade_outputs(network, recorded.cascade_inputs(name))
        values[name] = recorded.cascade_difference(found[name], expected)
    crops, own, preprocessing = embedded
    expected = reference.embeddings(reference.embedder(source.state), crops, preprocessing)
    values[_EMBEDDER] = _cosine(own, expected)
    return Comparison(comparison.recorded, comparison.numpy, values, torch.__version__)


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


def _cosine(found: Any, expected: Any) -> float:
    """The smallest cosine between embeddings of the same crop."""
    return float(np.sum(found * expected, axis=1).min())
