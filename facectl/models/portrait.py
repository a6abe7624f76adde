"""Pictures from one public-domain portrait, with which networks are compared and calibrated.

`portrait.txt` says where the portrait is from.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from lambda_src.vision.store import crop_size

# The face's box as facenet-pytorch detects it: x0 y0 x1 y1 in pixels of the portrait.
FACE = (181.0, 62.0, 268.0, 172.0)


@cache
def portrait() -> NDArray[np.uint8]:
    """The portrait, (512, 512, 3) uint8 RGB, not writable."""
    with Image.open(Path(__file__).with_suffix(".webp")) as picture:
        return np.asarray(picture.convert("RGB"))


def small_face(side: int) -> NDArray[np.uint8]:
    """The face as a small picture, (side, side, 3)."""
    box = (int(FACE[0]), int(FACE[1]), int(FACE[2]), int(FACE[3]))
    face = Image.fromarray(portrait()).crop(box)
    return np.asarray(face.resize((side, side), Image.Resampling.BOX))


def variants(preprocessing: str, count: int, seed: int) -> NDArray[np.uint8]:
    """`count` crops (N, S, S, 3) of the face, shifted, rotated, scaled and lit at random."""
    random = np.random.default_rng(seed)
    x0, y0, x1, y1 = FACE
    centre, side = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), (y1 - y0)
    return np.stack(
        [
            _look(
                centre + random.uniform(-0.08, 0.08, 2) * side,
                side * random.uniform(0.85, 1.2),
                preprocessing,
                random,
            )
            for _ in range(count)
        ]
    )


def patches(preprocessing: str, count: int, seed: int) -> NDArray[np.uint8]:
    """`count` crops (N, S, S, 3) from random places of the portrait."""
    random = np.random.default_rng(seed)
    return np.stack(
        [
            _look(random.uniform(80, 430, 2), random.uniform(60, 240), preprocessing, random)
            for _ in range(count)
        ]
    )


def _look(
    centre: NDArray[np.float64], side: float, preprocessing: str, random: np.random.Generator
) -> NDArray[np.uint8]:
    size = crop_size(preprocessing)
    angle = np.deg2rad(random.uniform(-12, 12))
    step = side / size
    cos, sin = np.cos(angle) * step, np.sin(angle) * step
    half = size / 2
    x = centre[0] - cos * half + sin * half
    y = centre[1] - sin * half - cos * half
    picture = Image.fromarray(portrait()).transform(
        (size, size),
        Image.Transform.AFFINE,
        (cos, -sin, x, sin, cos, y),
        Image.Resampling.BILINEAR,
    )
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = ImageEnhance.Brightness(picture).enhance(random.uniform(0.6, 1.4))
    picture = ImageEnhance.Color(picture).enhance(random.uniform(0.2, 1.6))
    return np.asarray(ImageEnhance.Contrast(picture).enhance(random.uniform(0.7, 1.3)))
