"""What the runs of several cameras in one process share: request slots and a reader of answers.

`SharedTransport` gives each camera a `Transport` for its own `Session`. A camera that ends or
fails leaves the others as they are.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from facectl.stream.delivery import FrameUndelivered
from facectl.stream.in_flight import InFlightTracker
from facectl.stream.outcomes import AcceptedPost
from facectl.stream.responses import AnswerNotTaken, AnswerReader, Collector
from facectl.stream.sender import Endpoint
from facectl.stream.transport import Transport
from lambda_src.contract import FrameRequest, FrameResult

_TICK = 0.1


class FairSlots:
    """Limits the requests in flight of all cameras; cameras that wait take turns.

    Each turn is one request, so a camera with many waiting frames gets as many turns
    as one with few.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._lock = threading.Lock()
        # The camera whose turn is next comes first.
        self._waiting: OrderedDict[str, deque[threading.Event]] = OrderedDict()

    def ask(self, camera: str) -> threading.Event:
        """Ask for a slot; the event is set when the camera has it, until `release`."""
        granted = threading.Event()
        with self._lock:
            self._waiting.setdefault(camera, deque()).append(granted)
            self._grant()
        return granted

    def release(self) -> None:
        """Give a slot back; the next camera gets it."""
        with self._lock:
            self._free += 1
            self._grant()

    def withdraw(self, camera: str, granted: threading.Event) -> bool:
        """Take back a request that waits; false if it was granted meanwhile."""
        with self._lock:
            if granted.is_set():
                return False
            requests = self._waiting[camera]
            requests.remove(granted)
            if not requests:
                del self._waiting[camera]
            return True

    @contextmanager
    def slot(self, camera: str, *, sleep: Callable[[float], object]) -> Iterator[None]:
        """Wait for the camera's turn and hold a slot while the block runs.

        A `sleep` that returns true ends the wait with FrameUndelivered.
        """
        granted = self.ask(camera)
        while not granted.wait(_TICK):
            if sleep(0) and self.withdraw(camera, granted):
                raise FrameUndelivered("stopped before its turn to be sent")
        try:
            yield
        finally:
            self.release()

    def _grant(self) -> None:
        while self._free and self._waiting:
            camera, requests = self._waiting.popitem(last=False)
            requests.popleft().set()
            self._free -= 1
            if requests:
                # Behind the other cameras.
                self._waiting[camera] = requests


class _CameraEndpoint:
    """The endpoint as one camera uses it: each frame waits for the camera's turn."""

    def __init__(self, endpoint: Endpoint, slots: FairSlots, camera: str) -> None:
        self._endpoint = endpoint
        self._slots = slots
        self._camera = camera

    def post(
        self, request: FrameRequest, *, sleep: Callable[[float], object] = time.sleep
    ) -> AcceptedPost:
        with self._slots.slot(self._camera, sleep=sleep):
            return self._endpoint.post(request, sleep=sleep)


class SharedMailbox:
    """The trackers of several runs behind one collector: each gets the answers to its frames.

    An error of one tracker is kept for its reader and takes that tracker out alone; the
    message stays in the queue.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: dict[str, CameraReader] = {}

    def add(self, reader: CameraReader) -> None:
        """Pass answers to this reader's tracker from now on."""
        with self._lock:
            self._readers[reader.tracker.run] = reader

    def remove(self, reader: CameraReader) -> None:
        """Pass this reader's tracker no more answers."""
        with self._lock:
            self._readers.pop(reader.tracker.run, None)

    def expecting(self, timeout: float) -> bool:
        """Whether one of them expects an answer; waits up to `timeout` seconds where none does."""
        with self._lock:
            readers = list(self._readers.values())
        if any(self._expects(reader) for reader in readers):
            return True
        time.sleep(timeout)
        return False

    def owns(self, request_id: str) -> bool:
        """Whether the answer belongs to one of them."""
        reader = self._owner(request_id)
        return reader is not None and reader.tracker.owns(request_id)

    def answered(self, answer: FrameResult, at: float) -> None:
        """Pass an answer to the tracker of its frame."""
        reader = self._owner(answer.request_id)
        if reader is None:
            raise AnswerNotTaken
        try:
            reader.tracker.answered(answer, at)
        except Exception as error:
            self._fail(reader, error)
            raise AnswerNotTaken from error

    def _expects(self, reader: CameraReader) -> bool:
        try:
            return reader.tracker.expecting(0)
        except Exception as error:  # noqa: BLE001 - raised by its run
            self._fail(reader, error)
            return False

    def _owner(self, request_id: str) -> CameraReader | None:
        with self._lock:
            return self._readers.get(request_id.rpartition("-")[0])

    def _fail(self, reader: CameraReader, error: Exception) -> None:
        reader.failed = error
        self.remove(reader)


class CameraReader:
    """An `AnswerReader` of one run; the collector is shared."""

    def __init__(
        self, tracker: InFlightTracker, mailbox: SharedMailbox, collector: Collector
    ) -> None:
        self.tracker = tracker
        self.failed: Exception | None = None
        self._mailbox = mailbox
        self._collector = collector

    @property
    def failure(self) -> Exception | None:
        """The error of this run's tracker, or of the collector."""
        return self.failed if self.failed is not None else self._collector.failure

    @property
    def unclaimed(self) -> bool:
        """Whether the queue has answers that no client seems to expect."""
        return self._collector.unclaimed

    def start(self) -> None:
        """Begin to pass answers to the tracker."""
        self._mailbox.add(self)

    def stop(self) -> None:
        """Pass no more answers on."""
        self._mailbox.remove(self)


class SharedTransport:
    """Gives each camera of a process its transport; a context manager that closes them all.

    `concurrency` requests are in flight at most, whichever cameras they are of.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        concurrency: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._transport = transport
        self._slots = FairSlots(concurrency)
        self._mailbox = SharedMailbox()
        self._collector = Collector(transport.queue, self._mailbox, clock=clock)

    def __enter__(self) -> SharedTransport:
        self._collector.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._collector.stop()
        self._transport.close()

    def camera(self, name: str) -> Transport:
        """The transport of one camera's sessions, one session at a time or several."""
        endpoint = _CameraEndpoint(self._transport.endpoint, self._slots, name)
        return Transport(
            endpoint,
            self._transport.queue,
            readers=self._reader,
            outbox=self._transport.outbox,
        )

    def _reader(self, tracker: InFlightTracker) -> AnswerReader:
        return CameraReader(tracker, self._mailbox, self._collector)


def sender_threads(concurrency: int, cameras: int) -> int:
    """The sending threads of each camera: twice the shared slots in all, at least two each.

    A camera whose neighbours have ended can then use more than its share.
    """
    return min(concurrency, max(2, -(-2 * concurrency // cameras)))
