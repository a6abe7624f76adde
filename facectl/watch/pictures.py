"""The images that were sent, the newest of them, and frames of files to go back to."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import cv2

from facectl.stream.live import open_capture

# Bytes of the images of all sources that are kept for browsers.
_CAPACITY = 64 * 1024 * 1024
# Of a frame that is read again from a file.
_LONGEST_SIDE = 1280
_QUALITY = 85


class Pictures:
    """The image files of sent frames by source and index; the oldest are dropped."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._files: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def keep(self, source: int, index: int, file: bytes) -> None:
        """Keep the image file of a frame."""
        with self._lock:
            self._bytes -= len(self._files.pop((source, index), b""))
            self._files[source, index] = file
            self._bytes += len(file)
            while self._bytes > self._capacity:
                _, dropped = self._files.popitem(last=False)
                self._bytes -= len(dropped)

    def find(self, source: int, index: int) -> bytes | None:
        """The image file of a frame; None if it was dropped."""
        with self._lock:
            return self._files.get((source, index))

    def forget(self, source: int) -> None:
        """Drop the images of a source: its frames are counted from 0 again."""
        with self._lock:
            for key in [key for key in self._files if key[0] == source]:
                self._bytes -= len(self._files.pop(key))


def frame_of_video(path: Path, position: int) -> bytes | None:
    """Frame `position` of a video file as a JPEG file; None if it can't be read."""
    capture = open_capture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            return None
        capture.set(cv2.CAP_PROP_POS_FRAMES, position)
        read, pixels = capture.read()
    finally:
        capture.release()
    if not read:
        return None
    height, width = pixels.shape[:2]
    factor = min(1.0, _LONGEST_SIDE / max(height, width))
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    done, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return file.tobytes() if done else None
