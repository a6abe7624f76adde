"""Frozen graphs and torch's old files: damaged, cut off, of other networks."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facectl.errors import ModelError
from facectl.models import archive, canonical, tensorflow_graph
from facectl.models.tensorflow_graph import constants, inception_resnet


def graph(**tensors: Any) -> bytes:
    """A frozen graph of these float32 constants; `__` in a name stands for a slash."""
    message = tensorflow_graph._graph_def()()
    message.node.add(name="input", op="Placeholder")
    for name, values in tensors.items():
        node = message.node.add(name="InceptionResnetV1/" + name.replace("__", "/"), op="Const")
        node.attr.add(key="dtype")
        tensor = node.attr.add(key="value").value.tensor
        tensor.dtype = 1
        for size in values.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = values.astype("<f4").tobytes()
    data: bytes = message.SerializeToString()
    return data


KERNEL = np.arange(3 * 3 * 3 * 32, dtype=np.float32).reshape(3, 3, 3, 32)
FIRST = {"Conv2d_1a_3x3__weights": KERNEL, "Conv2d_1a_3x3__Conv2D_bn_offset": np.arange(32)}
ROWS = np.zeros((1, 7, 4, 8), np.float32)


def test_a_convolution_of_a_graph() -> None:
    found = inception_resnet(graph(**FIRST))
    assert np.array_equal(found["conv2d_1a.conv.weight"], KERNEL.transpose(3, 2, 0, 1))
    assert np.array_equal(found["conv2d_1a.bn.bias"], np.arange(32))
    gain = found["conv2d_1a.bn.weight"] / np.sqrt(found["conv2d_1a.bn.running_var"] + 0.001)
    assert np.allclose(gain, 1, atol=1e-7)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("Repeat__block35_5__Branch_0__Conv2d_1x1",), {"repeat_1.4.branch0.conv.weight"}),
        (("Repeat_1__block17_10__Conv2d_1x1",), {"repeat_2.9.conv2d.conv.weight"}),
        (
            (
                "Repeat_2__block8_1__Branch_1__Conv2d_0c_3x1",
                "Repeat_2__block8_1__Branch_1__Conv2d_0b_1x3",
            ),
            {"repeat_3.0.branch1.0.conv.weight", "repeat_3.0.branch1.1.conv.weight"},
        ),
        (("Block8__Branch_0__Conv2d_1x1",), {"block8.branch0.conv.weight"}),
        (("Mixed_6a__Branch_0__Conv2d_1a_3x3",), {"mixed_6a.branch0.conv.weight"}),
    ],
)
def test_names_of_a_graph(names: tuple[str, ...], wanted: set[str]) -> None:
    found = inception_resnet(graph(**{f"{name}__weights": ROWS for name in names}))
    assert set(found) == wanted
    assert {values.shape for values in found.values()} == {(8, 4, 1, 7)}


def test_a_graph_without_a_tensor() -> None:
    with pytest.raises(ModelError, match=r"conv2d_2a\.conv\.weight is missing; .* more"):
        canonical.canonical(inception_resnet(graph(**FIRST)))


def test_a_graph_with_a_misshapen_tensor() -> None:
    data = graph(**{**FIRST, "Conv2d_1a_3x3__weights": KERNEL[:, :, :, :31]})
    state = {**zeros(), **inception_resnet(data)}
    with pytest.raises(ModelError, match=r"conv2d_1a\.conv\.weight has shape \(31, 3, 3, 3\)"):
        canonical.canonical(state)


@pytest.mark.parametrize("size", [33, -1, 2**40, 2**62])
def test_a_tensor_whose_shape_does_not_fit_its_values(size: int) -> None:
    message = tensorflow_graph._graph_def()()
    message.ParseFromString(graph(offset=np.arange(32)))
    message.node[1].attr[1].value.tensor.tensor_shape.dim[0].size = size
    with pytest.raises(ModelError, match="offset has 32 values"):
        constants(message.SerializeToString())


def test_one_value_stands_for_all_of_a_tensor() -> None:
    message = tensorflow_graph._graph_def()()
    message.ParseFromString(graph(offset=np.arange(4)))
    tensor = message.node[1].attr[1].value.tensor
    tensor.ClearField("tensor_content")
    tensor.float_val.append(0.5)
    [found] = constants(message.SerializeToString()).values()
    assert found.tolist() == [0.5] * 4
    tensor.tensor_shape.dim[0].size = 2**40
    with pytest.raises(ModelError, match="damaged"):
        constants(message.SerializeToString())


def zeros() -> archive.State:
    return {name: np.zeros(shape, np.float32) for name, shape in canonical.expected().items()}


def test_the_canonical_form_refuses_other_tensors() -> None:
    whole = zeros()
    assert len(canonical.canonical({**whole, "logits.weight": np.ones(3)})) == 2 * 133
    with pytest.raises(ModelError, match=r"extra\.weight is not part of it"):
        canonical.canonical({**whole, "extra.weight": np.ones(3, np.float32)})
    with pytest.raises(ModelError, match=r"last_bn\.bias has shape"):
        canonical.canonical({**whole, "last_bn.bias": np.zeros(512, np.int64)})
    with pytest.raises(ModelError, match=r"conv2d_1a\.weight is not finite"):
        canonical.canonical({**whole, "conv2d_1a.bn.running_var": np.full(32, -1, np.float32)})


def test_the_digest_depends_on_names_shapes_and_numbers() -> None:
    values = np.arange(6, dtype=np.float32)
    digests = {
        canonical.digest(weights)
        for weights in (
            {"a": values},
            {"b": values},
            {"a": values.reshape(2, 3)},
            {"a": values + 1},
            {"a": values, "b": values},
        )
    }
    assert len(digests) == 5


GRAPH = graph(**FIRST)


def old_file(**tensors: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    torch.save(tensors, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


OLD = old_file(weight=torch.arange(12.0).reshape(3, 4), count=torch.tensor(3))


def flipped(data: bytes, bits: list[int]) -> bytes:
    changed = bytearray(data)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.integers(0, len(GRAPH) - 1))
def test_a_graph_that_is_cut_off(length: int) -> None:
    try:
        found = inception_resnet(GRAPH[:length])
    except ModelError:
        return
    # Between two nodes a shorter graph ends.
    assert "conv2d_1a.bn.bias" not in found


@given(st.lists(st.integers(0, len(GRAPH) * 8 - 1), min_size=1, max_size=8))
def test_a_graph_with_changed_bits(bits: list[int]) -> None:
    try:
        inception_resnet(flipped(GRAPH, bits))
    except ModelError:
        return


@given(st.integers(0, len(OLD) - 1))
def test_an_old_file_that_is_cut_off(length: int) -> None:
    with pytest.raises(ModelError):
        archive.state_of(OLD[:length], "weights.pt")


@given(st.lists(st.integers(0, len(OLD) * 8 - 1), min_size=1, max_size=8))
def test_an_old_file_with_changed_bits(bits: list[int]) -> None:
    try:
        found = archive.state_of(flipped(OLD, bits), "weights.pt")
    except ModelError:
        return
    assert all(isinstance(values, np.ndarray) for values in found.values())


@given(st.binary(max_size=400))
def test_other_bytes(data: bytes) -> None:
    with pytest.raises(ModelError):
        archive.state_of(data, "weights.pt")


def test_an_old_file_with_a_huge_memo_index_takes_no_memory() -> None:
    """Of 16 bytes per entry: two gigabytes, if they were allocated."""
    start = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            archive.state_of(start + b"\x80\x02}r" + (2**27).to_bytes(4, "little") + b".", "file")
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


class Evil:
    """Executes code when an unrestricted unpickler reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('the file was executed')",))


@pytest.mark.parametrize("place", range(5))
def test_an_old_file_executes_nothing(place: int) -> None:
    """Each of its five pickles is restricted."""
    parts: list[Any] = [0x1950A86A20F9469CFC6C, 1001, {}, {}, []]
    parts[place] = Evil()
    data = b"".join(pickle.dumps(part, 2) for part in parts)
    with pytest.raises(ModelError, match=r"refers to \w+\.exec, which weights never"):
        archive.state_of(data, "weights.pt")
