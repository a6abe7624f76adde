"""Exports facenet-pytorch's networks to ONNX files, and compares these with the originals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facectl.errors import ModelError
from facectl.models import inception_resnet, mtcnn, portrait
from facectl.models.graph import Weights
from facectl.models.synthetic import to_input
from lambda_src.vision.pyramid import AreaImage
from lambda_src.vision.sessions import Network
from lambda_src.vision.store import EMBEDDER, EMBEDDER_WEIGHTS, ONET, PNET, RNET, crop_size

# Scores, offsets and landmarks are relative to 1: a thousandth is far below a pixel.
_MAX_DIFFERENCE = 1e-3
_MIN_COSINE = 0.9999
_SEED = 11


def write_networks(
    folder: Path, cascade: dict[str, Any], embedder: Any, preprocessing: str
) -> None:
    """Write the four network files into a folder."""
    import onnx

    def weights(network: Any) -> Weights:
        return {name: tensor.numpy() for name, tensor in network.state_dict().items()}

    onnx.save(mtcnn.pnet(weights(cascade["pnet"])), folder / PNET)
    onnx.save(mtcnn.rnet(weights(cascade["rnet"])), folder / RNET)
    onnx.save(mtcnn.onet(weights(cascade["onet"])), folder / ONET)
    onnx.save(
        inception_resnet.embedder(weights(embedder), preprocessing),
        folder / EMBEDDER,
        save_as_external_data=True,
        location=EMBEDDER_WEIGHTS,
    )


def compare(
    folder: Path, cascade: dict[str, Any], embedder: Any, preprocessing: str
) -> dict[str, float]:
    """Compare the outputs for random and real pixels; raises ModelError if they differ.

    Returns the largest difference of each network of the cascade, and the smallest
    cosine between embeddings.
    """
    found = {}
    area = AreaImage(portrait.portrait())
    for name, file, size in (("pnet", PNET, 61), ("rnet", RNET, 24), ("onet", ONET, 48)):
        noise = _random(6, size).astype(np.float32).transpose(0, 3, 1, 2)
        inputs = np.concatenate([noise, _windows(area, size)])
        found[name] = _largest_difference(cascade[name], Network(folder / file, threads=1), inputs)
        if not found[name] <= _MAX_DIFFERENCE:
            raise ModelError(
                f"{file} differs from facenet-pytorch's by {found[name]:.2g} "
                f"(maximum {_MAX_DIFFERENCE}) and was not installed"
            )
    found["embedder"] = _smallest_cosine(
        embedder, Network(folder / EMBEDDER, threads=1), preprocessing
    )
    if not found["embedder"] >= _MIN_COSINE:
        raise ModelError(
            f"{EMBEDDER} differs from facenet-pytorch's: cosine {found['embedder']:.6f} "
            f"(minimum {_MIN_COSINE}), and was not installed"
        )
    return found


def _random(count: int, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(_SEED).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def _windows(area: AreaImage, size: int) -> NDArray[np.float32]:
    """The portrait's face and two other windows."""
    face = np.array(portrait.FACE)
    boxes = np.stack([face, face + 60, face * 0.5]).astype(np.int64)
    return area.windows(boxes, size)


def _largest_difference(original: Any, built: Network, pixels: NDArray[np.float32]) -> float:
    import torch

    with torch.inference_mode():
        expected = [output.numpy() for output in original((torch.from_numpy(pixels) - 127.5) / 128)]
    found = built(pixels)
    # The original's last output is two probabilities, no face and face; here it is a logit.
    probability = 1 / (1 + np.exp(-found[:, -1:].astype(np.float64)))
    difference = np.concatenate([found[:, :-1], probability], axis=1) - np.concatenate(
        [*expected[:-1], expected[-1][:, 1:2]], axis=1
    )
    return float(np.abs(difference).max())


def _smallest_cosine(original: Any, built: Network, preprocessing: str) -> float:
    import torch

    crops = np.concatenate(
        [
            _random(2, crop_size(preprocessing)),
            portrait.variants(preprocessing, 4, _SEED),
            portrait.patches(preprocessing, 2, _SEED),
        ]
    )
    with torch.inference_mode():
        expected = original(to_input(crops, preprocessing)).numpy()
    return float((built(crops) * expected).sum(axis=1).min())
