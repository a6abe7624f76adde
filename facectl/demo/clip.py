"""Generates a clip, with and without a face, from a public-domain portrait.

The portrait is NASA's of Eileen Collins; `facectl/models/portrait.txt` says where it is from.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facectl import paths
from facectl.errors import FacectlError
from facectl.models.portrait import portrait

NAME = "Eileen Collins"
WIDTH, HEIGHT, FPS = 640, 360, 10
# The camera's path over the 512x512 portrait: frame, centre x, centre y, width of the view.
# Around frame 40 the view shows only the suit, without a face.
_STOPS = (
    (0, 256, 150, 500),
    (20, 222, 120, 260),
    (30, 240, 130, 300),
    (37, 256, 400, 380),
    (42, 280, 410, 350),
    (49, 225, 125, 340),
    (60, 222, 120, 280),
)


def portrait_file(folder: Path) -> Path:
    """Write the portrait as a JPEG into a folder; returns its path."""
    stream = io.BytesIO()
    Image.fromarray(portrait()).save(stream, "JPEG", quality=92)
    file = folder / "portrait.jpg"
    with paths.atomic_write(file, mode=0o644) as target:
        target.write(stream.getvalue())
    return file


def frames() -> Iterator[NDArray[np.uint8]]:
    """The clip's frames in order, each (360, 640, 3) uint8 RGB."""
    image = portrait()
    for (start, *source), (end, *target) in pairwise(_STOPS):
        for step in np.linspace(0, 1, end - start, endpoint=False):
            x, y, width = (1 - step) * np.array(source) + step * np.array(target)
            yield _view(image, x, y, width)


def _view(image: NDArray[np.uint8], x: float, y: float, width: float) -> NDArray[np.uint8]:
    scale = WIDTH / width
    matrix = np.array([[scale, 0, WIDTH / 2 - scale * x], [0, scale, HEIGHT / 2 - scale * y]])
    view = cv2.warpAffine(
        image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return view.astype(np.uint8, copy=False)


def write(file: Path) -> Path:
    """Write the clip as a video file, which appears when it is complete; returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.stem}.unfinished.mp4")
    writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise FacectlError(f"{file} can't be written: OpenCV has no encoder for it here")
    try:
        for frame in frames():
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
    unfinished.replace(file)
    return file
