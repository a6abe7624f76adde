"""Networks: batches, and calls from several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from facectl.models.graph import Graph
from lambda_src.vision.sessions import Network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network that blurs: float32 (N, 2, H, W) to (N, 2, h, w)."""
    graph = Graph("blur")
    weight = np.random.default_rng(0).normal(size=(2, 2, 3, 3))
    y = graph.convolution("pixels", weight, np.zeros(2))
    model = graph.build(
        ("pixels", TensorProto.FLOAT, ("N", 2, "H", "W")), (y, "found", ("N", 2, "h", "w"))
    )
    onnx.save(model, tmp_path / "blur.onnx")
    return tmp_path / "blur.onnx"


def picture(height: int, width: int) -> np.ndarray:
    shape = (1, 2, height, width)
    return np.random.default_rng(height).normal(size=shape).astype(np.float32)


def test_any_number_of_inputs(file: Path) -> None:
    network = Network(file, threads=1)
    x = np.concatenate([picture(9, 9)] * 7)
    for size in (1, 2, 3, 7, 20):
        assert np.array_equal(network.in_batches(x, size), network(x))


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(Exception, match=r"bad\.onnx"):
        Network(tmp_path / "bad.onnx", threads=1)


def test_several_threads_get_their_own_outputs(file: Path) -> None:
    network = Network(file, threads=1)
    inputs = [picture(height, 40) for height in range(20, 60)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(network, inputs))
    for x, y in zip(inputs, found, strict=True):
        assert np.array_equal(y, network(x))
