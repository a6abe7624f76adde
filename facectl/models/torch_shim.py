"""torchvision beside a CPU-only torch.

PyPI's torchvision wheels are built against torch with CUDA. Beside a CPU build
their compiled part does not load, and then `import torchvision` itself fails
("operator torchvision::nms does not exist"). facenet-pytorch needs only two
functions of torchvision, `to_tensor` and `batched_nms`, and of the compiled
part only `nms`, so giving that an implementation is enough; `qnms` has to be
declared, as the import registers a shape function for it. Where the
compiled part loads (PyTorch's own CPU wheels, macOS) nothing is done.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# Kept alive: torch forgets a library's operators when the object goes.
_libraries: list[Any] = []


@cache
def make_torchvision_importable() -> None:
    """Give `torchvision::nms` an implementation where the compiled one can't be loaded."""
    # Only commands that build models pay for torch.
    torch: Any = importlib.import_module("torch")

    if _compiled_part_loads(torch):
        return
    library = torch.library.Library("torchvision", "DEF")
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
    """torchvision's greedy non-maximum suppression: kept indices, the best score first."""
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
