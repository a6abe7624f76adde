"""Follows the faces of a run in a thread of its own, and passes the events of visits on.

The outcomes of frames only go into a queue here, so that neither decoding images nor a
slow disk delays frames.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Protocol

from facectl.stream.outcomes import FrameOutcome
from facectl.visits.file import CropFolder
from facectl.visits.images import SentImages, grey_of, sharpness
from facectl.visits.models import Reason, SeenFace, SeenFrame, VisitEvent
from facectl.visits.order import FrameOrder
from facectl.visits.tracker import VisitTracker
from lambda_src.contract import Box

_TICK = 0.2
# Ended visits whose group can still become known.
_ENDED = 1000

Sink = Callable[[VisitEvent], None]


@dataclass(frozen=True, slots=True)
class FollowedFace:
    """A face of a sent frame with its visit: `file` is the frame's image file as it was sent.

    name: of the answer, None for `Unknown`. person: the visit's, None where it is unknown.
    seconds: of the source.
    """

    visit: str
    file: bytes
    box: Box
    probability: float
    sharpness: float
    seconds: float
    name: str | None = None
    person: str | None = None


class FaceListener(Protocol):
    """Takes the followed faces and the events of visits, in the recorder's thread."""

    def take(self, face: FollowedFace) -> None:
        """Take a face; returns at once."""

    def see(self, event: VisitEvent) -> None:
        """Take an event; returns at once."""

    def flush(self) -> None:
        """Wait until the faces taken so far are processed."""


class VisitRecorder:
    """A listener for the outcomes of a run: `recorder(outcome)` returns at once.

    `keep` takes the sent images. Each event is stamped with the time and passed to
    every sink in turn, in the recorder's thread. An error there is raised by the next
    call, and by `close`.
    """

    def __init__(
        self,
        tracker: VisitTracker,
        order: FrameOrder,
        sinks: Sequence[Sink],
        *,
        crops: CropFolder | None = None,
        synthetic: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.images = SentImages()
        self._tracker = tracker
        self._order = order
        self._sinks = list(sinks)
        self._crops = crops
        self._faces: FaceListener | None = None
        # What other threads state about visits, until this thread passes it on.
        self._notices: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ended: OrderedDict[str, VisitEvent] = OrderedDict()
        self._synthetic = synthetic
        self._observer: Callable[[list[VisitEvent]], None] | None = None
        self._now = now
        self._lost: list[VisitEvent] = []
        self._failure: Exception | None = None
        self._reason: Reason | None = None
        self._outcomes: queue.SimpleQueue[FrameOutcome | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="facectl-visits", daemon=True)

    def observe(self, observer: Callable[[list[VisitEvent]], None]) -> None:
        """Pass the open visits to the observer after each frame with faces, in the thread."""
        self._observer = observer

    def pass_faces_to(self, listener: FaceListener) -> None:
        """Pass every followed face and then the events to the listener; call it before `start`."""
        self._faces = listener
        self._sinks.append(listener.see)

    def start(self, lost: Iterable[VisitEvent] = ()) -> None:
        """Start the thread; `lost` are the ends of visits of an earlier run, passed on first."""
        self._lost = list(lost)
        self._thread.start()

    def __call__(self, outcome: FrameOutcome) -> None:
        """Take the outcome of a frame."""
        if self._failure is not None:
            raise self._failure
        self._outcomes.put(outcome)

    def group(self, visit: str, stranger: str | None) -> None:
        """State the group of an unknown person's visit; called by any thread."""
        self._notices.put(lambda: self._group(visit, stranger))

    def amend(self, amendments: Sequence[VisitEvent]) -> None:
        """Pass on amendments of visits; called by any thread."""
        self._notices.put(lambda: self._amend(amendments))

    @property
    def dropped(self) -> int:
        """The answers that came after their place in the order was passed over."""
        return self._order.dropped

    def close(self, reason: Reason) -> None:
        """Follow what has arrived, end the open visits, and raise the error if there was one."""
        if self._reason is None:
            self._reason = reason
            self._outcomes.put(None)
            self._thread.join()
            if self._failure is not None:
                raise self._failure

    def _run(self) -> None:
        try:
            self._pass_on(self._lost)
            while self._next():
                for outcome in self._order.ready():
                    self._follow(outcome)
                self._pass_on_notices()
            for outcome in self._order.rest():
                self._follow(outcome)
            if self._faces is not None:
                self._faces.flush()
            self._pass_on_notices()
            if self._reason is not None:
                self._pass_on(self._tracker.close(self._reason))
        except Exception as error:  # noqa: BLE001 - raised in the caller's thread
            self._failure = error

    def _next(self) -> bool:
        """Take the next outcome, if one comes soon; returns whether more can come."""
        try:
            outcome = self._outcomes.get(timeout=_TICK)
        except queue.Empty:
            return True
        if outcome is not None and not self._order.add(outcome):
            self.images.take(outcome.index)
        return outcome is not None

    def _follow(self, outcome: FrameOutcome) -> None:
        file = self.images.take(outcome.index)
        answer = outcome.answer
        # `Error`, or no answer: nothing is known of who was there.
        if answer is None or answer.faces is None:
            return
        grey = grey_of(file) if file is not None and answer.faces else None
        faces = tuple(
            SeenFace.of(face, None if grey is None else sharpness(grey, face.box))
            for face in answer.faces
        )
        frame = SeenFrame(outcome.index, outcome.name, outcome.timestamp, faces, file)
        events = self._tracker.see(frame)
        if self._faces is not None and file is not None:
            for face, visit in zip(faces, self._tracker.followed, strict=True):
                self._faces.take(
                    FollowedFace(
                        visit.id, file, face.box, face.probability, face.sharpness or 0.0,
                        frame.timestamp, face.name, visit.decision.person,
                    )
                )  # fmt: skip
        self._pass_on(events)
        if self._observer is not None and faces:
            self._observer(self._tracker.current())

    def _pass_on_notices(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._notices.get_nowait()()

    def _group(self, visit: str, stranger: str | None) -> None:
        events = self._tracker.group(visit, stranger)
        ended = self._ended.get(visit)
        if events is None and ended is not None and ended.person is None:
            # The group was found after the end.
            events = [replace(ended, event="amend", stranger=stranger, amendment=str(stranger))]
        self._pass_on(events or ())

    def _amend(self, amendments: Sequence[VisitEvent]) -> None:
        for event in amendments:
            self._tracker.state(event.visit, event.person)
        self._pass_on(amendments)

    def _pass_on(self, events: Iterable[VisitEvent]) -> None:
        for event in events:
            now = datetime.fromtimestamp(self._now(), timezone.utc)
            stamped = replace(
                event,
                time=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                synthetic=self._synthetic or event.synthetic,
            )
            if self._crops is not None:
                stamped = self._crops.saved(stamped)
            if event.event in {"end", "amend"} and event.reason != "merged":
                best = replace(stamped.best, crop=None)
                self._ended[event.visit] = replace(stamped, track=(), best=best)
                if len(self._ended) > _ENDED:
                    self._ended.popitem(last=False)
            for sink in self._sinks:
                sink(stamped)
