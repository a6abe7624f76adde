"""Writes a video of the sent frames with the bounding boxes and names of their responses."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from facectl.errors import FacectlError, InputError
from facectl.stream.frames import Encoding, Pixels
from facectl.stream.outcomes import Status
from facectl.stream.run_file import RunFile
from facectl.stream.sources import Source
from lambda_src.contract import NO_FACE, UNKNOWN, FrameResult

SYNTHETIC = "synthetic weights: these names mean nothing"
SUFFIXES = (".mp4", ".mov", ".mkv", ".avi")

# BGR.
_KNOWN = (80, 200, 80)
_UNKNOWN = (60, 170, 250)
_NOTE = (90, 90, 90)
_WARNING = (40, 40, 210)

Colour = tuple[int, int, int]


class Clip:
    """Writes a video under a temporary name and renames the file when it is complete.

    The first frame sets its size; frames of another size are scaled to fit, with black
    borders. The codec is MPEG-4 part 2, which every build of OpenCV can write; VP9 took
    90 times as long for a 1080p frame.
    """

    def __init__(self, path: Path, rate: float) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{path} is not a video file name", hint=f"names end in {', '.join(SUFFIXES)}"
            )
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise InputError(f"{path.parent} is not a writable folder")
        self.frames = 0
        self._path = path
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        self._rate = rate
        self._size = (0, 0)
        self._writer: cv2.VideoWriter | None = None

    def write(self, pixels: Pixels) -> None:
        """Append a frame (H, W, 3), uint8, BGR."""
        if self._writer is None:
            height, width = pixels.shape[:2]
            # The codec halves the resolution of colours, so it needs even sides.
            self._size = (width + width % 2, height + height % 2)
            self._writer = cv2.VideoWriter(
                str(self._part),
                cv2.CAP_FFMPEG,
                cv2.VideoWriter.fourcc(*"mp4v"),
                round(self._rate, 3),
                self._size,
            )
            if not self._writer.isOpened():
                self._part.unlink(missing_ok=True)
                raise FacectlError(
                    f"OpenCV can't write a video of {width}x{height} to {self._path}"
                )
        self._writer.write(_fitted(pixels, self._size))
        self.frames += 1

    def finish(self) -> None:
        """Complete and rename the file; without a frame no file is written."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._part.replace(self._path)

    def discard(self) -> None:
        """Delete the incomplete file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        self._part.unlink(missing_ok=True)


def draw_all(
    clip: Clip,
    source: Source,
    encoding: Encoding,
    run_file: RunFile,
    *,
    synthetic: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write every sent frame with its response into the clip, in order.

    A file is read a second time; the images of a camera are in the run file.
    """
    left = run_file.accepted_count()
    # The run file has the images of a camera as they were sent.
    as_sent = Encoding() if source.live else encoding
    try:
        for frame in run_file.images() if source.live else source:
            if not left:
                break
            found = run_file.outcome(frame.index)
            if found is None or found[0] in {"unsent", "refused", "failed"}:
                continue
            status, answer = found
            pixels = as_sent.pixels_of(frame)
            clip.write(annotated(pixels, status, answer, synthetic=synthetic))
            left -= 1
            progress(clip.frames)
        clip.finish()
    except BaseException:
        clip.discard()
        raise


def annotated(
    pixels: Pixels, status: Status, answer: FrameResult | None, *, synthetic: bool
) -> Pixels:
    """Return a copy of the frame with boxes and names, or the result as text without a box."""
    canvas: Pixels = pixels.copy()
    height = max(14, round(max(canvas.shape[:2]) / 60))
    faces = answer.faces if answer is not None and answer.faces is not None else ()
    for face in faces:
        colour = _UNKNOWN if face.name == UNKNOWN else _KNOWN
        x0, y0, x1, y1 = (round(edge) for edge in face.box)
        cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, max(2, height // 8))
        label = _label(face.name, height, colour)
        _paste(canvas, label, x0, y0 - label.shape[0])
    if not faces:
        words = status if answer is None else answer.result
        note = "no face" if words == NO_FACE else words
        _paste(canvas, _label(note, height, _NOTE), 0, canvas.shape[0] - 2 * height)
    if synthetic:
        _paste(canvas, _label(SYNTHETIC, height, _WARNING), 0, 0)
    return canvas


@lru_cache(maxsize=256)
def _label(text: str, height: int, colour: Colour) -> Pixels:
    """White text on a bar; `height` is that of the characters in pixels."""
    font = _font()
    shown = "".join(c if c.isprintable() else "?" for c in text)[:120]
    _, _, width, _ = cv2.getTextSize((0, 0), shown, (0, 0), font, height)
    bar = np.full((height + height // 2, width + height, 3), colour, np.uint8)
    cv2.putText(bar, shown, (height // 2, height), (255, 255, 255), font, height)
    return bar


@lru_cache(maxsize=1)
def _font() -> cv2.FontFace:
    # A font with the characters of most scripts, built into OpenCV 5.
    return cv2.FontFace("uni")


def _paste(canvas: Pixels, patch: Pixels, x: int, y: int) -> None:
    """Copy the patch onto the canvas, moved so that it is inside, cropped if it is larger."""
    height, width = canvas.shape[:2]
    patch = patch[:height, :width]
    x = min(max(0, x), width - patch.shape[1])
    y = min(max(0, y), height - patch.shape[0])
    canvas[y : y + patch.shape[0], x : x + patch.shape[1]] = patch


def _fitted(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    width, height = size
    if pixels.shape[:2] == (height, width):
        return pixels
    factor = min(width / pixels.shape[1], height / pixels.shape[0], 1.0)
    if factor < 1:
        scaled = max(1, int(pixels.shape[1] * factor)), max(1, int(pixels.shape[0] * factor))
        pixels = np.asarray(cv2.resize(pixels, scaled, interpolation=cv2.INTER_AREA), np.uint8)
    below, right = height - pixels.shape[0], width - pixels.shape[1]
    # An odd side repeats its last row or column; a larger border is black.
    border = cv2.BORDER_REPLICATE if max(below, right) == 1 else cv2.BORDER_CONSTANT
    return np.asarray(cv2.copyMakeBorder(pixels, 0, below, 0, right, border), np.uint8)
