"""InceptionResnetV1, the embedder, as an ONNX graph, made from its state dict.

The layers are those of facenet-pytorch 2.5.3 (`models/inception_resnet_v1.py`). The
standardisation of pixels is folded into the first convolution, batch normalisation and
residual scales into the convolution before them.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from facectl.models.graph import PIXELS, STANDARDISED, Graph, Weights, folded
from lambda_src.vision.store import CSE546, crop_size


def embedder(weights: Weights, preprocessing: str) -> onnx.ModelProto:
    """InceptionResnetV1: uint8 crops (N, S, S, 3) to embeddings (N, 512) of length 1."""
    net = _Resnet(weights)
    graph = net.graph
    x = graph.add("Cast", [PIXELS], to=TensorProto.FLOAT)
    x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    scale = (1 / 255, 0.0) if preprocessing == CSE546 else STANDARDISED
    x = _stem(net, x, scale)
    for index in range(5):
        x = _block35(net, x, f"repeat_1.{index}")
    x = _reduction_a(net, x)
    for index in range(10):
        x = _block17(net, x, f"repeat_2.{index}")
    x = _reduction_b(net, x)
    for index in range(5):
        x = _block8(net, x, f"repeat_3.{index}", scale=0.2, relu=True)
    x = _block8(net, x, "block8", scale=1.0, relu=False)
    size = crop_size(preprocessing)
    return graph.build(
        (PIXELS, TensorProto.UINT8, ("N", size, size, 3)),
        (net.head(x), "embeddings", ("N", 512)),
    )


class _Resnet:
    """Builds the graph of InceptionResnetV1 from its state dict."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.graph = Graph("embedder")

    def unit(
        self,
        x: str,
        layer: str,
        *,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        scale: tuple[float, float] | None = None,
    ) -> str:
        """Convolution, batch normalisation and ReLU (`BasicConv2d`)."""
        weight = self.weights[f"{layer}.conv.weight"].astype(np.float64)
        gain, bias = self._normalisation(f"{layer}.bn")
        weight = weight * gain[:, None, None, None]
        if scale is not None:
            weight, bias = folded(weight, bias, *scale)
        y = self.graph.convolution(x, weight, bias, stride=stride, padding=padding)
        return self.graph.add("Relu", [y])

    def chain(self, x: str, layer: str, paddings: list[tuple[int, int]], *, stride: int = 1) -> str:
        """A sequence of units; `stride` is that of the last one."""
        last = len(paddings) - 1
        for index, padding in enumerate(paddings):
            x = self.unit(
                x, f"{layer}.{index}", padding=padding, stride=stride if index == last else 1
            )
        return x

    def joined(self, parts: list[str]) -> str:
        return self.graph.add("Concat", parts, axis=1)

    def residual(self, x: str, branches: list[str], layer: str, scale: float, relu: bool) -> str:
        """`x` plus the scaled projection of the branches."""
        y = self.graph.convolution(
            self.joined(branches),
            self.weights[f"{layer}.conv2d.weight"].astype(np.float64) * scale,
            self.weights[f"{layer}.conv2d.bias"].astype(np.float64) * scale,
        )
        y = self.graph.add("Add", [y, x])
        return self.graph.add("Relu", [y]) if relu else y

    def head(self, x: str) -> str:
        """Pooling, the last layer with its normalisation, and L2 normalisation."""
        x = self.graph.add("Flatten", [self.graph.add("GlobalAveragePool", [x])])
        gain, bias = self._normalisation("last_bn")
        x = self.graph.dense(x, self.weights["last_linear.weight"] * gain[:, None], bias)
        length = self.graph.add("ReduceL2", [x], axes=[1], keepdims=1)
        smallest = self.graph.constant(np.array(1e-12, dtype=np.float32))
        return self.graph.add("Div", [x, self.graph.add("Max", [length, smallest])])

    def _normalisation(self, layer: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Batch normalisation as gain and bias; the epsilon is facenet-pytorch's."""
        variance = self.weights[f"{layer}.running_var"].astype(np.float64)
        gain = self.weights[f"{layer}.weight"] / np.sqrt(variance + 0.001)
        return gain, self.weights[f"{layer}.bias"] - self.weights[f"{layer}.running_mean"] * gain


def _stem(net: _Resnet, x: str, scale: tuple[float, float]) -> str:
    x = net.unit(x, "conv2d_1a", stride=2, scale=scale)
    x = net.unit(x, "conv2d_2a")
    x = net.unit(x, "conv2d_2b", padding=(1, 1))
    x = net.graph.max_pool(x, 3)
    x = net.unit(x, "conv2d_3b")
    x = net.unit(x, "conv2d_4a")
    return net.unit(x, "conv2d_4b", stride=2)


def _block35(net: _Resnet, x: str, layer: str) -> str:
    branches = [
        net.unit(x, f"{layer}.branch0"),
        net.chain(x, f"{layer}.branch1", [(0, 0), (1, 1)]),
        net.chain(x, f"{layer}.branch2", [(0, 0), (1, 1), (1, 1)]),
    ]
    return net.residual(x, branches, layer, scale=0.17, relu=True)


def _block17(net: _Resnet, x: str, layer: str) -> str:
    branches = [
        net.unit(x, f"{layer}.branch0"),
        net.chain(x, f"{layer}.branch1", [(0, 0), (0, 3), (3, 0)]),
    ]
    return net.residual(x, branches, layer, scale=0.1, relu=True)


def _block8(net: _Resnet, x: str, layer: str, *, scale: float, relu: bool) -> str:
    branches = [
        net.unit(x, f"{layer}.branch0"),
        net.chain(x, f"{layer}.branch1", [(0, 0), (0, 1), (1, 0)]),
    ]
    return net.residual(x, branches, layer, scale=scale, relu=relu)


def _reduction_a(net: _Resnet, x: str) -> str:
    return net.joined(
        [
            net.unit(x, "mixed_6a.branch0", stride=2),
            net.chain(x, "mixed_6a.branch1", [(0, 0), (1, 1), (0, 0)], stride=2),
            net.graph.max_pool(x, 3),
        ]
    )


def _reduction_b(net: _Resnet, x: str) -> str:
    return net.joined(
        [
            net.chain(x, "mixed_7a.branch0", [(0, 0), (0, 0)], stride=2),
            net.chain(x, "mixed_7a.branch1", [(0, 0), (0, 0)], stride=2),
            net.chain(x, "mixed_7a.branch2", [(0, 0), (1, 1), (0, 0)], stride=2),
            net.graph.max_pool(x, 3),
        ]
    )
