"""What the page shows: sources with their newest frames, and visits with their crops."""

from __future__ import annotations

import bisect
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from facectl.stream.outcomes import FrameOutcome
from facectl.stream.sources import Source, Video
from facectl.visits.models import VisitEvent
from facectl.watch.history import PastVisit
from facectl.watch.hub import Hub
from facectl.watch.pictures import Pictures, frame_of_video
from lambda_src.contract import ERROR, UNKNOWN

# opening   not yet connected, or trying again after the camera was away
# running   frames are sent
# away      the camera or stream has ended; it is opened again
# ended     the file was sent and answered
# stopped   the run was stopped, or failed
Status = Literal["opening", "running", "away", "ended", "stopped"]

# Frames that can be gone back to: of a file, and of a camera as long as its pictures are kept.
_MOST_FRAMES = 50_000
_MOST_LIVE_FRAMES = 1_000
# Visits that the page shows, the newest of them, each with a crop.
MOST_VISITS = 500


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """An answered frame: `at` in seconds of the source, `size` of the sent image in pixels."""

    index: int
    name: str
    at: float
    faces: list[dict[str, Any]]
    size: tuple[int, int] | None
    error: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The frame for the browser."""
        return {
            "index": self.index,
            "at": round(self.at, 3),
            "faces": self.faces,
            "size": self.size,
            "error": self.error,
        }


@dataclass(slots=True)
class ShownSource:
    """One source of the page; `epoch` is the time at which a camera's seconds begin."""

    number: int
    name: str
    live: bool
    loops: bool = False
    status: Status = "opening"
    sentence: str = ""
    duration: float | None = None
    video: Path | None = None
    epoch: float = 0.0
    # The number of this run: seconds of an earlier one are those of another time.
    run: int = 0
    frames: list[ShownFrame] = field(default_factory=list)
    sizes: OrderedDict[int, tuple[int, int]] = field(default_factory=OrderedDict)

    def as_dict(self) -> dict[str, Any]:
        """The source for the browser."""
        return {
            "number": self.number,
            "name": self.name,
            "live": self.live,
            "status": self.status,
            "sentence": self.sentence,
            "run": self.run,
            "duration": self.duration,
        }

    @property
    def has_clock(self) -> bool:
        """Whether visits have a time of the day: a camera's, and those of a file in a loop."""
        return self.live or self.loops


class WatchState:
    """The state of the page; its methods are called by the runs' and the server's threads."""

    def __init__(self, hub: Hub, *, now: Callable[[], float] = time.time) -> None:
        self.hub = hub
        self.pictures = Pictures()
        self.sources: list[ShownSource] = []
        self._now = now
        self._lock = threading.RLock()
        self._visits: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._crops: dict[str, bytes] = {}
        # The person of a visit that the user stated.
        self._stated: dict[str, str | None] = {}

    def add(self, name: str, *, live: bool, loops: bool) -> ShownSource:
        """Add a source."""
        source = ShownSource(len(self.sources), name, live, loops)
        self.sources.append(source)
        self._publish(source)
        return source

    def begin(self, source: ShownSource, opened: Source) -> None:
        """A run of the source begins, with frame 0."""
        with self._lock:
            source.epoch = self._now()
            source.run += 1
            source.frames.clear()
            source.sizes.clear()
            source.video = Path(opened.name) if isinstance(opened, Video) else None
            if opened.expected is not None and not source.live:
                source.duration = opened.expected / opened.rate
            self.pictures.forget(source.number)
        self.set_status(source, "running")

    def set_status(self, source: ShownSource, status: Status, sentence: str = "") -> None:
        """Change the status of a source, with a sentence that says why."""
        source.status, source.sentence = status, sentence
        self._publish(source)

    def sent(self, source: ShownSource, index: int, file: bytes) -> None:
        """A frame is about to be sent."""
        self.pictures.keep(source.number, index, file)
        size = _size_of(file)
        if size is not None:
            with self._lock:
                source.sizes[index] = size
                while len(source.sizes) > _MOST_LIVE_FRAMES:
                    source.sizes.popitem(last=False)

    def answered(self, source: ShownSource, outcome: FrameOutcome) -> None:
        """An outcome of a frame; only answers are shown."""
        answer = outcome.answer
        if answer is None:
            return
        faces = [
            {
                "box": [round(edge, 1) for edge in face.box],
                "name": None if face.name == UNKNOWN else face.name,
            }
            for face in answer.faces or ()
        ]
        with self._lock:
            size = source.sizes.pop(outcome.index, None)
            shown = ShownFrame(
                outcome.index, outcome.name, outcome.timestamp, faces, size,
                error=answer.result == ERROR,
            )  # fmt: skip
            newest = not source.frames or source.frames[-1].index < shown.index
            bisect.insort(source.frames, shown, key=lambda frame: frame.index)
            most = _MOST_LIVE_FRAMES if source.live else _MOST_FRAMES
            del source.frames[: max(0, len(source.frames) - most)]
        if newest:
            self.hub.put(f"frame/{source.number}", shown.as_dict())

    def frame_at(self, number: int, seconds: float) -> dict[str, Any] | None:
        """The last answered frame at or before a second of the source; None without one."""
        with self._lock:
            frames = self.sources[number].frames
            place = bisect.bisect_right(frames, seconds, key=lambda frame: frame.at)
            return frames[max(0, place - 1)].as_dict() if frames else None

    def picture(self, number: int, index: int) -> bytes | None:
        """The image file of an answered or sent frame; a video is read again where needed."""
        file = self.pictures.find(number, index)
        source = self.sources[number]
        if file is not None or source.video is None:
            return file
        with self._lock:
            place = bisect.bisect_left(source.frames, index, key=lambda frame: frame.index)
            found = source.frames[place : place + 1]
        if not found or found[0].index != index:
            return None
        # `clip-000123.jpg`, as the source names it.
        return frame_of_video(source.video, int(found[0].name[-10:-4]))

    def visit(self, source: ShownSource, event: VisitEvent) -> None:
        """An event of a visit."""
        with self._lock:
            if event.reason == "merged":
                self._drop(event.visit)
                return
            known = self._visits.get(event.visit)
            if event.event == "amend":
                self._amend(known, event)
                return
            if event.reason == "lost":
                # The end of an earlier run's visit, which is shown as ended if it is of this day.
                return
            crop = 0 if known is None else known["crop"]
            if event.best.crop is not None and self._crops.get(event.visit) != event.best.crop:
                self._crops[event.visit] = event.best.crop
                crop += 1
            person = self._stated.get(event.visit, event.person)
            shown: dict[str, Any] = {
                "id": event.visit,
                "source": source.number,
                "run": source.run,
                "person": person,
                "stated": event.visit in self._stated,
                "score": round(event.score, 2),
                "first": round(event.first, 2),
                "last": round(event.last, 2),
                "frames": event.frames,
                "open": event.event != "end",
                "stranger": event.stranger,
                "crop": crop,
                "began": source.epoch + event.first if source.has_clock else None,
                "seen": source.epoch + event.last if source.has_clock else None,
            }
            if shown != known:
                self._show(shown)

    def restore(self, source: ShownSource, past: PastVisit, crop: bytes | None) -> None:
        """Show an ended visit of an earlier run, with its picture."""
        event = past.event
        with self._lock:
            if crop is not None:
                self._crops[event.visit] = crop
            self._show(
                {
                    "id": event.visit,
                    "source": source.number,
                    # Of no run whose pictures are here.
                    "run": 0,
                    "person": event.person,
                    "stated": False,
                    "score": round(event.score, 2),
                    "first": round(event.first, 2),
                    "last": round(event.last, 2),
                    "frames": event.frames,
                    "open": False,
                    "stranger": event.stranger,
                    "crop": int(crop is not None),
                    "began": past.epoch + event.first,
                    "seen": past.seen,
                }
            )

    def current(self, source: ShownSource, events: list[VisitEvent]) -> None:
        """The open visits of a source after a frame."""
        for event in events:
            self.visit(source, event)

    def state_person(self, visit: str, person: str | None, *, stated: bool = True) -> str | None:
        """Show a visit as that of `person`, whatever the frames say; returns who it was before.

        `stated` false: as the frames say again from now on.
        """
        with self._lock:
            known = self._visits.get(visit)
            if known is None:
                return None
            if stated:
                self._stated[visit] = person
            else:
                self._stated.pop(visit, None)
            self._visits[visit] = {**known, "person": person, "stated": stated}
            self.hub.put(f"visit/{visit}", self._visits[visit])
            before: str | None = known["person"]
            return before

    def names(self) -> set[str]:
        """The people of the visits that are shown."""
        with self._lock:
            return {v["person"] for v in self._visits.values() if v["person"] is not None}

    def crop(self, visit: str) -> bytes | None:
        """The best crop of a visit, a JPEG file."""
        with self._lock:
            return self._crops.get(visit)

    def _amend(self, known: dict[str, Any] | None, event: VisitEvent) -> None:
        """Change whose visit it was; its times stay those of its own run."""
        self._stated.pop(event.visit, None)
        if known is not None:
            person = {"person": event.person, "stranger": event.stranger, "stated": False}
            self._show({**known, **person})

    def _show(self, shown: dict[str, Any]) -> None:
        """Show a visit; of too many, the oldest is dropped."""
        self._visits[shown["id"]] = shown
        while len(self._visits) > MOST_VISITS:
            self._drop(next(iter(self._visits)))
        self.hub.put(f"visit/{shown['id']}", shown)

    def _drop(self, visit: str) -> None:
        self._crops.pop(visit, None)
        self._stated.pop(visit, None)
        if self._visits.pop(visit, None) is not None:
            self.hub.put(f"visit/{visit}", None)

    def _publish(self, source: ShownSource) -> None:
        self.hub.put(f"source/{source.number}", source.as_dict())


def _size_of(file: bytes) -> tuple[int, int] | None:
    """Width and height of an image file from its header; None for one that can't be read."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            width, height = image.size
    except OSError:
        return None
    return width, height
