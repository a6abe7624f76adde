"""Writes docs/demo.jpg from the video that `facectl demo` has drawn.

    facectl demo
    python docs/make_demo_picture.py facectl-demo/annotated.mp4

One frame each of: a person, two people, a person with a stranger, no face.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
from PIL import Image

FILE = Path(__file__).with_name("demo.jpg")
FRAMES = (9, 29, 53, 36)
SIZE = (480, 270)
GAP = 4


def picture(video: Path) -> Image.Image:
    """The frames of the video in two rows; raises SystemExit if it has too few."""
    reader = cv2.VideoCapture(str(video))
    width, height = SIZE
    sheet = Image.new("RGB", (2 * width + GAP, 2 * height + GAP), "white")
    for place, number in enumerate(FRAMES):
        reader.set(cv2.CAP_PROP_POS_FRAMES, number)
        read, frame = reader.read()
        if not read:
            raise SystemExit(f"{video} has no frame {number}: run `facectl demo` first")
        row, column = divmod(place, 2)
        shown = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).resize(SIZE)
        sheet.paste(shown, (column * (width + GAP), row * (height + GAP)))
    return sheet


if __name__ == "__main__":
    picture(Path(sys.argv[1])).save(FILE, "JPEG", quality=88, optimize=True)
