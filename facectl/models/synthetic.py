"""Weights that were never trained, for places where the real ones can't be had.

Seeded initialisation alone makes embeddings that hardly differ from one another.
With the batch-norm statistics of a pass over face crops they keep enough of
the picture apart for the whole pipeline to be run and tested; they know nothing
of people.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import ModelError
from facectl.models import portrait
from facectl.models.reference import facenet
from lambda_src.vision.store import CSE546

NAME = "synthetic"
_SEED = 20180402
_FACES, _PATCHES = 24, 40
_NOISE = 0.2


def state(preprocessing: str) -> dict[str, Any]:
    """A state dict of InceptionResnetV1, the same on every call.

    Raises ModelError where the embeddings collapse or do not tell pictures apart.
    """
    import torch

    network = facenet().InceptionResnetV1(pretrained=None).eval()
    _initialise(network, np.random.default_rng(_SEED))
    calibration = np.concatenate(
        [
            portrait.variants(preprocessing, _FACES, _SEED),
            portrait.patches(preprocessing, _PATCHES, _SEED + 1),
        ]
    )
    _calibrate(network, fed(calibration, preprocessing))
    with torch.inference_mode():
        _check(network, preprocessing)
    found: dict[str, Any] = network.state_dict()
    return found


def fed(crops: NDArray[np.uint8], preprocessing: str) -> Any:
    """Crops (N, S, S, 3) uint8 as the tensor (N, 3, S, S) that facenet-pytorch is given."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    return pixels / 255 if preprocessing == CSE546 else (pixels - 127.5) / 128.0


def _initialise(network: Any, random: np.random.Generator) -> None:
    """He's normal initialisation, from numpy's generator as torch's may change between versions."""
    import torch

    for name, parameter in sorted(network.named_parameters()):
        shape = tuple(parameter.shape)
        if parameter.dim() > 1:
            values = _kernels(shape, random) * (2 / parameter[0].numel()) ** 0.5
        else:
            values = random.normal(0.0 if name.endswith("bias") else 1.0, 0.1, shape)
        parameter.data = torch.from_numpy(values.astype(np.float32))


def _kernels(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
    """Random weights of variance near 1, mostly smooth over the picture.

    White noise amplifies the finest detail, which re-encoding or a shift by a
    pixel changes most: measured, the same face re-encoded, resized or turned by
    2 degrees came out as far apart as two people. Smooth, at a third of that.
    """
    noise = random.normal(0, 1, shape)
    if len(shape) < 4 or shape[2] * shape[3] == 1:
        return noise
    rows, columns = (np.exp(-(np.linspace(-1, 1, n) ** 2)) if n > 1 else [1.0] for n in shape[2:])
    smooth = random.normal(0, 1, (*shape[:2], 1, 1)) * np.outer(rows, columns)
    return _NOISE * noise + (1 - _NOISE) * 2 * smooth


def _calibrate(network: Any, pixels: Any) -> None:
    """Set every normalisation to the statistics of these pictures."""
    import torch

    layers = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    threads = torch.get_num_threads()
    # The order of additions depends on the number of threads, and the space's identity on them.
    torch.set_num_threads(1)
    try:
        for layer in layers:
            layer.momentum = 1.0
            layer.train()
        with torch.inference_mode():
            network(pixels)
    finally:
        torch.set_num_threads(threads)
        network.eval()


def _check(network: Any, preprocessing: str) -> None:
    """Refuse embeddings that collapse, or whose nearest neighbour is another picture."""
    faces = portrait.variants(preprocessing, 8, _SEED + 2)
    others = portrait.patches(preprocessing, 8, _SEED + 3)
    shifted = np.roll(others, (2, 2), axis=(1, 2))
    embedded = network(fed(np.concatenate([others, shifted, faces]), preprocessing)).numpy()
    first, second = embedded[:8], embedded[8:16]
    similar = first @ second.T
    if not (similar.argmax(axis=1) == np.arange(8)).all():
        raise ModelError("The synthetic weights do not tell pictures apart")
    apart = similar[~np.eye(8, dtype=bool)]
    if float(np.median(apart)) > 0.99:
        raise ModelError("The embeddings of the synthetic weights have collapsed into one")
