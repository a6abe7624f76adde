"""facenet-pytorch's four networks as ONNX graphs, made from their state dicts.

The layers are those of facenet-pytorch 2.5.3 (`models/mtcnn.py` and
`models/inception_resnet_v1.py`). Constants are computed at build time: the
standardisation of pixels is folded into the first convolution, batch
normalisation and residual scales into the convolution before them, and the
softmax of two classes becomes the difference of their logits.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from facectl.models.cascade import Stages
from facectl.models.graph import Graph, Weights, folded
from lambda_src.vision.store import CSE546, crop_size

# The input of all four: (x - 127.5) / 128.
_STANDARD = (1 / 128, -127.5 / 128)
_PIXELS = "pixels"


def pnet(weights: Weights) -> onnx.ModelProto:
    """P-Net: float32 (N, 3, H, W) to (N, 5, h, w): four offsets and the logit of a face."""
    net = Stages("pnet", weights)
    x = net.first(_PIXELS, *_STANDARD)
    x = net.graph.max_pool(x, 2, ceil=True)
    x = net.stage(x, 2)
    x = net.stage_with_heads(x, 3, ["conv4_2"], "conv4_1")
    return net.graph.build(
        (_PIXELS, TensorProto.FLOAT, ("N", 3, "H", "W")), (x, "found", ("N", 5, "h", "w"))
    )


def rnet(weights: Weights) -> onnx.ModelProto:
    """R-Net: float32 (N, 3, 24, 24) to (N, 5): four offsets and the logit of a face."""
    net = Stages("rnet", weights)
    x = net.graph.max_pool(net.first(_PIXELS, *_STANDARD), 3, ceil=True)
    x = net.graph.max_pool(net.stage(x, 2), 3, ceil=True)
    x = net.dense_stage(net.stage(x, 3), 4)
    x = net.dense_heads(x, ["dense5_2"], "dense5_1")
    return net.graph.build((_PIXELS, TensorProto.FLOAT, ("N", 3, 24, 24)), (x, "found", ("N", 5)))


def onet(weights: Weights) -> onnx.ModelProto:
    """O-Net: float32 (N, 3, 48, 48) to (N, 15): four offsets, ten landmarks, the logit."""
    net = Stages("onet", weights)
    x = net.graph.max_pool(net.first(_PIXELS, *_STANDARD), 3, ceil=True)
    x = net.graph.max_pool(net.stage(x, 2), 3, ceil=True)
    x = net.graph.max_pool(net.stage(x, 3), 2, ceil=True)
    x = net.dense_stage(net.stage(x, 4), 5)
    x = net.dense_heads(x, ["dense6_2", "dense6_3"], "dense6_1")
    return net.graph.build((_PIXELS, TensorProto.FLOAT, ("N", 3, 48, 48)), (x, "found", ("N", 15)))


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
        """Units one after the other; `stride` is the last one's."""
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
        """Pooling, the last layer with its normalisation, and length 1."""
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


def embedder(weights: Weights, preprocessing: str) -> onnx.ModelProto:
    """InceptionResnetV1: uint8 crops (N, S, S, 3) to embeddings (N, 512) of length 1."""
    net = _Resnet(weights)
    graph = net.graph
    x = graph.add("Cast", [_PIXELS], to=TensorProto.FLOAT)
    x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    scale = (1 / 255, 0.0) if preprocessing == CSE546 else _STANDARD
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
        (_PIXELS, TensorProto.UINT8, ("N", size, size, 3)),
        (net.head(x), "embeddings", ("N", 512)),
    )


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
