"""Builds ONNX graphs node by node, from operations that ONNX Runtime executes fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Supported by every ONNX Runtime that pyproject.toml allows.
_OPSET = 17
_IR_VERSION = 8

# The input of every network.
PIXELS = "pixels"
# Scale and shift of facenet-pytorch's standardisation: (x - 127.5) / 128.
STANDARDISED = (1 / 128, -127.5 / 128)

Weights = dict[str, NDArray[np.float32]]


class Graph:
    """An ONNX graph under construction; each method adds nodes and returns its output's name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, operation: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def convolution(
        self,
        x: str,
        weight: NDArray[Any],
        bias: NDArray[Any],
        *,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
    ) -> str:
        """A 2-d convolution; `padding` is rows and columns on each side."""
        return self.add(
            "Conv",
            [x, self.constant(weight.astype(np.float32)), self.constant(bias.astype(np.float32))],
            kernel_shape=list(weight.shape[2:]),
            strides=[stride, stride],
            pads=[*padding, *padding],
        )

    def depthwise(self, x: str, factor: NDArray[Any]) -> str:
        """Every channel times its factor, as a convolution, which keeps the blocked layout."""
        count = len(factor)
        return self.add(
            "Conv",
            [
                x,
                self.constant(factor.reshape(count, 1, 1, 1).astype(np.float32)),
                self.constant(np.zeros(count, np.float32)),
            ],
            kernel_shape=[1, 1],
            group=count,
        )

    def max_pool(self, x: str, size: int, *, ceil: bool = False) -> str:
        """Max pooling with stride 2."""
        return self.add(
            "MaxPool",
            [x],
            kernel_shape=[size, size],
            strides=[2, 2],
            ceil_mode=int(ceil),
        )

    def dense(self, x: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
        """A fully connected layer; `weight` is (outputs, inputs)."""
        return self.add(
            "Gemm",
            [x, self.constant(weight.astype(np.float32)), self.constant(bias.astype(np.float32))],
            transB=1,
        )

    def build(
        self,
        pixels: tuple[str, int, Sequence[int | str]],
        output: tuple[str, str, Sequence[int | str]],
    ) -> onnx.ModelProto:
        """The finished model.

        `pixels` is the input's name, type and shape; `output` a node, its public name and shape.
        """
        name, kind, shape = pixels
        node, public, dimensions = output
        graph = helper.make_graph(
            [*self._nodes, helper.make_node("Identity", [node], [public])],
            self._name,
            [helper.make_tensor_value_info(name, kind, list(shape))],
            [helper.make_tensor_value_info(public, TensorProto.FLOAT, list(dimensions))],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = _IR_VERSION
        onnx.checker.check_model(model)
        return model


def run(model: onnx.ModelProto, outputs: Sequence[str], pixels: NDArray[Any]) -> list[NDArray[Any]]:
    """These outputs of a model that is not written to a file.

    On one thread: the order of additions, and so the last bits, depend on their number.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[NDArray[Any]] = session.run(list(outputs), {PIXELS: pixels})
    return found


def folded(
    weight: NDArray[Any], bias: NDArray[Any], scale: float, shift: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias with which a convolution of x equals that of `scale * x + shift`.

    Correct only without padding.
    """
    exact = weight.astype(np.float64)
    return exact * scale, bias + shift * exact.sum(axis=(1, 2, 3))
