"""Outputs of facenet-pytorch that are recorded in this repository, and their inputs.

`recorded.npz` is made by `python benchmarks/record_references.py`, which needs torch and
facenet-pytorch. With it, built networks are compared with facenet-pytorch without having it.
The inputs are slices of the portrait and random pixels, without any interpolation, so they
are the same bytes everywhere.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facectl.models import portrait
from lambda_src.vision.store import crop_size

FILE = Path(__file__).with_name("recorded.npz")
SIZES = {"pnet": 61, "rnet": 24, "onet": 48}
_SEED = 11
# Left and top of squares of the portrait: around the face, and three without one.
_PLACES = ((144, 40), (160, 30), (130, 52), (20, 150), (250, 250), (90, 260))


@cache
def outputs() -> dict[str, NDArray[np.float32]]:
    """The recorded outputs: by network, and `<weights>/<preprocessing>` for embeddings."""
    with np.load(FILE, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def cascade_inputs(network: str) -> NDArray[np.float32]:
    """Inputs of P-, R- or O-Net: pixels (N, 3, S, S), 0 to 255."""
    size = SIZES[network]
    squares = [*_noise(6, size), *_squares(size), *_squares(size, step=160 // size)]
    pixels: NDArray[np.float32] = np.stack(squares).transpose(0, 3, 1, 2).astype(np.float32)
    return pixels


def embedder_inputs(preprocessing: str) -> NDArray[np.uint8]:
    """Crops (N, S, S, 3): faces, other parts of the portrait, darker and mirrored; noise."""
    size = crop_size(preprocessing)
    squares = _squares(size)
    changed = [square[:, ::-1] // 2 + 20 for square in squares]
    return np.stack([*squares, *changed, *_noise(2, size)]).astype(np.uint8)


def cascade_difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference between a built network's outputs and facenet-pytorch's.

    The original's last output is the probability of a face; the built network's a logit.
    """
    probability = 1 / (1 + np.exp(-found[:, -1:].astype(np.float64)))
    difference = np.concatenate([found[:, :-1], probability], axis=1) - expected
    return float(np.abs(difference).max())


def _noise(count: int, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(_SEED).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def _squares(size: int, step: int = 1) -> list[NDArray[np.uint8]]:
    """Squares of the portrait, with every `step`-th pixel."""
    picture = portrait.portrait()
    squares = []
    for x, y in _PLACES:
        left, top = min(x, 512 - size * step), min(y, 512 - size * step)
        squares.append(picture[top : top + size * step : step, left : left + size * step : step])
    return squares
