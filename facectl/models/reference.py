"""facenet-pytorch, with which every built network is compared.

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

from facectl.errors import ModelError

_INSTALL = "pip install 'facectl[models]'"
# Kept alive: torch unregisters a library's operators when the object is deleted.
_libraries: list[Any] = []


def facenet() -> Any:
    """The module facenet_pytorch; raises ModelError without the `models` extra."""
    try:
        make_torchvision_importable()
        import facenet_pytorch
    except ImportError as error:
        raise ModelError(
            f"Building models needs torch and facenet-pytorch ({error})", hint=_INSTALL
        ) from error
    return facenet_pytorch


def cascade() -> dict[str, Any]:
    """P-, R- and O-Net with the weights of facenet-pytorch's wheel, ready to run."""
    import torch

    module = facenet()
    folder = Path(module.__file__).parent / "data"
    networks = {}
    for name, kind in (("pnet", module.PNet), ("rnet", module.RNet), ("onet", module.ONet)):
        network = kind(pretrained=False)
        state = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
        network.load_state_dict(state)
        networks[name] = network.eval()
    return networks


def embedder(state: dict[str, Any]) -> Any:
    """InceptionResnetV1 with these weights; raises ModelError if they do not fit.

    The classifier in published weights is left out: the embedding does not depend on it.
    """
    network = facenet().InceptionResnetV1(pretrained=None)
    wanted = {key: value for key, value in state.items() if not key.startswith("logits.")}
    try:
        network.load_state_dict(wanted)
    except (RuntimeError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()
        raise ModelError(
            "These are not the weights of facenet-pytorch's InceptionResnetV1: "
            + " ".join(line.strip() for line in reason[:3])[:300],
            hint="facectl models build --weights vggface2",
        ) from error
    return network.eval()


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
