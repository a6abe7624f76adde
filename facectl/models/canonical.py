"""The canonical form of InceptionResnetV1's weights: batch normalisation folded into its layers.

Two files with the same function can differ in every number, because a gain can stand in the
normalisation or in the convolution. In the canonical form each convolution and the last layer
have a weight and a bias; graphs are made from it, and the identity of an embedding space is
its digest.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from facectl.errors import ModelError
from facectl.models.archive import State
from facectl.models.graph import Weights

# facenet-pytorch's, of every batch normalisation.
EPSILON = 0.001
_LAST = "last_linear"
_HINT = "facectl models build --weights casia-webface"


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """The shape of every layer's weight by the layer's name in facenet-pytorch 2.5.3.

    Convolutions are (outputs, inputs, rows, columns), the last layer (outputs, inputs).
    """
    found: dict[str, tuple[int, ...]] = {}

    def add(layer: str, inputs: int, *kernels: tuple[int, int, int]) -> None:
        """A chain of convolutions, each given as outputs, rows, columns."""
        for index, (outputs, rows, columns) in enumerate(kernels):
            name = f"{layer}.{index}" if len(kernels) > 1 else layer
            found[name] = (outputs, inputs, rows, columns)
            inputs = outputs

    add("conv2d_1a", 3, (32, 3, 3))
    add("conv2d_2a", 32, (32, 3, 3))
    add("conv2d_2b", 32, (64, 3, 3))
    add("conv2d_3b", 64, (80, 1, 1))
    add("conv2d_4a", 80, (192, 3, 3))
    add("conv2d_4b", 192, (256, 3, 3))
    for block in (f"repeat_1.{index}" for index in range(5)):
        add(f"{block}.branch0", 256, (32, 1, 1))
        add(f"{block}.branch1", 256, (32, 1, 1), (32, 3, 3))
        add(f"{block}.branch2", 256, (32, 1, 1), (32, 3, 3), (32, 3, 3))
        add(f"{block}.conv2d", 96, (256, 1, 1))
    add("mixed_6a.branch0", 256, (384, 3, 3))
    add("mixed_6a.branch1", 256, (192, 1, 1), (192, 3, 3), (256, 3, 3))
    for block in (f"repeat_2.{index}" for index in range(10)):
        add(f"{block}.branch0", 896, (128, 1, 1))
        add(f"{block}.branch1", 896, (128, 1, 1), (128, 1, 7), (128, 7, 1))
        add(f"{block}.conv2d", 256, (896, 1, 1))
    add("mixed_7a.branch0", 896, (256, 1, 1), (384, 3, 3))
    add("mixed_7a.branch1", 896, (256, 1, 1), (256, 3, 3))
    add("mixed_7a.branch2", 896, (256, 1, 1), (256, 3, 3), (256, 3, 3))
    for block in (*(f"repeat_3.{index}" for index in range(5)), "block8"):
        add(f"{block}.branch0", 1792, (192, 1, 1))
        add(f"{block}.branch1", 1792, (192, 1, 1), (192, 1, 3), (192, 3, 1))
        add(f"{block}.conv2d", 384, (1792, 1, 1))
    found[_LAST] = (512, 1792)
    return found


def names(layer: str) -> tuple[str, str | None]:
    """The names of a layer's weight and of its normalisation (None: it has a bias instead)."""
    if layer.endswith(".conv2d"):
        return f"{layer}.weight", None
    return (
        (f"{layer}.weight", "last_bn")
        if layer == _LAST
        else (
            f"{layer}.conv.weight",
            f"{layer}.bn",
        )
    )


def expected() -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor of the network's state dict."""
    found: dict[str, tuple[int, ...]] = {}
    for layer, shape in shapes().items():
        weight, normalisation = names(layer)
        found[weight] = shape
        if normalisation is None:
            found[f"{layer}.bias"] = shape[:1]
        else:
            for kind in ("weight", "bias", "running_mean", "running_var"):
                found[f"{normalisation}.{kind}"] = shape[:1]
    return found


def canonical(state: State) -> Weights:
    """The canonical form of a state dict: `<layer>.weight` and `<layer>.bias`, float32.

    Raises ModelError for the state dict of another network. A classifier (`logits`) is left
    out: embeddings do not depend on it.
    """
    _check(state)
    found: Weights = {}
    for layer, shape in shapes().items():
        name, normalisation = names(layer)
        weight = state[name].astype(np.float64)
        if normalisation is None:
            bias = state[f"{layer}.bias"].astype(np.float64)
        else:
            gain, bias = _gain_and_bias(state, normalisation)
            weight = weight * gain.reshape(-1, *[1] * (len(shape) - 1))
        found[f"{layer}.weight"] = weight.astype(np.float32)
        found[f"{layer}.bias"] = bias.astype(np.float32)
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise ModelError(f"The weights are damaged: {name} is not finite", hint=_HINT)
    return found


def digest(weights: Weights) -> str:
    """The SHA-256 of named tensors, in hexadecimal; it depends on names, shapes and numbers."""
    found = hashlib.sha256()
    for name, values in sorted(weights.items()):
        found.update(f"{name}{list(values.shape)}\0".encode())
        found.update(np.ascontiguousarray(values, "<f4").tobytes())
    return found.hexdigest()


def _gain_and_bias(state: State, layer: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Batch normalisation as gain and bias."""
    weight, bias, mean, variance = (
        state[f"{layer}.{kind}"].astype(np.float64)
        for kind in ("weight", "bias", "running_mean", "running_var")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = weight / np.sqrt(variance + EPSILON)
    return gain, bias - mean * gain


def _check(state: State) -> None:
    wanted = expected()
    ignored = ("logits.", "num_batches_tracked")
    problems = [f"{name} is missing" for name in wanted if name not in state]
    for name, values in state.items():
        if name in wanted and (values.shape != wanted[name] or values.dtype.kind != "f"):
            problems.append(f"{name} has shape {values.shape}, not {wanted[name]}")
        elif name not in wanted and not name.startswith(ignored) and not name.endswith(ignored):
            problems.append(f"{name} is not part of it")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(
            "These are not the weights of facenet-pytorch's InceptionResnetV1: "
            + "; ".join(problems[:3])
            + more,
            hint=_HINT,
        )
