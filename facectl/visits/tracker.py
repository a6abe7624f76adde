"""The open visits of a run, and the events of their start, change and end.

A visit begins when a face was seen in enough frames and its identity is settled, so a
false detection in one frame is no visit. It ends when the person was not seen for longer
than the gap. Its id is made of the run and its first frame: a resumed run gives a
visit the same id.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from facectl.visits.following import assigned
from facectl.visits.identity import Decision, Votes
from facectl.visits.images import crop_file
from facectl.visits.models import BestFace, Kind, Reason, SeenFace, SeenFrame, VisitEvent
from lambda_src.contract import Box

# A visit whose leading name has too few frames is announced as unknown after this many times the
# minimum, and this many seconds.
_UNSETTLED = 3
_UNSETTLED_SECONDS = 1.0
# A crop replaces the best one only if it is better by this factor: each is encoded.
_BETTER = 1.1
# Points of a track: every second one is dropped when there are twice as many.
_POINTS = 32
# The share of the newest step in the velocity, and the longest expected way in box sides.
_SMOOTHING = 0.5
_LONGEST_WAY = 1.0


@dataclass(frozen=True, slots=True)
class VisitOptions:
    """When a visit ends and begins.

    `gap`: seconds without the person. `frames`: in how many frames a face must be
    seen, and how many must agree on a name. `crops`: whether the best crop is cut out.
    """

    gap: float = 10.0
    frames: int = 3
    crops: bool = False


@dataclass(slots=True)
class Track:
    """The boxes of a visit with their times, thinned to at most twice `_POINTS`."""

    points: list[tuple[float, Box]] = field(default_factory=list)
    _step: int = 1
    _added: int = 0

    def add(self, at: float, box: Box) -> None:
        """Add a box if it is the next one to be kept."""
        if self._added % self._step == 0:
            self.points.append((at, box))
            if len(self.points) >= 2 * _POINTS:
                self.points = self.points[::2]
                self._step *= 2
        self._added += 1

    def absorb(self, other: Track) -> None:
        """Add the boxes of another track, in the order of their times."""
        points = sorted([*self.points, *other.points])
        self.points = points[:: 1 + (len(points) >= 2 * _POINTS)]
        self._step = max(self._step, other._step)


@dataclass(frozen=True, slots=True)
class Stated:
    """Whose visit it is by the word of the user; None: not a person of the gallery."""

    person: str | None


@dataclass(slots=True, eq=False)
class Visit:
    """One open visit; `announced` once its start was reported."""

    id: str
    first: float
    last: float
    box: Box
    frame: int
    # The best face of each name that was given, and how good it is.
    bests: dict[str | None, tuple[float, BestFace]]
    votes: Votes = field(default_factory=Votes)
    decision: Decision = field(default_factory=lambda: Decision(None, 0.0, 0))
    frames: int = 0
    announced: bool = False
    track: Track = field(default_factory=Track)
    velocity: tuple[float, float] = (0.0, 0.0)
    # The group of an unknown person, and the person that the user has stated.
    stranger: str | None = None
    stated: Stated | None = None
    # The visits that are seen in one frame with this one: other people.
    met: set[str] = field(default_factory=set)

    @classmethod
    def begin(cls, visit_id: str, frame: SeenFrame, face: SeenFace) -> Visit:
        """A visit with its first face, which `see` is still to be called with."""
        at = frame.timestamp
        bests = {face.name: (0.0, _best(frame, face, None))}
        return cls(visit_id, at, at, face.box, frame.index, bests)

    def best(self, person: str | None) -> BestFace:
        """The best face that was given this name; the best of all where none was."""
        found = self.bests.get(person)
        return (found or max(self.bests.values(), key=lambda each: each[0]))[1]

    @property
    def person(self) -> str | None:
        """The decided person, or the name that leads before one is decided."""
        return self.decision.person or self.votes.leading

    def expected_box(self, timestamp: float) -> Box:
        """The last box, moved by the velocity of its center."""
        elapsed = timestamp - self.last
        x0, y0, x1, y1 = self.box
        limit = _LONGEST_WAY * max(x1 - x0, y1 - y0)
        dx, dy = (min(limit, max(-limit, speed * elapsed)) for speed in self.velocity)
        return x0 + dx, y0 + dy, x1 + dx, y1 + dy

    def see(self, frame: SeenFrame, face: SeenFace, *, crops: bool) -> None:
        """Add the face of a frame."""
        self._move(face.box, frame.timestamp)
        self.last, self.box, self.frame = frame.timestamp, face.box, frame.index
        self.frames += 1
        self.votes.add(face, frame.timestamp)
        self.track.add(frame.timestamp, face.box)
        quality = face.weight * math.sqrt(max(1.0, face.side))
        before, _ = self.bests.get(face.name, (0.0, None))
        if quality > _BETTER * before:
            crop = None if not crops or frame.file is None else crop_file(frame.file, face.box)
            self.bests[face.name] = (quality, _best(frame, face, crop))

    def absorb(self, other: Visit) -> None:
        """Take over the frames of a visit of the same person that began later."""
        self.votes.absorb(other.votes)
        self.frames += other.frames
        self.met |= other.met
        if other.last > self.last:
            self.last, self.box, self.frame = other.last, other.box, other.frame
            self.velocity = other.velocity
        self.track.absorb(other.track)
        for name, best in other.bests.items():
            if name not in self.bests or best[0] > self.bests[name][0]:
                self.bests[name] = best

    def _move(self, box: Box, at: float) -> None:
        elapsed = at - self.last
        if elapsed <= 0:
            return
        # The side of the box limits the step: a jump is no speed.
        limit = max(box[2] - box[0], box[3] - box[1])
        steps = [(box[i] + box[i + 2] - self.box[i] - self.box[i + 2]) / 2 for i in (0, 1)]
        if max(map(abs, steps)) > limit:
            self.velocity = (0.0, 0.0)
            return
        dx, dy = (
            _SMOOTHING * step / elapsed + (1 - _SMOOTHING) * speed
            for step, speed in zip(steps, self.velocity, strict=True)
        )
        self.velocity = (dx, dy)


class VisitTracker:
    """Follows the faces of one source, frame by frame in order; returns the events of each.

    `too_short` counts the visits that ended before their start was reported.
    """

    def __init__(self, run: str, source: str, options: VisitOptions) -> None:
        self.too_short = 0
        # The visits of the newest frame's faces, in their order.
        self.followed: tuple[Visit, ...] = ()
        self._run = run[:12]
        self._source = source
        self._options = options
        self._open: list[Visit] = []

    def see(self, frame: SeenFrame) -> list[VisitEvent]:
        """Add an answered frame; its timestamp must not be before that of the last one."""
        events = self._end_past(frame.timestamp)
        places = assigned(self._open, frame.faces, frame.timestamp)
        changed: list[Visit] = []
        for number, (face, place) in enumerate(zip(frame.faces, places, strict=True)):
            if place is None:
                visit = Visit.begin(f"{self._run}-{frame.index:06d}-{number}", frame, face)
                self._open.append(visit)
            else:
                visit = self._open[place]
            visit.see(frame, face, crops=self._options.crops)
            changed.append(visit)
        self.followed = tuple(changed)
        together = {visit.id for visit in changed}
        for visit in changed:
            visit.met |= together
            # Merging may have closed it.
            if visit in self._open:
                events += self._decide(visit)
        return events

    def current(self) -> list[VisitEvent]:
        """The open visits that have started, each as an update with what is known by now."""
        return [self._event("update", visit) for visit in self._open if visit.announced]

    def group(self, visit_id: str, stranger: str | None) -> list[VisitEvent] | None:
        """State the group of an unknown visit; returns its events, None if it is not open."""
        for visit in self._open:
            if visit.id == visit_id:
                before, visit.stranger = visit.stranger, stranger
                told = visit.announced and visit.decision.person is None and before != stranger
                return [self._event("update", visit)] if told else []
        return None

    def state(self, visit_id: str, person: str | None) -> None:
        """State whose visit an open one is; its later events say so."""
        for visit in self._open:
            if visit.id == visit_id:
                visit.stated = Stated(person)

    def close(self, reason: Reason) -> list[VisitEvent]:
        """End every open visit."""
        events = [event for visit in self._open for event in self._end(visit, reason)]
        self._open.clear()
        return events

    def _end_past(self, now: float) -> list[VisitEvent]:
        past = [visit for visit in self._open if now - visit.last > self._options.gap]
        if past:
            self._open = [visit for visit in self._open if visit not in past]
            still_open = {visit.id for visit in self._open}
            for visit in self._open:
                visit.met &= still_open
        return [event for visit in past for event in self._end(visit, "left")]

    def _decide(self, visit: Visit) -> list[VisitEvent]:
        """The events that follow from the visit's newest frame."""
        before = visit.decision.person
        visit.decision = visit.votes.decide(self._options.frames, before)
        decided = visit.decision.person
        other = self._other(visit) if decided is not None and decided != before else None
        if other is not None:
            return self._merge(visit, other)
        if visit.announced:
            return [self._event("update", visit)] if decided != before else []
        if decided is None and not self._is_long_enough(visit):
            return []
        visit.announced = True
        return [self._event("start", visit)]

    def _is_long_enough(self, visit: Visit) -> bool:
        """Whether a visit without a decided name is announced as unknown."""
        if visit.decision.settled:
            return visit.frames >= self._options.frames
        return (
            visit.frames >= _UNSETTLED * self._options.frames
            and visit.last - visit.first >= _UNSETTLED_SECONDS
        )

    def _other(self, visit: Visit) -> Visit | None:
        """Another open visit of the same person, if no frame shows both."""
        for other in self._open:
            apart = other.id not in visit.met and visit.id not in other.met
            if other is not visit and apart and other.decision.person == visit.decision.person:
                return other
        return None

    def _merge(self, some: Visit, other: Visit) -> list[VisitEvent]:
        """Continue the earlier of two visits of one person with the frames of the later one."""
        earlier, later = sorted((some, other), key=lambda visit: visit.first)
        self._open.remove(later)
        events = []
        if later.announced:
            events.append(self._event("end", later, "merged", earlier.id))
        earlier.absorb(later)
        earlier.decision = earlier.votes.decide(self._options.frames, earlier.decision.person)
        events.append(self._event("update" if earlier.announced else "start", earlier))
        earlier.announced = True
        return events

    def _end(self, visit: Visit, reason: Reason) -> list[VisitEvent]:
        if visit.announced:
            return [self._event("end", visit, reason)]
        if visit.frames < self._options.frames:
            self.too_short += 1
            return []
        return [self._event("start", visit), self._event("end", visit, reason)]

    def _event(
        self, kind: Kind, visit: Visit, reason: Reason | None = None, into: str | None = None
    ) -> VisitEvent:
        decision = visit.decision
        person = decision.person if visit.stated is None else visit.stated.person
        return VisitEvent(
            kind, visit.id, self._source, person, decision.score, visit.first, visit.last,
            visit.frame, visit.frames, decision.agreeing, visit.best(person),
            (*visit.track.points, (visit.last, visit.box)), reason, into,
            stranger=visit.stranger if person is None else None,
        )  # fmt: skip


def _best(frame: SeenFrame, face: SeenFace, crop: bytes | None) -> BestFace:
    return BestFace(frame.index, frame.name, frame.timestamp, face.box, face.probability, crop=crop)
