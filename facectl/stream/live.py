"""Cameras and network streams: a slow client skips frames and always gets the newest one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2

from facectl.errors import InputError
from facectl.stream.frames import Frame
from facectl.stream.sampling import FrameSampler, Sampling

_TICK = 0.2


def open_capture(target: str | int, backend: int) -> Any:
    """An OpenCV capture, opened or not; OpenCV and FFmpeg print nothing on the terminal."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2.VideoCapture(target, backend)


class LiveSource:
    """A camera by its index, or a stream by its URL; timestamps are seconds since it was opened.

    A reader thread keeps only the newest frame: a slow cloud loses frames and adds no
    delay. `problems` names a stream that has ended.
    """

    live = True
    expected: int | None

    def __init__(
        self,
        target: str | int,
        sampling: Sampling,
        *,
        capture: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = f"camera {target}" if isinstance(target, int) else _without_password(target)
        self.problems: list[str] = []
        self.expected = sampling.limit
        self._sampling = sampling
        self._clock = clock
        backend = cv2.CAP_ANY if isinstance(target, int) else cv2.CAP_FFMPEG
        self._capture = (capture or (lambda: open_capture(target, backend)))()
        if not self._capture.isOpened():
            raise InputError(
                f"{self.name} can't be opened",
                hint="check that it is connected, not in use, and that its address is right",
            )
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = sampling.rate(rate if 0 < rate < 1000 else 25.0)
        self._news = threading.Condition()
        self._newest: tuple[int, float, Any] | None = None
        self._ended = False
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        threading.Thread(target=self._read, name="facectl-live", daemon=True).start()
        sampler = FrameSampler(self._sampling)
        try:
            while not sampler.full():
                newest = self._next()
                if newest is None:
                    if self._closed.is_set():
                        return
                    self.problems = [f"{self.name} ended after {sampler.taken} frames"]
                    return
                position, timestamp, pixels = newest
                if sampler.takes(position, timestamp):
                    index = sampler.taken - 1
                    yield Frame(index, f"live-{position:06d}.jpg", timestamp, pixels=pixels)
        finally:
            self._closed.set()

    def close(self) -> None:
        """End the iteration; another thread may call it."""
        self._closed.set()
        with self._news:
            self._news.notify_all()

    def _next(self) -> tuple[int, float, Any] | None:
        with self._news:
            # With a timeout, because an endless wait can't be interrupted on every platform.
            while self._newest is None and not (self._ended or self._closed.is_set()):
                self._news.wait(_TICK)
            newest, self._newest = self._newest, None
            return newest

    def _read(self) -> None:
        position = 0
        start = self._clock()
        try:
            while not self._closed.is_set():
                read, pixels = self._capture.read()
                if not read:
                    break
                with self._news:
                    self._newest = (position, self._clock() - start, pixels)
                    self._news.notify()
                position += 1
        finally:
            self._capture.release()
            # Also after an exception: `_next` must not wait for another frame.
            with self._news:
                self._ended = True
                self._news.notify()


def _without_password(url: str) -> str:
    """The URL without user and password, which URLs of cameras contain."""
    scheme, _, rest = url.partition("://")
    host = rest.rpartition("@")[2]
    return f"{scheme}://{host}"
