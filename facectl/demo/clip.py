"""Generates the demo's clip: photographs on a wall, with the answer that each frame should get.

The scenes vary position, scale, rotation and light; one has no face.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facectl.demo import people
from facectl.demo.people import Photograph, Pixels
from facectl.errors import FacectlError
from facectl.models.portrait import portrait
from lambda_src.contract import NO_FACE, UNKNOWN

WIDTH, HEIGHT, FPS = 640, 360, 10
# RGB at the top and at the bottom of the wall.
_WALL = ((96, 104, 116), (58, 63, 72))
_BORDER = 7

# Of a face in a frame: centre x, centre y and height in pixels, degrees clockwise.
Pose = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Shown:
    """A photograph of a scene, and the pose of its face in the first and after the last frame."""

    photograph: Photograph
    start: Pose
    end: Pose

    def pose(self, part: float) -> Pose:
        """The pose at a part (0 to 1) of the scene."""
        x, y, height, angle = np.array(self.start) * (1 - part) + np.array(self.end) * part
        return x, y, height, angle


@dataclass(frozen=True, slots=True)
class Scene:
    """`frames` frames of photographs, left to right; `light`: factor at the start and the end."""

    frames: int
    light: tuple[float, float]
    shown: tuple[Shown, ...]


SCENES = (
    Scene(12, (0.7, 1.1), (
        Shown(people.COLLINS_1993, (250, 185, 110, -6), (390, 175, 190, 4)),
    )),
    Scene(12, (1.25, 0.75), (
        Shown(people.OBAMA_2009, (420, 185, 125, 7), (250, 185, 215, -4)),
    )),
    Scene(10, (0.9, 1.1), (
        Shown(people.COLLINS_1993, (150, 150, 95, 4), (185, 165, 120, -4)),
        Shown(people.OBAMA_2010, (470, 170, 130, -4), (455, 160, 110, 5)),
    )),
    Scene(6, (0.9, 1.0), (
        Shown(people.SUIT, (290, 180, 170, -3), (350, 180, 150, 3)),
    )),
    Scene(10, (0.7, 1.15), (
        Shown(people.HOPPER_1984, (350, 185, 125, -5), (300, 190, 195, 4)),
    )),
    Scene(10, (1.1, 0.85), (
        Shown(people.OBAMA_2010, (160, 165, 115, 5), (190, 165, 130, -3)),
        Shown(people.HOPPER_1984, (470, 180, 150, 3), (480, 175, 125, -5)),
    )),
)  # fmt: skip


MOST_FACES = max(len(scene.shown) for scene in SCENES)


def expected() -> list[str]:
    """The right result of each frame, as the pipeline writes it: names from left to right."""
    return [_answer(scene) for scene in SCENES for _ in range(scene.frames)]


def people_shown() -> list[tuple[str, ...]]:
    """The people of each frame, with strangers under their own name."""
    return [_people(scene) for scene in SCENES for _ in range(scene.frames)]


def _people(scene: Scene) -> tuple[str, ...]:
    return tuple(each.photograph.person for each in scene.shown if each.photograph.person)


def _answer(scene: Scene) -> str:
    names = [UNKNOWN if name in people.STRANGERS else name for name in _people(scene)]
    return ",".join(names) or NO_FACE


def portrait_file(folder: Path) -> Path:
    """Write the portrait of Eileen Collins as a JPEG into a folder; returns its path."""
    return people.write_jpeg(portrait(), folder / "portrait.jpg")


def frames() -> Iterator[Pixels]:
    """The clip's frames in order, each (360, 640, 3) uint8 RGB."""
    for scene in SCENES:
        pictures = [_framed(each.photograph) for each in scene.shown]
        for part in np.linspace(0, 1, scene.frames, endpoint=False):
            canvas = _wall()
            for each, picture in zip(scene.shown, pictures, strict=True):
                _hang(canvas, picture, _matrix(each.photograph, each.pose(float(part))))
            first, last = scene.light
            lit = canvas * (first * (1 - part) + last * part)
            yield np.clip(np.rint(lit), 0, 255).astype(np.uint8)


def _wall() -> NDArray[np.float32]:
    top, bottom = np.array(_WALL, np.float32)
    down = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None]
    return np.tile(top * (1 - down) + bottom * down, (1, WIDTH, 1))


def _framed(photograph: Photograph) -> Pixels:
    """The photograph with a white border."""
    edge = (_BORDER,) * 4
    white = (255, 255, 255)
    pixels = np.ascontiguousarray(photograph.pixels())
    framed = cv2.copyMakeBorder(pixels, *edge, cv2.BORDER_CONSTANT, value=white)
    return framed.astype(np.uint8, copy=False)


def _matrix(photograph: Photograph, pose: Pose) -> NDArray[np.float64]:
    """The affine matrix that moves the photograph's face to its pose in the frame."""
    x, y, height, angle = pose
    centre_x, centre_y, size = photograph.face
    at = (centre_x + _BORDER, centre_y + _BORDER)
    # OpenCV counts angles counter-clockwise.
    matrix = np.asarray(cv2.getRotationMatrix2D(at, -angle, height / size), np.float64)
    matrix[:, 2] += (x - at[0], y - at[1])
    return matrix


def _hang(canvas: NDArray[np.float32], picture: Pixels, matrix: NDArray[np.float64]) -> None:
    """Draw the picture over the canvas; the mask keeps its edges smooth."""
    size = (WIDTH, HEIGHT)
    moved = cv2.warpAffine(
        picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    mask = np.zeros(picture.shape[:2], np.float32)
    mask[1:-1, 1:-1] = 1
    cover = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR)[..., None]
    canvas += (moved - canvas) * cover


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
