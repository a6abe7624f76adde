"""MTCNN's P-Net, R-Net and O-Net as ONNX graphs, made from their state dicts.

The layers are those of facenet-pytorch 2.5.3 (`models/mtcnn.py`). The standardisation of
pixels is folded into the first convolution, and the softmax of two classes becomes the
difference of their logits.

ONNX Runtime has no fast PReLU: as a node it takes longer than the convolution before it,
and it leaves the blocked layout (NCHWc) in which convolutions are fast. For a slope a <= 1,

    prelu(x) = relu((1 - a) x) + a x = max(x, a x)

and this needs only nodes that keep the layout: the factor is multiplied into the
convolution's weights, and the sum is a convolution. Where heads follow, it is theirs;
elsewhere it is depthwise, with one weight per channel.

The first layer has the most pixels, so its pooling comes before its PReLU, which then has a
quarter of them. For a slope a >= 0, PReLU increases and pool(prelu(x)) = prelu(pool(x)). For
a < 0 it is max(pool(x), pool(a x)), which needs the channel a x besides x.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from facectl.models.graph import PIXELS, STANDARDISED, Graph, Weights, folded

# ONNX Runtime leaves the blocked layout if the number of channels is not a multiple of this.
_BLOCK = 16
# A slope this near to 1 is replaced by 1 minus this: the formula divides by 1 - a.
_NEAR = 1e-6

Exact = NDArray[np.float64]


def pnet(weights: Weights) -> onnx.ModelProto:
    """P-Net: float32 (N, 3, H, W) to (N, 5, h, w): four offsets and the logit of a face."""
    net = Stages("pnet", weights)
    x = net.stage(net.first(PIXELS, *STANDARDISED, pool=2), 2)
    x = net.stage_with_heads(x, 3, ["conv4_2"], "conv4_1")
    return net.graph.build(
        (PIXELS, TensorProto.FLOAT, ("N", 3, "H", "W")), (x, "found", ("N", 5, "h", "w"))
    )


def rnet(weights: Weights) -> onnx.ModelProto:
    """R-Net: float32 (N, 3, 24, 24) to (N, 5): four offsets and the logit of a face."""
    net = Stages("rnet", weights)
    x = net.first(PIXELS, *STANDARDISED, pool=3)
    x = net.graph.max_pool(net.stage(x, 2), 3, ceil=True)
    x = net.dense_stage(net.stage(x, 3), 4)
    x = net.dense_heads(x, ["dense5_2"], "dense5_1")
    return net.graph.build((PIXELS, TensorProto.FLOAT, ("N", 3, 24, 24)), (x, "found", ("N", 5)))


def onet(weights: Weights) -> onnx.ModelProto:
    """O-Net: float32 (N, 3, 48, 48) to (N, 15): four offsets, ten landmarks, the logit."""
    net = Stages("onet", weights)
    x = net.first(PIXELS, *STANDARDISED, pool=3)
    x = net.graph.max_pool(net.stage(x, 2), 3, ceil=True)
    x = net.graph.max_pool(net.stage(x, 3), 2, ceil=True)
    x = net.dense_stage(net.stage(x, 4), 5)
    x = net.dense_heads(x, ["dense6_2", "dense6_3"], "dense6_1")
    return net.graph.build((PIXELS, TensorProto.FLOAT, ("N", 3, 48, 48)), (x, "found", ("N", 15)))


class Stages:
    """The graph of one network of MTCNN while it is built."""

    def __init__(self, name: str, weights: Weights) -> None:
        self.graph = Graph(name)
        self._weights = {key: value.astype(np.float64) for key, value in weights.items()}
        # Of each channel that `first` outputs: its number before, its place and its sign.
        self._order, self._places = np.empty(0, np.intp), np.empty(0, np.intp)
        self._signs = np.empty(0)

    def first(self, x: str, scale: float, shift: float, *, pool: int) -> str:
        """The first convolution, of `scale * x + shift`, max pooling with stride 2, and PReLU.

        The formula does not hold for a slope above 1: this channel has the opposite sign, which
        the next convolution's weight has too.
        """
        weight, bias, slope = self._layer(1)
        weight, bias = folded(weight, bias, scale, shift)
        slope = np.where(np.abs(1 - slope) < _NEAR, 1 - _NEAR, slope)
        # Those with a negative slope are first, and those with a slope above 1 last.
        self._order = order = np.argsort(slope, kind="stable")
        self._signs = np.sign(1 - slope[order])
        self._places = np.arange(len(order))
        negative = int((slope < 0).sum())
        if len(slope) + negative <= _BLOCK:
            layer = weight[order], bias[order], slope[order]
            return self._first_in_one_block(x, *layer, negative, pool)
        # The blocks that contain the negative slopes, then the others.
        count = min(-(-negative // _BLOCK) * _BLOCK, int((slope < 1).sum()))
        self._places[count:] += -count % _BLOCK
        parts = []
        for some, part in ((order[:count], self._max_of_both), (order[count:], self._pooled_first)):
            if len(some):
                parts.append(part(x, weight[some], bias[some], slope[some], pool))
        return parts[0] if len(parts) == 1 else self.graph.add("Concat", parts, axis=1)

    def _first_in_one_block(
        self, x: str, weight: Exact, bias: Exact, slope: Exact, negative: int, pool: int
    ) -> str:
        """`first` where a block has room for a x of the channels with a negative slope."""
        count = len(slope)
        more, also = _scaled(weight[:negative], bias[:negative], slope[:negative])
        weight, bias = (_padded(np.concatenate(pair)) for pair in ((weight, more), (bias, also)))
        y = self.graph.max_pool(self.graph.convolution(x, weight, bias), pool, ceil=True)
        # max(y, z) = relu(z - y) + y
        mixed = np.diag(_padded(np.abs(1 - slope)))
        kept = _padded(slope * np.sign(1 - slope))
        for channel in range(negative):
            mixed[channel, channel], mixed[channel, count + channel] = -1, 1
            kept[channel] = 1
        zeros = np.zeros(len(mixed))
        cut = self.graph.add("Relu", [self.graph.convolution(y, mixed[:, :, None, None], zeros)])
        return self.graph.add("Add", [self.graph.depthwise(y, kept), cut])

    def _max_of_both(self, x: str, weight: Exact, bias: Exact, slope: Exact, pool: int) -> str:
        """max(pool(x), pool(a x)), for slopes a <= 1 of any sign."""
        weight, bias, slope = _padded(weight), _padded(bias), _padded(slope)
        x = self.graph.convolution(x, weight, bias)
        y = self.graph.max_pool(x, pool, ceil=True)
        z = self.graph.max_pool(self.graph.depthwise(x, slope), pool, ceil=True)
        less = self.graph.add("Add", [self.graph.depthwise(y, -np.ones(len(slope))), z])
        return self.graph.add("Add", [y, self.graph.add("Relu", [less])])

    def _pooled_first(self, x: str, weight: Exact, bias: Exact, slope: Exact, pool: int) -> str:
        """prelu(pool(x)), for slopes a >= 0; where a > 1, with the opposite sign."""
        weight, bias = _scaled(weight, bias, np.abs(1 - slope))
        x = self.graph.convolution(x, _padded(weight), _padded(bias))
        y = self.graph.max_pool(x, pool, ceil=True)
        kept = self.graph.add("Relu", [y])
        return self.graph.add("Add", [self.graph.depthwise(y, _padded(slope / (1 - slope))), kept])

    def stage(self, x: str, number: int) -> str:
        """A convolution and its PReLU, with a depthwise convolution in the sum."""
        weight, bias, slope = self._layer(number)
        y = self.graph.convolution(x, *_scaled(weight, bias, 1 - slope))
        kept = self.graph.add("Relu", [y])
        return self.graph.add("Add", [self.graph.depthwise(y, slope / (1 - slope)), kept])

    def stage_with_heads(self, x: str, number: int, heads: list[str], score: str) -> str:
        """A convolution, its PReLU and the 1x1 convolutions of the heads."""
        weight, bias, slope = self._layer(number)
        y = self.graph.convolution(x, weight, bias)
        kept = self.graph.add("Relu", [y])
        weight, bias = self._heads(heads, score)
        one = self.graph.convolution(kept, weight * (1 - slope)[:, None, None], bias)
        other = self.graph.convolution(y, weight * slope[:, None, None], np.zeros_like(bias))
        return self.graph.add("Add", [other, one])

    def dense_stage(self, x: str, number: int) -> str:
        """The first dense layer and its PReLU.

        The original flattens width, height, channels, and ONNX the reverse: the columns
        of the weight are reordered instead of the pixels.
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
        """The heads, as one dense layer."""
        return self.graph.dense(x, *self._heads(heads, score))

    def _layer(self, number: int) -> tuple[Exact, Exact, Exact]:
        """Weight, bias and slope of a convolution; the second one's weight is `_recombined`."""
        weight = self._weights[f"conv{number}.weight"]
        bias, slope = self._weights[f"conv{number}.bias"], self._weights[f"prelu{number}.weight"]
        if number > 1 and (slope >= 1).any():
            raise ValueError(f"a slope of prelu{number} is 1 or more: only prelu1 may have one")
        if number == 2:
            weight = self._recombined(weight)
        return weight, bias, slope

    def _recombined(self, weight: Exact) -> Exact:
        """The second convolution's weight for the channels that `first` outputs."""
        count = self._places[-1] + 1
        spread = np.zeros((len(weight), count + -count % _BLOCK, *weight.shape[2:]))
        spread[:, self._places] = weight[:, self._order] * self._signs[:, None, None]
        return spread

    def _heads(self, heads: list[str], score: str) -> tuple[Exact, Exact]:
        """Weight and bias of all heads, and last of the logit: face minus no face."""
        weight, bias = (
            [self._weights[f"{head}.{kind}"] for head in heads] for kind in ("weight", "bias")
        )
        probabilities = self._weights[f"{score}.weight"], self._weights[f"{score}.bias"]
        logit = [each[1:2] - each[0:1] for each in probabilities]
        return np.concatenate([*weight, logit[0]]), np.concatenate([*bias, logit[1]])


def _scaled(weight: Exact, bias: Exact, factor: Exact) -> tuple[Exact, Exact]:
    return weight * factor[:, None, None, None], bias * factor


def _padded(values: Exact) -> Exact:
    """Zeros appended along the first axis, up to a whole number of blocks."""
    missing = -len(values) % _BLOCK
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]))])
