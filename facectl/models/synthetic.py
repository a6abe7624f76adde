"""Untrained weights, for quick tests and for computers that can't download the trained ones.

With a seeded initialisation alone, embeddings hardly differ. With batch-norm statistics
from face crops they differ enough to run and test the whole pipeline, but they do not
tell people apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from facectl.errors import ModelError
from facectl.models import canonical, portrait
from facectl.models.archive import State
from facectl.models.graph import folded, run
from facectl.models.inception_resnet import (
    FIRST,
    LAST,
    OnnxLayers,
    embedder_of,
    embeddings,
    standardisation,
)

_SEED = 20180402
_FACES, _PATCHES = 12, 20
_NOISE = 0.2


@dataclass(frozen=True, slots=True)
class Synthetic:
    """A state dict of InceptionResnetV1 and the digest of what it was computed from.

    The digest is that of the initial weights and the crops: their numbers are the same on
    every computer, while the statistics differ in the last bits between processors.
    """

    state: State
    digest: str


def make(preprocessing: str) -> Synthetic:
    """Synthetic weights, the same on every call.

    Raises ModelError if the embeddings of different pictures are too similar.
    """
    initial = _initial(np.random.default_rng(_SEED))
    crops = np.concatenate(
        [
            portrait.variants(preprocessing, _FACES, _SEED),
            portrait.patches(preprocessing, _PATCHES, _SEED + 1),
        ]
    )
    digest = canonical.digest({**initial, "crops": crops.astype(np.float32)})
    state = {**initial, **_statistics(initial, crops, preprocessing)}
    _check(state, preprocessing)
    return Synthetic(state, digest)


def _initial(random: np.random.Generator) -> State:
    """He's normal initialisation, before the statistics of normalisations are known."""
    found: State = {}
    for name, shape in sorted(canonical.expected().items()):
        if name.endswith(("running_mean", "running_var")):
            continue
        if len(shape) > 1:
            values = _kernels(shape, random) * (2 / np.prod(shape[1:])) ** 0.5
        else:
            values = random.normal(0.0 if name.endswith("bias") else 1.0, 0.1, shape)
        found[name] = values.astype(np.float32)
    return found


def _kernels(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
    """Random weights of variance near 1, mostly smooth in space.

    White noise amplifies fine detail, which re-encoding or a shift by a pixel changes
    most: measured, the same face re-encoded, resized or rotated by 2 degrees was as
    distant as another person. With smooth weights the distance is a third.
    """
    noise = random.normal(0, 1, shape)
    if len(shape) < 4 or shape[2] * shape[3] == 1:
        return noise
    rows, columns = (np.exp(-(np.linspace(-1, 1, n) ** 2)) if n > 1 else [1.0] for n in shape[2:])
    smooth = random.normal(0, 1, (*shape[:2], 1, 1)) * np.outer(rows, columns)
    return _NOISE * noise + (1 - _NOISE) * 2 * smooth


class _Calibrating(OnnxLayers):
    """Normalises by the statistics of the batch, which `statistics` names as nodes by layer."""

    def __init__(self, state: State, preprocessing: str) -> None:
        super().__init__(state, standardisation(preprocessing))
        self.statistics: dict[str, str] = {}

    def unit(
        self, x: str, layer: str, *, stride: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> str:
        weight = self.weights[f"{layer}.conv.weight"]
        bias = np.zeros(len(weight))
        if layer == FIRST:
            weight, bias = folded(weight, bias, *self.standardised)
        y = self.graph.convolution(x, weight, bias, stride=stride, padding=padding)
        return self.graph.add("Relu", [self._normalised(y, f"{layer}.bn", [0, 2, 3])])

    def last(self, x: str) -> str:
        weight = self.weights[f"{LAST}.weight"]
        return self._normalised(self.graph.dense(x, weight, np.zeros(len(weight))), "last_bn", [0])

    def _normalised(self, y: str, layer: str, axes: list[int]) -> str:
        add, constant = self.graph.add, self.graph.constant
        shape = [1, -1] + [1] * (len(axes) - 1)
        gain, bias = (
            constant(self.weights[f"{layer}.{kind}"].reshape(shape).astype(np.float32))
            for kind in ("weight", "bias")
        )
        mean = add("ReduceMean", [y], axes=axes)
        y = add("Sub", [y, mean])
        variance = add("ReduceMean", [add("Mul", [y, y])], axes=axes)
        self.statistics |= {f"{layer}.running_mean": mean, f"{layer}.running_var": variance}
        epsilon = constant(np.array(canonical.EPSILON, np.float32))
        deviation = add("Sqrt", [add("Add", [variance, epsilon])])
        return add("Add", [add("Mul", [y, add("Div", [gain, deviation])]), bias])


def _statistics(initial: State, crops: NDArray[np.uint8], preprocessing: str) -> State:
    """Mean and variance of each layer's outputs for these crops."""
    layers = _Calibrating(initial, preprocessing)
    model = embedder_of(layers, preprocessing)
    for node in layers.statistics.values():
        model.graph.output.append(helper.make_tensor_value_info(node, TensorProto.FLOAT, None))
    values = run(model, list(layers.statistics.values()), crops)
    return {name: value.reshape(-1) for name, value in zip(layers.statistics, values, strict=True)}


def _check(state: State, preprocessing: str) -> None:
    """Raise ModelError if embeddings are too similar or the nearest is of another picture."""
    others = portrait.patches(preprocessing, 8, _SEED + 3)
    shifted = np.roll(others, (2, 2), axis=(1, 2))
    crops = np.concatenate([others, shifted])
    embedded = embeddings(canonical.canonical(state), crops, preprocessing)
    similar = embedded[:8] @ embedded[8:].T
    if not (similar.argmax(axis=1) == np.arange(8)).all():
        raise ModelError("The synthetic weights confuse pictures")
    apart = similar[~np.eye(8, dtype=bool)]
    if float(np.median(apart)) > 0.99:
        raise ModelError("The embeddings of the synthetic weights are almost equal")
