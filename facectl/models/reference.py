"""facenet-pytorch, with which built networks are compared where it is installed.

PyPI's torchvision wheels are built for torch with CUDA. With a CPU build of torch their
compiled part does not load, and `import torchvision` fails ("operator torchvision::nms
does not exist"). facenet-pytorch needs only `to_tensor` and `batched_nms`, and of the
compiled part only `nms`, so `make_torchvision_importable` provides it.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import ModelError
from facectl.models.archive import State
from lambda_src.vision.store import CSE546

_INSTALL = "pip install 'facectl[models]'"
# Kept alive: torch unregisters a library's operators when the object is deleted.
_libraries: list[Any] = []


def facenet() -> Any:
    """The module facenet_pytorch; raises ModelError without the `models` extra."""
    try:
        make_torchvision_importable()
        import facenet_pytorch
    except ImportError as error:
        raise ModelError(f"facenet-pytorch can't be imported ({error})", hint=_INSTALL) from error
    return facenet_pytorch


def available() -> bool:
    """Whether torch and facenet-pytorch are installed; does not import them."""
    return all(
        importlib.util.find_spec(name) is not None
        for name in ("torch", "torchvision", "facenet_pytorch")
    )


def cascade(states: dict[str, State]) -> dict[str, Any]:
    """P-, R- and O-Net with these weights, ready to run."""
    module = facenet()
    kinds = {"pnet": module.PNet, "rnet": module.RNet, "onet": module.ONet}
    networks = {}
    for name, kind in kinds.items():
        network = kind(pretrained=False)
        network.load_state_dict(tensors(states[name]))
        networks[name] = network.eval()
    return networks


def cascade_outputs(network: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """What P-, R- or O-Net returns, side by side, last the probability of a face."""
    import torch

    with torch.inference_mode():
        *outputs, probabilities = network((torch.from_numpy(pixels) - 127.5) / 128)
    parts = [output.numpy() for output in (*outputs, probabilities[:, 1:2])]
    return np.concatenate(parts, axis=1)


def embedder(state: State) -> Any:
    """InceptionResnetV1 with the weights of a complete state dict, ready to run.

    The classifier in published weights is left out: the embedding does not depend on it.
    """
    network = facenet().InceptionResnetV1(pretrained=None)
    network.load_state_dict(
        tensors({key: value for key, value in state.items() if not key.startswith("logits.")})
    )
    return network.eval()


def embeddings(network: Any, crops: NDArray[np.uint8], preprocessing: str) -> NDArray[np.float32]:
    """Embeddings (N, 512) of crops (N, S, S, 3) by facenet-pytorch's network."""
    import torch

    with torch.inference_mode():
        found: NDArray[np.float32] = network(to_input(crops, preprocessing)).numpy()
    return found


def to_input(crops: NDArray[np.uint8], preprocessing: str) -> Any:
    """Crops (N, S, S, 3) uint8 as facenet-pytorch's input tensor (N, 3, S, S)."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    return pixels / 255 if preprocessing == CSE546 else (pixels - 127.5) / 128.0


def tensors(state: State) -> dict[str, Any]:
    """A state dict of torch's tensors."""
    import torch

    return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}


@cache
def make_torchvision_importable() -> None:
    """Define `torchvision::nms` if the compiled part of torchvision can't be loaded."""
    torch: Any = importlib.import_module("torch")
    if _compiled_part_loads(torch):
        return
    library = torch.library.Library("torchvision", "DEF")
    # The import registers a shape function for `qnms`, so it must be declared.
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    _libraries.append(library)
    import torchvision.extension

    torchvision.extension._has_ops = lambda: True


def _compiled_part_loads(torch: Any) -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for file in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(file))
        except OSError:
            continue
        return True
    return False


def _nms(boxes: Any, scores: Any, threshold: float) -> Any:
    """torchvision's non-maximum suppression: the kept indices, best score first."""
    import torch

    order = np.argsort(-scores.numpy(), kind="stable")
    corners = boxes.numpy()
    x0, y0, x1, y1 = corners.T
    areas = (x1 - x0) * (y1 - y0)
    kept = []
    while order.size > 0:
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest])
        height = np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            overlap = shared / (areas[best] + areas[rest] - shared)
        order = rest[~(overlap > threshold)]
    return torch.as_tensor(np.array(kept, dtype=np.int64))
