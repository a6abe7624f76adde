"""What the detector finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face, in pixels of the image it was found in.

    `box` is x0 y0 x1 y1 and may reach past the image's edges, as MTCNN's do.
    `landmarks` are x, y of the eyes, the nose and the corners of the mouth,
    the image's left before its right.
    """

    box: tuple[float, float, float, float]
    probability: float
    landmarks: tuple[tuple[float, float], ...]

    @property
    def area(self) -> float:
        """Square pixels of the box."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


def largest(faces: list[Face], count: int) -> list[Face]:
    """The `count` faces with the largest boxes, left to right."""
    chosen = sorted(faces, key=lambda face: face.area, reverse=True)[:count]
    return sorted(chosen, key=lambda face: face.box[0])
