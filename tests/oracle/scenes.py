"""Pictures with faces and without, by name."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from skimage import data

Picture = NDArray[np.uint8]


def portraits() -> Iterator[tuple[str, Picture]]:
    """The astronaut: rescaled, turned, cropped, darkened, brightened, re-encoded."""
    picture = Image.fromarray(data.astronaut())
    for side in (64, 97, 160, 333, 512, 700, 1024):
        yield f"{side} px", np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))
    for angle in (-30, -17, -8, 5, 13, 26):
        yield f"turned by {angle}", np.asarray(picture.rotate(angle, Image.Resampling.BICUBIC))
    for box in ((120, 20, 340, 240), (150, 40, 300, 200), (0, 0, 230, 300), (180, 60, 512, 512)):
        yield f"cropped to {box}", np.asarray(picture.crop(box))
    for factor in (0.15, 0.35, 0.6, 1.3, 1.8, 2.5):
        yield f"light x {factor}", np.asarray(ImageEnhance.Brightness(picture).enhance(factor))
    for quality in (10, 30, 60, 90):
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        yield f"JPEG {quality}", np.asarray(Image.open(stream))
    yield "mirrored", np.ascontiguousarray(data.astronaut()[:, ::-1])
    yield "grey", np.asarray(picture.convert("L").convert("RGB"))


def pasted() -> Iterator[tuple[str, Picture]]:
    """Scenes of several pasted faces on noise, photographs and nothing, and scenes of none."""
    random = np.random.default_rng(7)
    face = Image.fromarray(data.astronaut()).crop((130, 20, 320, 220))
    grounds = {
        "black": np.zeros((360, 640, 3), np.uint8),
        "grey": np.full((480, 640, 3), 128, np.uint8),
        "noise": random.integers(0, 256, (360, 640, 3), dtype=np.uint8),
        "soft noise": cv2.GaussianBlur(
            random.integers(0, 256, (480, 854, 3), dtype=np.uint8), (0, 0), 6
        ),
        "coffee": cv2.resize(data.coffee(), (640, 427)),
        "cat": data.chelsea(),
    }
    for name, ground in grounds.items():
        yield f"nobody on {name}", ground
        for count in (2, 5):
            scene = Image.fromarray(ground)
            for place in range(count):
                side = int(random.integers(40, 150))
                x = place * ground.shape[1] // count
                y = int(random.integers(0, max(1, ground.shape[0] - side)))
                scene.paste(face.resize((side, side), Image.Resampling.LANCZOS), (x, y))
            yield f"{count} on {name}", np.asarray(scene)


def frames(video: Path, width: int | None) -> Iterator[tuple[str, Picture]]:
    """Every frame of a video, scaled down to a width where one is given."""
    capture = cv2.VideoCapture(str(video))
    number = 0
    while True:
        there, frame = capture.read()
        if not there:
            break
        if width is not None:
            height = round(frame.shape[0] * width / frame.shape[1])
            frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        yield f"frame {number}", np.ascontiguousarray(frame[:, :, ::-1])
        number += 1
    capture.release()
