"""Decides whose visit it is: each frame's name counts by the quality of its face."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from facectl.visits.models import SeenFace

# Frames a moment apart show the same pose under the same light, so they are one observation: the
# frames that agree on a name must be spread over this many seconds. Their weights must also
# have this sum, about that of three small or of five blurred faces.
_SPREAD = 0.5
_LEAST_WEIGHT = 0.3
# Of the weight of all frames with a name, the share that one name must have.
_SHARE_OF_NAMED = 0.6
# Of the weight of all frames, the share that the name must have, and below which a name that
# was decided is taken back.
_SHARE_OF_ALL = 0.3
_KEPT_SHARE_OF_ALL = 0.2


@dataclass(frozen=True, slots=True)
class Decision:
    """Whose visit it is: `person` None for unknown; its share of the weight, 0 to 1; its frames.

    `settled` is false while a name leads that has too few frames to be decided.
    """

    person: str | None
    score: float
    agreeing: int
    settled: bool = True


@dataclass(slots=True)
class Votes:
    """The names of a visit's frames, with the sum of their weights; None is `Unknown`."""

    frames: Counter[str | None] = field(default_factory=Counter)
    weights: dict[str | None, float] = field(default_factory=dict)
    # The first and the last second of each name.
    _times: dict[str | None, tuple[float, float]] = field(default_factory=dict)

    def add(self, face: SeenFace, at: float) -> None:
        """Count one frame; `at` is in seconds of the source."""
        self.frames[face.name] += 1
        self._add(face.name, face.weight, at, at)

    def absorb(self, other: Votes) -> None:
        """Count the frames of another visit of the same person too."""
        self.frames.update(other.frames)
        for name, weight in other.weights.items():
            self._add(name, weight, *other._times[name])

    @property
    def leading(self) -> str | None:
        """The name with the largest weight; None where every frame is `Unknown`."""
        named = {name: weight for name, weight in self.weights.items() if name is not None}
        return max(named, key=lambda name: (named[name], name), default=None)

    def decide(self, minimum: int, current: str | None = None) -> Decision:
        """The decision so far; `current` is the last one, `minimum` the frames that must agree."""
        total = sum(self.weights.values())
        name = self.leading
        if name is None or total <= 0:
            return Decision(None, 1.0, self.frames[None])
        named = total - self.weights.get(None, 0.0)
        weight = self.weights[name]
        least = _KEPT_SHARE_OF_ALL if name == current else _SHARE_OF_ALL
        if weight >= _SHARE_OF_NAMED * named and weight >= least * total:
            if self._enough(name, minimum):
                return Decision(name, weight / total, self.frames[name])
            return Decision(None, 1 - weight / total, self.frames[None], settled=False)
        if current is not None and self._keeps(current, total):
            return Decision(current, self.weights[current] / total, self.frames[current])
        return Decision(None, 1 - weight / total, self.frames[None])

    def _add(self, name: str | None, weight: float, first: float, last: float) -> None:
        self.weights[name] = self.weights.get(name, 0.0) + weight
        before = self._times.get(name, (first, last))
        self._times[name] = (min(before[0], first), max(before[1], last))

    def _enough(self, name: str, minimum: int) -> bool:
        """Whether enough frames agree on the name; where one is enough, no other rule applies."""
        first, last = self._times[name]
        return self.frames[name] >= minimum and (
            minimum == 1 or (last - first >= _SPREAD and self.weights[name] >= _LEAST_WEIGHT)
        )

    def _keeps(self, current: str, total: float) -> bool:
        """Whether a decided name stays although it no longer has the share that decides."""
        weight = self.weights.get(current, 0.0)
        return current == self.leading and weight >= _KEPT_SHARE_OF_ALL * total
