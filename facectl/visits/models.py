"""Faces of frames, and the events of visits, as frozen dataclasses. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from lambda_src.contract import UNKNOWN, Box, NamedFace

# amend: what is known of a visit changed later, because somebody named or corrected it
Kind = Literal["start", "update", "end", "amend"]
# left          not seen for longer than the gap
# finished      the source ended
# interrupted   the run was stopped: Ctrl-C, or an error
# lost          the process that wrote the visit was killed
# merged        it was a part of another visit of the same person
Reason = Literal["left", "finished", "interrupted", "lost", "merged"]

# A face of this size (the shorter side in pixels) and this sharpness has full weight; half of
# each has half of it. A sharp portrait has a sharpness of hundreds, a blurred one less than 20.
_FULL_SIDE = 80.0
_FULL_SHARPNESS = 100.0
_LEAST = 0.05


@dataclass(frozen=True, slots=True)
class SeenFace:
    """A face of an answer; `name` is None for `Unknown`, `sharpness` None where not measured."""

    box: Box
    probability: float
    name: str | None = None
    sharpness: float | None = None

    @classmethod
    def of(cls, face: NamedFace, sharpness: float | None = None) -> SeenFace:
        """The face of an answer with `detail`."""
        name = None if face.name == UNKNOWN else face.name
        return cls(face.box, face.probability, name, sharpness)

    @property
    def side(self) -> float:
        """The shorter side of the box in pixels."""
        x0, y0, x1, y1 = self.box
        return max(0.0, min(x1 - x0, y1 - y0))

    @property
    def weight(self) -> float:
        """How much the face counts in the decision, 0 to 1: probability, size and sharpness."""
        sharp = 1.0 if self.sharpness is None else self.sharpness / _FULL_SHARPNESS
        factors = (self.side / _FULL_SIDE, sharp)
        weight = self.probability
        for factor in factors:
            weight *= min(1.0, max(_LEAST, factor))
        return weight


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """The faces of an answered frame; `file` is its image file, None where it was not kept."""

    index: int
    name: str
    timestamp: float
    faces: tuple[SeenFace, ...]
    file: bytes | None = None


@dataclass(frozen=True, slots=True)
class BestFace:
    """The face of a visit that shows the person best; `crop` is a JPEG, `file` where it is kept."""

    frame: int
    name: str
    timestamp: float
    box: Box
    probability: float
    crop: bytes | None = None
    file: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The reference to the crop for JSON, without its pixels."""
        fields: dict[str, Any] = {
            "frame": self.frame,
            "name": self.name,
            "timestamp": round(self.timestamp, 3),
            "box": [round(edge, 1) for edge in self.box],
            "probability": round(self.probability, 4),
        }
        return fields if self.file is None else {**fields, "file": self.file}


@dataclass(frozen=True, slots=True)
class VisitEvent:
    """The start, a change or the end of a visit, with what is known of it by then.

    `person` is None for somebody unknown. `score`: the person's share of the weight of
    all frames, 0 to 1. `first` and `last`: seconds of the source. `frame`: the index
    of the visit's newest frame, and `track` the boxes so far as (seconds, box),
    thinned. `time`: when the event was decided, UTC. `into`: the visit that a merged
    one is a part of. `stranger`: the group of an unknown person, once it is known.
    `amendment`: the unique id of what amended the visit.
    """

    event: Kind
    visit: str
    source: str
    person: str | None
    score: float
    first: float
    last: float
    frame: int
    frames: int
    agreeing: int
    best: BestFace
    track: tuple[tuple[float, Box], ...] = ()
    reason: Reason | None = None
    into: str | None = None
    time: str = ""
    synthetic: bool = False
    stranger: str | None = None
    amendment: str | None = None

    @property
    def run(self) -> str:
        """The first characters of the run's id, with which the visit's begins."""
        return self.visit.rsplit("-", 2)[0]

    @property
    def key(self) -> str:
        """The same for the same event of a resumed run, and for no other event."""
        if self.event == "start":
            return f"{self.visit}/start"
        if self.event == "amend":
            return f"{self.visit}/amend/{self.amendment}"
        stranger = self.stranger if self.event == "update" else None
        parts = (self.visit, self.event, self.reason, str(self.frame), stranger)
        return "/".join(part for part in parts if part is not None)

    def as_dict(self) -> dict[str, Any]:
        """The event for JSON; times in seconds, boxes in pixels of the frame."""
        fields: dict[str, Any] = {
            "event": self.event,
            "id": self.key,
            "visit": self.visit,
            "time": self.time,
            "source": self.source,
            "person": self.person,
            "known": self.person is not None,
            "score": round(self.score, 4),
            "first": round(self.first, 3),
            "last": round(self.last, 3),
            "frame": self.frame,
            "frames": self.frames,
            "agreeing": self.agreeing,
            "best": self.best.as_dict(),
        }
        if self.event == "end":
            fields["reason"] = self.reason
            fields["track"] = [
                [round(at, 3), *(round(edge) for edge in box)] for at, box in self.track
            ]
        for key in ("into", "stranger", "amendment"):
            if (value := getattr(self, key)) is not None:
                fields[key] = value
        if self.synthetic:
            fields["synthetic"] = True
        return fields

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> VisitEvent:
        """The event of a line; raises ValueError, KeyError or TypeError for anything else."""
        event = fields["event"]
        if event not in get_args(Kind):
            raise ValueError(f"{event!r} is no event")
        best = fields["best"]
        return cls(
            event, str(fields["visit"]), str(fields["source"]), fields["person"],
            float(fields["score"]), float(fields["first"]), float(fields["last"]),
            int(fields["frame"]), int(fields["frames"]), int(fields["agreeing"]),
            BestFace(
                int(best["frame"]), str(best["name"]), float(best["timestamp"]),
                _box(best["box"]), float(best["probability"]), file=best.get("file"),
            ),
            tuple((float(at), _box(box)) for at, *box in fields.get("track", ())),
            fields.get("reason"), fields.get("into"), str(fields["time"]),
            fields.get("synthetic") is True, fields.get("stranger"), fields.get("amendment"),
        )  # fmt: skip


def _box(edges: list[float]) -> Box:
    x0, y0, x1, y1 = map(float, edges)
    return x0, y0, x1, y1
