"""Untrained weights, for computers that can't download the trained ones.

With a seeded initialisation alone, embeddings hardly differ. With batch-norm statistics
from face crops they differ enough to run and test the whole pipeline, but they do not
tell people apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import ModelError
from facectl.models import portrait
from facectl.models.reference import facenet
from lambda_src.vision.store import CSE546

_SEED = 20180402
_FACES, _PATCHES = 24, 40
_NOISE = 0.2


def state(preprocessing: str) -> dict[str, Any]:
    """A state dict of InceptionResnetV1, the same on every call.

    Raises ModelError if the embeddings of different pictures are too similar.
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
    _calibrate(network, to_input(calibration, preprocessing))
    with torch.inference_mode():
        _check(network, preprocessing)
    found: dict[str, Any] = network.state_dict()
    return found


def to_input(crops: NDArray[np.uint8], preprocessing: str) -> Any:
    """Crops (N, S, S, 3) uint8 as facenet-pytorch's input tensor (N, 3, S, S)."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    return pixels / 255 if preprocessing == CSE546 else (pixels - 127.5) / 128.0


def _initialise(network: Any, random: np.random.Generator) -> None:
    """He's normal initialisation, with numpy's generator: torch's may differ between versions."""
    import torch

    for name, parameter in sorted(network.named_parameters()):
        shape = tuple(parameter.shape)
        if parameter.dim() > 1:
            values = _kernels(shape, random) * (2 / parameter[0].numel()) ** 0.5
        else:
            values = random.normal(0.0 if name.endswith("bias") else 1.0, 0.1, shape)
        parameter.data = torch.from_numpy(values.astype(np.float32))


def _kernels(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float64]:
    """Random weights of variance near 1, mostly smooth in space.

    White noise amplifies fine detail, which re-encoding or a shift by a pixel changes
    most: measured, the same face re-encoded, resized or rotated by 2 degrees was as
    distant as another person. With smooth weights the distance is a third.
    """
    noise = random.normal(0, 1, shape)
    if len(shape) < 4 or shape[2] * shape[3] == 1:
        return noise
    rows, columns = (np.exp(-(np.linspace(-1, 1, n) ** 2)) if n > 1 else [1.0] for n in shape[2:])
    smooth = random.normal(0, 1, (*shape[:2], 1, 1)) * np.outer(rows, columns)
    return _NOISE * noise + (1 - _NOISE) * 2 * smooth


def _calibrate(network: Any, pixels: Any) -> None:
    """Set the statistics of every batch normalisation to those of these pictures."""
    import torch

    layers = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    threads = torch.get_num_threads()
    # The number of threads changes the order of additions, and thus the embedding space.
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
    """Raise ModelError if embeddings are too similar or the nearest is of another picture."""
    faces = portrait.variants(preprocessing, 8, _SEED + 2)
    others = portrait.patches(preprocessing, 8, _SEED + 3)
    shifted = np.roll(others, (2, 2), axis=(1, 2))
    embedded = network(to_input(np.concatenate([others, shifted, faces]), preprocessing)).numpy()
    first, second = embedded[:8], embedded[8:16]
    similar = first @ second.T
    if not (similar.argmax(axis=1) == np.arange(8)).all():
        raise ModelError("The synthetic weights confuse pictures")
    apart = similar[~np.eye(8, dtype=bool)]
    if float(np.median(apart)) > 0.99:
        raise ModelError("The embeddings of the synthetic weights are almost equal")
