"""The people of the demo: public-domain photographs, who is enrolled and who is a stranger.

`facectl/demo/portraits/SOURCES.txt` names the subject, author, source and licence of each.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facectl import paths
from facectl.models.portrait import portrait

COLLINS = "Eileen Collins"
OBAMA = "Barack Obama"
HOPPER = "Grace Hopper"
STRANGERS = frozenset({HOPPER})

Pixels = NDArray[np.uint8]
# Centre x, centre y and height in pixels.
Face = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph of one person, or without a face (`person` None).

    `face`: the face as facectl detects it, or what is shown instead of one.
    """

    person: str | None
    face: Face
    load: Callable[[], Pixels]

    def pixels(self) -> Pixels:
        """The photograph, (H, W, 3) uint8 RGB."""
        return self.load()


@cache
def shipped(name: str) -> Pixels:
    """A photograph of `facectl/demo/portraits`, (H, 320, 3) uint8 RGB."""
    file = resources.files("facectl.demo").joinpath(f"portraits/{name}.jpg")
    with Image.open(io.BytesIO(file.read_bytes())) as image:
        return np.asarray(image.convert("RGB"))


COLLINS_1993 = Photograph(COLLINS, (159, 118, 115), lambda: portrait()[:330, 65:385])
# Her suit, without a face.
SUIT = Photograph(None, (165, 125, 125), lambda: portrait()[262:, 90:420])
OBAMA_2009 = Photograph(OBAMA, (189, 187, 237), lambda: shipped("barack-obama-2009"))
OBAMA_2010 = Photograph(OBAMA, (162, 150, 149), lambda: shipped("barack-obama-2010"))
HOPPER_1984 = Photograph(HOPPER, (157, 177, 180), lambda: shipped("grace-hopper-1984"))

# Enrolled: of Barack Obama a photograph that the clip does not show.
ENROLLED: dict[str, Callable[[], Pixels]] = {
    COLLINS: portrait,
    OBAMA: lambda: shipped("barack-obama-2012"),
}


def write_enrolled(folder: Path) -> dict[str, Path]:
    """Write the photographs to enroll as `folder/NAME/photograph.jpg`; the files by name."""
    return {
        name: write_jpeg(load(), folder / name / "photograph.jpg")
        for name, load in ENROLLED.items()
    }


def write_jpeg(pixels: Pixels, file: Path) -> Path:
    """Write a picture (H, W, 3) uint8 RGB as a JPEG; returns its path."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=92)
    with paths.atomic_write(file, mode=0o644) as target:
        target.write(stream.getvalue())
    return file
