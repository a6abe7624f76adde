"""InceptionResnetV1, the embedder: its layers, and these as an ONNX graph.

The layers are those of facenet-pytorch 2.5.3 (`models/inception_resnet_v1.py`), in their
canonical form: batch normalisation is folded in. The standardisation of pixels is folded
into the first convolution, residual scales into the convolution before them.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from facectl.models.graph import PIXELS, STANDARDISED, Graph, Weights, folded, run
from lambda_src.vision.store import CSE546, crop_size

FIRST, LAST = "conv2d_1a", "last_linear"
_EMBEDDINGS = "embeddings"
T = TypeVar("T")


class Layers(Protocol[T]):
    """The operations that the network is made of, on values of one kind."""

    def unit(self, x: T, layer: str, *, stride: int = 1, padding: tuple[int, int] = (0, 0)) -> T:
        """A convolution and ReLU (`BasicConv2d`); `padding` is rows and columns on each side."""

    def pool(self, x: T) -> T:
        """Max pooling of 3x3 with stride 2."""

    def joined(self, parts: list[T]) -> T:
        """The channels of all parts."""

    def residual(self, x: T, joined: T, layer: str, *, scale: float, relu: bool) -> T:
        """`x` plus the scaled projection of the joined branches."""

    def head(self, x: T) -> T:
        """Average pooling, the last layer, and L2 normalisation."""


def embed(net: Layers[T], x: T) -> T:
    """The embeddings of standardised pixels."""
    x = _stem(net, x)
    for index in range(5):
        x = _block35(net, x, f"repeat_1.{index}")
    x = _reduction_a(net, x)
    for index in range(10):
        x = _block17(net, x, f"repeat_2.{index}")
    x = _reduction_b(net, x)
    for index in range(5):
        x = _block8(net, x, f"repeat_3.{index}", scale=0.2, relu=True)
    return net.head(_block8(net, x, "block8", scale=1.0, relu=False))


def standardisation(preprocessing: str) -> tuple[float, float]:
    """Scale and shift of bytes before the first layer."""
    return (1 / 255, 0.0) if preprocessing == CSE546 else STANDARDISED


def embedder(weights: Weights, preprocessing: str) -> onnx.ModelProto:
    """InceptionResnetV1: uint8 crops (N, S, S, 3) to embeddings (N, 512) of length 1.

    `weights`: the canonical form.
    """
    return embedder_of(OnnxLayers(weights, standardisation(preprocessing)), preprocessing)


def embedder_of(net: OnnxLayers, preprocessing: str) -> onnx.ModelProto:
    """The graph of the network with these layers; its nodes are added to `net`."""
    x = net.graph.add("Cast", [PIXELS], to=TensorProto.FLOAT)
    x = net.graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    size = crop_size(preprocessing)
    return net.graph.build(
        (PIXELS, TensorProto.UINT8, ("N", size, size, 3)),
        (embed(net, x), _EMBEDDINGS, ("N", 512)),
    )


def embeddings(
    weights: Weights, crops: NDArray[np.uint8], preprocessing: str
) -> NDArray[np.float32]:
    """Embeddings (N, 512) of crops (N, S, S, 3), without a model in a file."""
    return run(embedder(weights, preprocessing), [_EMBEDDINGS], crops)[0]


class OnnxLayers:
    """Adds the layers to an ONNX graph; values are the names of its nodes' outputs."""

    def __init__(self, weights: Weights, standardised: tuple[float, float]) -> None:
        self.weights = {name: values.astype(np.float64) for name, values in weights.items()}
        self.standardised = standardised
        self.graph = Graph("embedder")

    def unit(
        self, x: str, layer: str, *, stride: int = 1, padding: tuple[int, int] = (0, 0)
    ) -> str:
        weight, bias = self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
        if layer == FIRST:
            weight, bias = folded(weight, bias, *self.standardised)
        y = self.graph.convolution(x, weight, bias, stride=stride, padding=padding)
        return self.graph.add("Relu", [y])

    def pool(self, x: str) -> str:
        return self.graph.max_pool(x, 3)

    def joined(self, parts: list[str]) -> str:
        return self.graph.add("Concat", parts, axis=1)

    def residual(self, x: str, joined: str, layer: str, *, scale: float, relu: bool) -> str:
        y = self.graph.convolution(
            joined,
            self.weights[f"{layer}.conv2d.weight"] * scale,
            self.weights[f"{layer}.conv2d.bias"] * scale,
        )
        y = self.graph.add("Add", [y, x])
        return self.graph.add("Relu", [y]) if relu else y

    def head(self, x: str) -> str:
        x = self.graph.add("Flatten", [self.graph.add("GlobalAveragePool", [x])])
        x = self.last(x)
        length = self.graph.add("ReduceL2", [x], axes=[1], keepdims=1)
        smallest = self.graph.constant(np.array(1e-12, dtype=np.float32))
        return self.graph.add("Div", [x, self.graph.add("Max", [length, smallest])])

    def last(self, x: str) -> str:
        """The last layer."""
        return self.graph.dense(x, self.weights[f"{LAST}.weight"], self.weights[f"{LAST}.bias"])


def _chain(net: Layers[T], x: T, layer: str, paddings: list[tuple[int, int]], stride: int = 1) -> T:
    """A sequence of units; `stride` is that of the last one."""
    last = len(paddings) - 1
    for index, padding in enumerate(paddings):
        x = net.unit(x, f"{layer}.{index}", padding=padding, stride=stride if index == last else 1)
    return x


def _stem(net: Layers[T], x: T) -> T:
    x = net.unit(x, FIRST, stride=2)
    x = net.unit(x, "conv2d_2a")
    x = net.unit(x, "conv2d_2b", padding=(1, 1))
    x = net.pool(x)
    x = net.unit(x, "conv2d_3b")
    x = net.unit(x, "conv2d_4a")
    return net.unit(x, "conv2d_4b", stride=2)


def _block35(net: Layers[T], x: T, layer: str) -> T:
    branches = [
        net.unit(x, f"{layer}.branch0"),
        _chain(net, x, f"{layer}.branch1", [(0, 0), (1, 1)]),
        _chain(net, x, f"{layer}.branch2", [(0, 0), (1, 1), (1, 1)]),
    ]
    return net.residual(x, net.joined(branches), layer, scale=0.17, relu=True)


def _block17(net: Layers[T], x: T, layer: str) -> T:
    branches = [
        net.unit(x, f"{layer}.branch0"),
        _chain(net, x, f"{layer}.branch1", [(0, 0), (0, 3), (3, 0)]),
    ]
    return net.residual(x, net.joined(branches), layer, scale=0.1, relu=True)


def _block8(net: Layers[T], x: T, layer: str, *, scale: float, relu: bool) -> T:
    branches = [
        net.unit(x, f"{layer}.branch0"),
        _chain(net, x, f"{layer}.branch1", [(0, 0), (0, 1), (1, 0)]),
    ]
    return net.residual(x, net.joined(branches), layer, scale=scale, relu=relu)


def _reduction_a(net: Layers[T], x: T) -> T:
    return net.joined(
        [
            net.unit(x, "mixed_6a.branch0", stride=2),
            _chain(net, x, "mixed_6a.branch1", [(0, 0), (1, 1), (0, 0)], stride=2),
            net.pool(x),
        ]
    )


def _reduction_b(net: Layers[T], x: T) -> T:
    return net.joined(
        [
            _chain(net, x, "mixed_7a.branch0", [(0, 0), (0, 0)], stride=2),
            _chain(net, x, "mixed_7a.branch1", [(0, 0), (0, 0)], stride=2),
            _chain(net, x, "mixed_7a.branch2", [(0, 0), (1, 1), (0, 0)], stride=2),
            net.pool(x),
        ]
    )
