"""Reads frozen TensorFlow graphs without TensorFlow: InceptionResnetV1 as davidsandberg froze it.

A frozen graph is a protobuf message, GraphDef, whose constants are the weights. The few
fields that are read are declared here; their numbers are those of TensorFlow's graph.proto,
node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from facectl.errors import ModelError
from facectl.models.archive import State

_FLOAT = 1
_MAX_VALUES = 100_000_000
# Of each message: name, number and type of its fields; a star means repeated.
_MESSAGES = {
    "GraphDef": (("node", 1, "NodeDef*"),),
    "NodeDef": (("name", 1, "string"), ("op", 2, "string"), ("attr", 5, "Attribute*")),
    "Attribute": (("key", 1, "string"), ("value", 2, "AttrValue")),
    "AttrValue": (("tensor", 8, "TensorProto"),),
    "TensorProto": (
        ("dtype", 1, "int32"),
        ("tensor_shape", 2, "TensorShapeProto"),
        ("tensor_content", 4, "bytes"),
        ("float_val", 5, "float*"),
    ),
    "TensorShapeProto": (("dim", 2, "Dim*"),),
    "Dim": (("size", 1, "int64"),),
}
_PREFIX = "InceptionResnetV1/"
_BLOCKS = {
    "Repeat": "repeat_1",
    "Repeat_1": "repeat_2",
    "Repeat_2": "repeat_3",
    "Block8": "block8",
    "Mixed_6a": "mixed_6a",
    "Mixed_7a": "mixed_7a",
}


def constants(data: bytes) -> dict[str, NDArray[np.float32]]:
    """The float32 constants of a frozen graph by their names; raises ModelError."""
    graph = _graph_def()()
    try:
        graph.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(f"the graph is damaged or cut off: {error}") from error
    found = {}
    for node in graph.node:
        if node.op != "Const":
            continue
        for attribute in node.attr:
            if attribute.key == "value" and attribute.value.tensor.dtype == _FLOAT:
                found[node.name] = _tensor(attribute.value.tensor, node.name)
    return found


def inception_resnet(data: bytes) -> State:
    """InceptionResnetV1's state dict, in facenet-pytorch's names, from a frozen graph's bytes.

    Freezing folded every batch normalisation but the last into its convolution, so these
    have gain 1 and mean 0. Raises ModelError for a damaged graph; whether the tensors are
    those of the network is not checked here.
    """
    found = {name.removeprefix(_PREFIX): value for name, value in constants(data).items()}
    state: State = {}
    for name, kernel in sorted(found.items()):
        layer, _, kind = name.rpartition("/")
        if kind != "weights" or layer == "Bottleneck" or kernel.ndim != 4:
            continue
        target = _layer(layer, found)
        weight = kernel.transpose(3, 2, 0, 1)
        if f"{layer}/biases" in found:
            state |= {f"{target}.weight": weight, f"{target}.bias": found[f"{layer}/biases"]}
        else:
            state[f"{target}.conv.weight"] = weight
            state |= _normalisation(f"{target}.bn", found.get(f"{layer}/Conv2D_bn_offset"))
    last = "Bottleneck/BatchNorm"
    if "Bottleneck/weights" in found:
        state["last_linear.weight"] = found["Bottleneck/weights"].T
    state |= _normalisation("last_bn", found.get(f"{last}/beta"))
    for kind, source in (("running_mean", "moving_mean"), ("running_var", "moving_variance")):
        if f"{last}/{source}" in found:
            state[f"last_bn.{kind}"] = found[f"{last}/{source}"]
    return state


def _layer(name: str, found: dict[str, NDArray[np.float32]]) -> str:
    """A convolution's name in facenet-pytorch: Repeat/block35_1/Branch_1/Conv2d_0b_3x3
    is repeat_1.0.branch1.1.
    """
    block, *rest = name.split("/")
    if block not in _BLOCKS:
        return re.sub(r"_\dx\d$", "", block).lower()
    path = [_BLOCKS[block]]
    if rest and (number := re.fullmatch(r"block\d+_(\d+)", rest[0])):
        path.append(str(int(number.group(1)) - 1))
        rest = rest[1:]
    if len(rest) < 2:
        return ".".join([*path, "conv2d"])
    branch = name.rpartition("/")[0]
    # 0a, 0b, 1a: the order of the names is that of the convolutions.
    chain = sorted(n for n in found if n.startswith(f"{branch}/") and n.endswith("/weights"))
    path.append(rest[0].lower().replace("_", ""))
    if len(chain) > 1:
        path.append(str(chain.index(f"{name}/weights")))
    return ".".join(path)


def _normalisation(layer: str, offset: NDArray[np.float32] | None) -> State:
    """Batch normalisation that only adds an offset; the epsilon of the network is 0.001."""
    if offset is None:
        return {}
    return {
        f"{layer}.weight": np.ones_like(offset),
        f"{layer}.bias": offset,
        f"{layer}.running_mean": np.zeros_like(offset),
        f"{layer}.running_var": np.full_like(offset, 0.999),
    }


def _tensor(message: Any, name: str) -> NDArray[np.float32]:
    shape = [int(dim.size) for dim in message.tensor_shape.dim]
    if message.tensor_content:
        if len(message.tensor_content) % 4:
            raise ModelError(f"the graph is damaged: {name} is cut off")
        values = np.frombuffer(message.tensor_content, "<f4")
    else:
        values = np.array(message.float_val, np.float32)
    size = np.prod(shape, dtype=np.float64)
    # TensorFlow stores a tensor of equal values as one value.
    count = size if len(values) == 1 else len(values)
    if min(shape, default=1) < 0 or size != count or size > _MAX_VALUES:
        raise ModelError(f"the graph is damaged: {name} has {len(values)} values for {shape}")
    return np.resize(values, shape)


@cache
def _graph_def() -> Any:
    """The message class of GraphDef."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="facectl_graph.proto", package="facectl", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, declared in fields:
            kind = declared.rstrip("*")
            added = message.field.add(name=field, number=number)
            added.label = kinds.LABEL_OPTIONAL if kind == declared else kinds.LABEL_REPEATED
            if kind in _MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".facectl.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("facectl.GraphDef"))
