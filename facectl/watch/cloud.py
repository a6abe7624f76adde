"""Waits while the cloud does not answer, instead of ending the run, and says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from facectl.errors import FacectlError
from facectl.retry import Delay, exponential
from facectl.stream.delivery import FrameRefused, FrameUndelivered
from facectl.stream.outcomes import AcceptedPost
from facectl.stream.responses import MessageQueue, Received
from facectl.stream.sender import Endpoint
from lambda_src.contract import FrameRequest

_DELAY = exponential(0.5, 5.0)


class CloudState:
    """Whether the cloud answers; `report` gets a sentence when that changes, None for "it does".

    Several callers report failures, each under its own name: the cloud is back when the
    last of them succeeded again.
    """

    def __init__(self, report: Callable[[str | None], None], *, delay: Delay = _DELAY) -> None:
        self._report = report
        self._delay = delay
        self._lock = threading.Lock()
        self._failing: dict[str, int] = {}

    def failed(self, caller: str, error: FacectlError) -> float:
        """Record a failure; returns the seconds to wait before the next attempt."""
        with self._lock:
            first = not self._failing
            self._failing[caller] = failures = self._failing.get(caller, 0) + 1
            if first:
                self._report(str(error))
        return self._delay(failures)

    def succeeded(self, caller: str) -> None:
        """Record a success."""
        with self._lock:
            if self._failing.pop(caller, None) is not None and not self._failing:
                self._report(None)


class WaitingEndpoint:
    """An endpoint that sends a frame again until the cloud answers, or the run is stopped."""

    def __init__(self, endpoint: Endpoint, cloud: CloudState) -> None:
        self._endpoint = endpoint
        self._cloud = cloud

    def post(
        self, request: FrameRequest, *, sleep: Callable[[float], object] = time.sleep
    ) -> AcceptedPost:
        """Send one frame; raises FrameRefused, and FrameUndelivered once the run is stopped."""
        while (delivery := self._attempt(request, sleep)) is None:
            pass
        return delivery

    def _attempt(
        self, request: FrameRequest, sleep: Callable[[float], object]
    ) -> AcceptedPost | None:
        """Send it once; None after the wait that follows a failure."""
        try:
            delivery = self._endpoint.post(request, sleep=sleep)
        except FrameRefused:
            self._cloud.succeeded("post")
            raise
        except FacectlError as error:
            if sleep(self._cloud.failed("post", error)):
                raise FrameUndelivered(f"stopped while waiting after: {error}") from error
            return None
        self._cloud.succeeded("post")
        return delivery


class WaitingQueue:
    """A response queue that has no messages while the cloud does not answer."""

    def __init__(
        self,
        queue: MessageQueue,
        cloud: CloudState,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._queue = queue
        self._cloud = cloud
        self._sleep = sleep

    def receive(self, *, wait: int = 20) -> list[Received]:
        """Up to ten messages; none after a failure."""
        try:
            messages = self._queue.receive(wait=wait)
        except FacectlError as error:
            self._sleep(self._cloud.failed("receive", error))
            return []
        self._cloud.succeeded("receive")
        return messages

    def delete(self, messages: Sequence[Received]) -> None:
        """Delete the messages; one that is not deleted becomes a duplicate."""
        try:
            self._queue.delete(messages)
        except FacectlError as error:
            self._cloud.failed("receive", error)

    def release(self, messages: Sequence[Received]) -> float:
        """Make the messages visible again; after a failure their visibility timeout does."""
        try:
            return self._queue.release(messages)
        except FacectlError as error:
            return self._cloud.failed("receive", error)
