"""The first layers of P-, R- and O-Net against a graph with plain PReLU nodes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from facectl.models import mtcnn
from facectl.models.graph import PIXELS, STANDARDISED, Graph, run

RANDOM = np.random.default_rng(5)


def slopes(*, negative: int, positive: int, steep: int = 0, one: int = 0) -> np.ndarray:
    values = [
        RANDOM.uniform(-1.5, -0.01, negative),
        RANDOM.uniform(0, 0.99, positive),
        RANDOM.uniform(1.01, 1.5, steep),
        np.ones(one),
    ]
    return RANDOM.permutation(np.concatenate(values))


def weights(first: np.ndarray) -> dict[str, np.ndarray]:
    count = len(first)
    return {
        "conv1.weight": RANDOM.normal(size=(count, 3, 3, 3)),
        "conv1.bias": RANDOM.normal(size=count),
        "prelu1.weight": first,
        "conv2.weight": RANDOM.normal(size=(24, count, 3, 3)),
        "conv2.bias": RANDOM.normal(size=24),
        "prelu2.weight": RANDOM.uniform(-0.9, 0.9, 24),
    }


def built(layers: dict[str, np.ndarray], pool: int) -> onnx.ModelProto:
    stages = mtcnn.Stages("stages", layers)
    return finished(stages.graph, stages.stage(stages.first(PIXELS, *STANDARDISED, pool=pool), 2))


def plain(layers: dict[str, np.ndarray], pool: int) -> onnx.ModelProto:
    graph = Graph("plain")
    scale, shift = (graph.constant(np.float32(value)) for value in STANDARDISED)
    x = graph.add("Add", [graph.add("Mul", [PIXELS, scale]), shift])
    for number in (1, 2):
        x = graph.convolution(x, layers[f"conv{number}.weight"], layers[f"conv{number}.bias"])
        slope = layers[f"prelu{number}.weight"].astype(np.float32)[:, None, None]
        x = graph.add("PRelu", [x, graph.constant(slope)])
        x = graph.max_pool(x, pool, ceil=True) if number == 1 else x
    return finished(graph, x)


def finished(graph: Graph, node: str) -> onnx.ModelProto:
    shape = ("N", 3, "H", "W")
    return graph.build((PIXELS, TensorProto.FLOAT, shape), (node, "found", ("N", 24, "h", "w")))


@pytest.mark.parametrize("pool", [2, 3])
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(slopes(negative=6, positive=3, steep=1), id="P-Net: room in the block"),
        pytest.param(slopes(negative=0, positive=10), id="one block, increasing"),
        pytest.param(slopes(negative=8, positive=0), id="one block, no increasing one"),
        pytest.param(slopes(negative=9, positive=17, steep=2), id="R-Net: two blocks"),
        pytest.param(slopes(negative=12, positive=20), id="O-Net"),
        pytest.param(slopes(negative=20, positive=2, steep=3), id="gap before the steep ones"),
        pytest.param(slopes(negative=0, positive=20), id="two blocks, increasing"),
        pytest.param(slopes(negative=20, positive=0), id="two blocks, none increasing"),
        pytest.param(slopes(negative=6, positive=3, one=1), id="slope 1 in one block"),
        pytest.param(slopes(negative=6, positive=12, one=4, steep=2), id="slope 1 in two"),
    ],
)
def test_pooling_first_changes_no_output(first: np.ndarray, pool: int) -> None:
    layers = weights(first)
    pixels = RANDOM.uniform(0, 255, (2, 3, 23, 30)).astype(np.float32)
    (found,) = run(built(layers, pool), ["found"], pixels)
    (expected,) = run(plain(layers, pool), ["found"], pixels)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_slope_above_1_is_refused_in_later_layers() -> None:
    layers = weights(slopes(negative=2, positive=4)) | {"prelu2.weight": np.full(24, 1.0)}
    with pytest.raises(ValueError, match="prelu2"):
        built(layers, 2)
