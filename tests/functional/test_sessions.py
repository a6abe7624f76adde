"""Sessions with a fixed shape: the same output, and a limited number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from facectl.models.graph import Graph
from lambda_src.vision import sessions
from lambda_src.vision.sessions import Network, ShapedNetwork


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


def test_a_repeated_shape_gets_a_session_with_the_same_output(file: Path) -> None:
    plain, shaped = Network(file, threads=1), ShapedNetwork(file, threads=1)
    for height, width in [(9, 12), (20, 7), (9, 12), (9, 12), (20, 7)]:
        x = picture(height, width)
        assert np.abs(shaped(x) - plain(x)).max() < 1e-5
    assert [session is not None for session in shaped._shapes.values()] == [True, True]


def test_a_shape_that_is_not_repeated_gets_no_session(file: Path) -> None:
    shaped = ShapedNetwork(file, threads=1)
    for height in range(5, 25):
        shaped(picture(height, 9))
    assert all(session is None for session in shaped._shapes.values())


def test_the_least_recently_used_shape_is_dropped(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_MAX_SHAPES", 3)
    shaped = ShapedNetwork(file, threads=1)
    for height in (5, 6, 7, 5, 8):
        shaped(picture(height, 9))
    assert [shape[2] for shape in shaped._shapes] == [7, 5, 8]


def test_any_number_of_inputs(file: Path) -> None:
    network = Network(file, threads=1)
    x = np.concatenate([picture(9, 9)] * 7)
    for size in (1, 2, 3, 7, 20):
        assert np.array_equal(network.in_batches(x, size), network(x))


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(Exception, match=r"bad\.onnx"):
        Network(tmp_path / "bad.onnx", threads=1)
