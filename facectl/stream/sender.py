"""Sends frames from a few threads, with a bounded number of frames in memory."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from facectl.errors import CloudError, FacectlError, InputError
from facectl.stream.delivery import FrameRefused, FrameUndelivered
from facectl.stream.frames import Encoding, Frame
from facectl.stream.in_flight import InFlightTracker
from facectl.stream.outcomes import AcceptedPost
from lambda_src.contract import FrameRequest

_TICK = 0.1
# Decoded frames that wait for a thread; one of 1080p has 6 MB.
_AHEAD = 2
# After this many consecutive undelivered frames the run ends.
_HOPELESS = 8


class Endpoint(Protocol):
    """The part of `FunctionUrlClient` that a sender uses."""

    def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
        """Send one frame; raises FrameRefused, FrameUndelivered or CloudError."""


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How each frame is encoded, for which faces, and whether the response has details."""

    encoding: Encoding = field(default_factory=Encoding)
    max_faces: int = 1
    detail: bool = False
    min_face_size: int | None = None


class Sender:
    """Sends frames with `concurrency` threads and reports their outcomes to the tracker.

    `keep` receives each frame's index and the image file that was sent for it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tracker: InFlightTracker,
        request_options: RequestOptions,
        *,
        concurrency: int,
        keep: Callable[[int, bytes], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.stopping = threading.Event()
        self.failure: Exception | None = None
        self._endpoint = endpoint
        self._tracker = tracker
        self._request_options = request_options
        self._keep = keep
        self._clock = clock
        self._jobs: queue.Queue[tuple[Frame, float | None]] = queue.Queue(_AHEAD)
        self._no_more = threading.Event()
        self._lost_in_a_row = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"facectl-send-{n}", daemon=True)
            for n in range(concurrency)
        ]

    def run(
        self,
        frames: Iterable[Frame],
        *,
        schedule: Callable[[Frame], float] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Send every frame; returns when each was accepted, was refused or has failed.

        `schedule` returns the timestamp at which a frame is due relative to the
        first one, in seconds (None: as soon as a thread is free); latency counts from
        then. `check` is called while waiting and may raise to end the run.
        """
        for thread in self._threads:
            thread.start()
        start: float | None = None
        for frame in frames:
            due = None
            if schedule is not None:
                if start is None:
                    start = self._clock() - schedule(frame)
                due = start + schedule(frame)
                self._wait_until(due, check)
            self._enqueue(frame, due, check)
        self._no_more.set()
        while any(thread.is_alive() for thread in self._threads):
            self._raise_failures(check)
            self._join(_TICK)
        # The last thread may have ended with a failure.
        self._raise_failures(check)

    def stop(self, *, grace: float = 3.0) -> None:
        """Start no new request, and wait `grace` seconds for those in progress."""
        self.stopping.set()
        self._no_more.set()
        deadline = time.monotonic() + grace
        while any(t.is_alive() for t in self._threads) and time.monotonic() < deadline:
            self._join(_TICK)

    def _join(self, timeout: float) -> None:
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)
                return

    def _raise_failures(self, check: Callable[[], None]) -> None:
        """Raise the error of a thread, or that of `check`."""
        if self.failure is not None:
            raise self.failure
        check()

    def _wait_until(self, due: float, check: Callable[[], None]) -> None:
        while (left := due - self._clock()) > 0:
            self._raise_failures(check)
            self.stopping.wait(min(left, _TICK))

    def _enqueue(self, frame: Frame, due: float | None, check: Callable[[], None]) -> None:
        while True:
            self._raise_failures(check)
            try:
                self._jobs.put((frame, due), timeout=_TICK)
            except queue.Full:
                continue
            return

    def _work(self) -> None:
        try:
            while not self.stopping.is_set():
                # The frame is freed once it is encoded: its pixels are 15 times the file.
                request = self._next_request()
                if request is not None:
                    self._post(request)
                elif self._no_more.is_set() and self._jobs.empty():
                    return
        except Exception as error:  # noqa: BLE001 - run() raises it in the caller's thread
            self.failure = error
            self.stopping.set()

    def _next_request(self) -> FrameRequest | None:
        """The next frame as a request; None if there is none or it contains no image."""
        try:
            frame, due = self._jobs.get(timeout=_TICK)
        except queue.Empty:
            return None
        request_id = self._tracker.open(frame, due, stop=self.stopping.is_set)
        if request_id is None:
            return None
        try:
            file = self._request_options.encoding.file_of(frame)
        except InputError as error:
            self._tracker.refused(request_id, str(error))
            return None
        if self._keep is not None:
            self._keep(frame.index, file)
        return FrameRequest(
            request_id,
            frame.name,
            file,
            self._request_options.max_faces,
            self._request_options.detail,
            self._request_options.min_face_size,
        )

    def _post(self, request: FrameRequest) -> None:
        try:
            delivery = self._endpoint.post(request, sleep=self.stopping.wait)
        except FrameRefused as error:
            self._tracker.refused(request.request_id, str(error))
            self._lost_in_a_row = 0
        except FrameUndelivered as error:
            self._tracker.undelivered(request.request_id, str(error))
            self._lost_in_a_row += 1
            if self._lost_in_a_row >= _HOPELESS and not self.stopping.is_set():
                raise CloudError(
                    f"{self._lost_in_a_row} consecutive frames could not be delivered: {error}",
                    hint="facectl logs",
                ) from error
        except FacectlError as error:
            self._tracker.undelivered(request.request_id, str(error))
            raise
        else:
            self._lost_in_a_row = 0
            if delivery.queued:
                return
            self._tracker.accepted(request.request_id, delivery)
            if delivery.answer is not None:
                self._tracker.answered(delivery.answer, self._clock())
