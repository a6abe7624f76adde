"""Cameras and network streams: a slow client skips frames and always gets the newest one."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2

from facectl.errors import InputError
from facectl.retry import exponential
from facectl.stream.frames import Frame
from facectl.stream.sampling import FrameSampler, Sampling

_TICK = 0.2
# Seconds without an answer or a frame after which FFmpeg reports a stream as lost; without it,
# a camera whose cable is pulled would be waited for for half a minute.
_SILENCE = 10.0
# Seconds between two attempts to open a camera that is gone.
_REOPEN = exponential(0.5, 10.0)


@dataclass(frozen=True, slots=True)
class Reconnection:
    """How long a camera may be gone, in seconds, and what gets a sentence when it is.

    Where that is infinite, it may be gone from the start.
    """

    seconds: float = 60.0
    report: Callable[[str], object] = lambda _: None

    @property
    def endless(self) -> bool:
        """Whether a camera that is gone never ends."""
        return self.seconds == math.inf

    def __str__(self) -> str:
        return "until it is back" if self.endless else f"for {self.seconds:g} s"


def open_capture(target: str | int, backend: int, parameters: Sequence[int] = ()) -> Any:
    """An OpenCV capture, opened or not; OpenCV and FFmpeg print nothing on the terminal."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # Frames are scaled and encoded side by side already.
    cv2.setNumThreads(1)
    return cv2.VideoCapture(target, backend, [*parameters])


class LiveSource:
    """A camera by its index, or a stream by its URL; timestamps are seconds since it was opened.

    A reader thread keeps only the newest frame: a slow cloud loses frames and adds no
    delay. A camera that is gone is opened again; positions and timestamps continue.
    `problems` names a stream that has ended.
    """

    live = True
    expected: int | None

    def __init__(
        self,
        target: str | int,
        sampling: Sampling,
        *,
        reconnection: Reconnection | None = None,
        capture: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.name = f"camera {target}" if isinstance(target, int) else without_password(target)
        self.problems: list[str] = []
        self.expected = sampling.limit
        self._sampling = sampling
        self._clock = clock
        self._closed = threading.Event()
        self._wait = wait or self._closed.wait
        self._open = capture or partial(_opened, target)
        self._capture = self._open()
        reconnection = reconnection or Reconnection()
        if not self._capture.isOpened() and not reconnection.endless:
            raise InputError(
                f"{self.name} can't be opened",
                hint="check that it is connected, not in use, and that its address is right",
            )
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = sampling.rate(rate if 0 < rate < 1000 else 25.0)
        # A file behind a URL has a length, and ends.
        endless = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)) <= 0
        self._limit = reconnection.seconds if endless else 0.0
        self._report = reconnection.report
        self._how_long = str(reconnection)
        self._news = threading.Condition()
        self._newest: tuple[int, float, Any] | None = None
        self._ended = False
        self._gone_since: float | None = None
        self._attempts = 0

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
                    # One that can't be opened reads nothing, like one that is gone.
                    if self._reopen():
                        continue
                    break
                self._note_return()
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

    def _reopen(self) -> bool:
        """Open the camera again after a delay; returns False when it was gone for too long."""
        now = self._clock()
        if self._gone_since is None:
            self._gone_since = now
            if self._limit:
                self._report(f"{self.name} is gone: trying again {self._how_long}")
        if self._closed.is_set() or now - self._gone_since >= self._limit:
            return False
        if self._attempts:
            self._wait(_REOPEN(self._attempts))
        self._attempts += 1
        self._capture.release()
        self._capture = self._open()
        return True

    def _note_return(self) -> None:
        if self._gone_since is not None:
            self._report(f"{self.name} is back after {self._clock() - self._gone_since:.0f} s")
            self._gone_since = None
            self._attempts = 0


def _opened(target: str | int) -> Any:
    if isinstance(target, int):
        return open_capture(target, cv2.CAP_ANY)
    silence = int(_SILENCE * 1000)
    limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, silence, cv2.CAP_PROP_READ_TIMEOUT_MSEC, silence)
    return open_capture(target, cv2.CAP_FFMPEG, limits)


def without_password(url: str) -> str:
    """The URL without user and password, which URLs of cameras contain."""
    scheme, _, rest = url.partition("://")
    host = rest.rpartition("@")[2]
    return f"{scheme}://{host}"
