"""Detects the faces of frames on this computer, in place of the Function URL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from facectl.edge.outbox import Outbox
from facectl.stream.delivery import FrameRefused
from facectl.stream.outcomes import AcceptedPost
from lambda_src.contract import FrameRequest, RequestError
from lambda_src.settings import FunctionSettings
from lambda_src.stages.detect import FaceFinder
from lambda_src.timing import Stopwatch
from lambda_src.vision.detector import Detector
from lambda_src.vision.store import Model

# In `timings_ms` and in the log of face-recognition: milliseconds that a frame waited for the
# detector of this computer. `facectl trace` knows by it where a frame was detected.
EDGE_WAIT = "edge_wait"


class EdgeEndpoint:
    """Answers a frame without a face at once, and gives the crops of the others to the outbox.

    One frame is detected at a time, with `threads` threads: the detector reuses its memory.
    """

    def __init__(self, finder: FaceFinder, outbox: Outbox) -> None:
        self.frames = 0
        self.with_faces = 0
        self.image_bytes = 0
        self._finder = finder
        self._outbox = outbox
        self._one = threading.Lock()

    @classmethod
    def of(
        cls, model: Model, outbox: Outbox, *, threads: int, min_face_size: int | None = None
    ) -> EdgeEndpoint:
        """The endpoint with a model's detector and the functions' settings.

        `min_face_size` is the deployment's, None for the default.
        """
        settings = FunctionSettings(threads=threads)
        if min_face_size is not None:
            settings = replace(settings, min_face_size=min_face_size)
        detector = Detector(
            model,
            threads=threads,
            min_face_size=settings.min_face_size,
            thresholds=settings.thresholds,
            pyramid_factor=settings.pyramid_factor,
        )
        return cls(FaceFinder(model, detector, settings), outbox)

    def post(
        self, request: FrameRequest, *, sleep: Callable[[float], object] = time.sleep
    ) -> AcceptedPost:
        """Detect the faces of one frame; raises FrameRefused for an invalid image."""
        began = time.perf_counter()
        del sleep  # nothing is retried here
        try:
            with self._one:
                waited = (time.perf_counter() - began) * 1e3
                found = self._finder.find(request, Stopwatch({EDGE_WAIT: waited}))
                self.frames += 1
                self.with_faces += found.faces > 0
                self.image_bytes += len(request.image)
        except RequestError as error:
            raise FrameRefused(f"{error.status}: {error.message}") from error
        seconds = time.perf_counter() - began
        if found.result is not None:
            return AcceptedPost(0, 1, seconds, answer=found.result)
        self._outbox.add(request.request_id, found.faces, found.body)
        return AcceptedPost(found.faces, 1, seconds, queued=True)
