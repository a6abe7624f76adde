"""MTCNN's layers in the form that ONNX Runtime computes fastest.

ONNX Runtime has no fast PReLU: as a node of its own it takes longer than the
convolution before it, and it takes the blocked layout (NCHWc) apart in which
convolutions are quick. With the slope a of a channel,

    prelu(x) = relu((1 - a) x) + a x        for a <= 1

which is made of nodes that stay in that layout: the factor goes into the
convolution's weights, and the sum into a convolution. Which convolution depends
on the layer: a second one where the layer is cheap (the first), one of a single
weight per channel (depthwise) where it is not, the heads' own where heads follow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facectl.models.graph import Graph, Weights, folded

# The blocked layout holds this many channels at a time, and ONNX Runtime leaves
# it where a layer's number of channels is no multiple of that.
_BLOCK = 16

Exact = NDArray[np.float64]


class Stages:
    """One network of MTCNN in the making."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.graph = Graph(name)
        self._weights = {key: value.astype(np.float64) for key, value in weights.items()}
        # Where a slope above 1 was set aside: channel, its copy, slope.
        self._steep: list[tuple[int, int, float]] = []

    def first(self, x: str, scale: float, shift: float) -> str:
        """The first convolution, of `scale * x + shift`, and its PReLU as two convolutions.

        A slope above 1 has no such form. Such a channel is passed on as it is,
        with a copy cut off at 0, and the next convolution mixes the two: right
        across the pooling in between, as both grow with x.
        """
        weight, bias, slope = self._layer(1)
        weight, bias = folded(weight, bias, scale, shift)
        steep = np.flatnonzero(slope > 1)
        self._steep = [(int(c), len(slope) + i, float(slope[c])) for i, c in enumerate(steep)]
        straight = np.where(slope > 1, 1.0, slope)
        cut = _padded(np.concatenate([1 - straight, np.ones(len(steep))]))
        straight = _padded(np.concatenate([straight, np.zeros(len(steep))]))
        channels = np.concatenate([np.arange(len(slope)), steep])
        weight, bias = _padded(weight[channels]), _padded(bias[channels])
        kept = self.graph.add("Relu", [self.graph.convolution(x, *_scaled(weight, bias, cut))])
        return self.graph.add(
            "Add", [self.graph.convolution(x, *_scaled(weight, bias, straight)), kept]
        )

    def stage(self, x: str, number: int) -> str:
        """A convolution and its PReLU with a depthwise sum."""
        weight, bias, slope = self._layer(number)
        y = self.graph.convolution(x, *_scaled(weight, bias, 1 - slope))
        kept = self.graph.add("Relu", [y])
        return self.graph.add("Add", [self.graph.depthwise(y, slope / (1 - slope)), kept])

    def stage_with_heads(self, x: str, number: int, heads: list[str], score: str) -> str:
        """A convolution, its PReLU and the 1x1 convolutions that read it."""
        weight, bias, slope = self._layer(number)
        y = self.graph.convolution(x, weight, bias)
        kept = self.graph.add("Relu", [y])
        weight, bias = self._heads(heads, score)
        one = self.graph.convolution(kept, weight * (1 - slope)[:, None, None], bias)
        other = self.graph.convolution(y, weight * slope[:, None, None], np.zeros_like(bias))
        return self.graph.add("Add", [other, one])

    def dense_stage(self, x: str, number: int) -> str:
        """The first dense layer and its PReLU.

        The original flattens width before height before channels, ONNX the other
        way round: the columns of the weight are moved instead of the pixels.
        """
        weight = self._weights[f"dense{number}.weight"]
        channels = self._weights[f"conv{number - 1}.bias"].shape[0]
        side = round((weight.shape[1] / channels) ** 0.5)
        weight = weight.reshape(-1, side, side, channels).transpose(0, 3, 2, 1)
        x = self.graph.add("Flatten", [x])
        x = self.graph.dense(
            x, weight.reshape(weight.shape[0], -1), self._weights[f"dense{number}.bias"]
        )
        slope = self._weights[f"prelu{number}.weight"].astype(np.float32)
        return self.graph.add("PRelu", [x, self.graph.constant(slope)])

    def dense_heads(self, x: str, heads: list[str], score: str) -> str:
        """The dense layers that read the last one, as one."""
        return self.graph.dense(x, *self._heads(heads, score))

    def _layer(self, number: int) -> tuple[Exact, Exact, Exact]:
        """Weight, bias and slope of a convolution, reading what `first` set aside."""
        weight = self._weights[f"conv{number}.weight"]
        bias, slope = self._weights[f"conv{number}.bias"], self._weights[f"prelu{number}.weight"]
        if number > 1 and (slope >= 1).any():
            raise ValueError(f"a slope of prelu{number} is 1 or more, which only the first may be")
        if number == 2:
            weight = self._unmixed(weight)
        return weight, bias, slope

    def _unmixed(self, weight: Exact) -> Exact:
        """The second convolution's weight for the channels that `first` makes."""
        spread = np.swapaxes(_padded(np.swapaxes(weight, 0, 1), spare=len(self._steep)), 0, 1)
        for channel, copy, slope in self._steep:
            spread[:, channel] = slope * weight[:, channel]
            spread[:, copy] = (1 - slope) * weight[:, channel]
        return spread

    def _heads(self, heads: list[str], score: str) -> tuple[Exact, Exact]:
        """The heads one below the other, and last the logit: of a face less of none."""
        weight, bias = (
            [self._weights[f"{head}.{kind}"] for head in heads] for kind in ("weight", "bias")
        )
        probabilities = self._weights[f"{score}.weight"], self._weights[f"{score}.bias"]
        logit = [chance[1:2] - chance[0:1] for chance in probabilities]
        return np.concatenate([*weight, logit[0]]), np.concatenate([*bias, logit[1]])


def _scaled(weight: Exact, bias: Exact, factor: Exact) -> tuple[Exact, Exact]:
    return weight * factor[:, None, None, None], bias * factor


def _padded(values: Exact, spare: int = 0) -> Exact:
    """Zeros added along the first axis, up to a whole number of blocks."""
    missing = -(len(values) + spare) % _BLOCK + spare
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]))])
