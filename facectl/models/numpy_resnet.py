"""InceptionResnetV1 computed with NumPy: slow, but independent of ONNX Runtime and torch.

It calibrates synthetic weights, and checks graphs of weights for which no outputs of
facenet-pytorch are at hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facectl.models.graph import Weights
from facectl.models.inception_resnet import LAST, embed, standardisation

Values = NDArray[np.float32]
_PART = 8


class NumpyLayers:
    """The layers of canonical weights on arrays (N, rows, columns, channels)."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def unit(
        self, x: Values, layer: str, *, stride: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> Values:
        y = convolution(x, self.weights[f"{layer}.weight"], stride, padding)
        return _relu(y + self.weights[f"{layer}.bias"])

    def pool(self, x: Values) -> Values:
        found: Values = np.maximum.reduce(_windows(x, 3, 3, 2))
        return found

    def joined(self, parts: list[Values]) -> Values:
        return np.concatenate(parts, axis=3)

    def residual(
        self, x: Values, joined: Values, layer: str, *, scale: float, relu: bool
    ) -> Values:
        y = convolution(joined, self.weights[f"{layer}.conv2d.weight"])
        y = x + np.float32(scale) * (y + self.weights[f"{layer}.conv2d.bias"])
        return _relu(y) if relu else y

    def head(self, x: Values) -> Values:
        y = x.mean(axis=(1, 2)) @ self.weights[f"{LAST}.weight"].T + self.weights[f"{LAST}.bias"]
        unit: Values = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12)
        return unit


def embeddings(weights: Weights, crops: NDArray[np.uint8], preprocessing: str) -> Values:
    """Embeddings (N, 512) of uint8 crops (N, S, S, 3) by the canonical weights."""
    return embed(NumpyLayers(weights), standardised(crops, preprocessing))


def standardised(crops: NDArray[np.uint8], preprocessing: str) -> Values:
    """Crops as the first layer's input."""
    scale, shift = standardisation(preprocessing)
    pixels: Values = crops.astype(np.float32) * np.float32(scale) + np.float32(shift)
    return pixels


def convolution(
    x: Values, weight: Values, stride: int = 1, padding: tuple[int, int] = (0, 0)
) -> Values:
    """A convolution without bias; `weight` is (outputs, inputs, rows, columns)."""
    rows, columns = padding
    x = np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    kernel = weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])
    # In parts, because the windows of a 3x3 kernel take nine times the memory of their input.
    parts = [
        np.concatenate(_windows(part, weight.shape[2], weight.shape[3], stride), axis=3) @ kernel
        for part in np.array_split(x, -(-len(x) // _PART))
    ]
    return np.concatenate(parts)


def _relu(x: Values) -> Values:
    found: Values = np.maximum(x, np.float32(0))
    return found


def _windows(x: Values, rows: int, columns: int, stride: int) -> list[Values]:
    """The input at each place of a kernel, row by row."""
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    return [
        x[:, row : row + height : stride, column : column + width : stride]
        for row in range(rows)
        for column in range(columns)
    ]
