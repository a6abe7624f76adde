"""Assigns the faces of a frame to the open visits: by the overlap of boxes, distance and name.

An answer has no embedding, so a face that jumps (a cut, a slow camera) is followed by
its name, and a stranger that jumps begins a new visit. The kept tracker libraries were not
taken: norfair needs numpy 1, motpy has had no release since 2021, boxmot is AGPL with
torch, and trackers installs opencv-python, which overwrites opencv-python-headless.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from facectl.visits.models import SeenFace
from lambda_src.contract import Box
from lambda_src.vision.boxes import iou

# Boxes that overlap by this IoU are the same face, if the other was seen a moment ago.
_SAME_FACE = 0.3
# Seconds: after a longer time, another person may stand in the same place.
_MOMENT = 2.0
# Without overlap: a face moves at most this far a second, in sides of its box, and changes its
# size by at most this factor.
_REACH_PER_SECOND = 1.5
_REACH = (0.75, 2.0)
_MOST_GROWTH = 1.6
# Scores, highest first: overlap and name agree; they contradict; near; the name alone.
_SAME_NAME = 1.0
_OTHER_NAME = -0.6
_NAME_ALONE = 0.6


class Followed(Protocol):
    """What is known of an open visit."""

    @property
    def person(self) -> str | None:
        """Whose visit it seems to be."""

    @property
    def last(self) -> float:
        """When the face was last seen, in seconds of the source."""

    def expected_box(self, timestamp: float) -> Box:
        """Where its face should be by now."""


class _Pair(NamedTuple):
    score: float
    visit: int
    face: int


def assigned(
    visits: Sequence[Followed], faces: Sequence[SeenFace], timestamp: float
) -> list[int | None]:
    """For each face, the place of its visit in `visits`; None for one that begins a visit.

    The pair with the highest score is assigned first. A face has one visit, a visit
    one face.
    """
    result: list[int | None] = [None] * len(faces)
    if not visits or not faces:
        return result
    expected = [visit.expected_box(timestamp) for visit in visits]
    overlaps = iou(
        np.array(expected, np.float32), np.array([face.box for face in faces], np.float32)
    )
    pairs = [
        _Pair(score, v, f)
        for v, visit in enumerate(visits)
        for f, face in enumerate(faces)
        if (score := _score(visit, expected[v], face, float(overlaps[v, f]), timestamp)) > 0
    ]
    taken: set[int] = set()
    for pair in sorted(pairs, key=lambda pair: (-pair.score, pair.visit, pair.face)):
        if pair.visit not in taken and result[pair.face] is None:
            result[pair.face] = pair.visit
            taken.add(pair.visit)
    return result


def _score(
    visit: Followed, expected: Box, face: SeenFace, overlap: float, timestamp: float
) -> float:
    """How well the face fits the visit; 0 where it is not the same person's."""
    elapsed = timestamp - visit.last
    same = face.name is not None and face.name == visit.person
    other = face.name is not None and visit.person is not None and not same
    name = _SAME_NAME if same else 0.0
    if overlap >= _SAME_FACE and elapsed <= _MOMENT:
        # The name of one frame may be wrong: the face is followed all the same.
        return 1.0 + overlap + (_OTHER_NAME if other else name)
    if other:
        return 0.0
    if overlap >= _SAME_FACE:
        return 0.5 * overlap + name
    nearness = _nearness(expected, face.box, elapsed)
    if nearness > 0 and elapsed <= _MOMENT:
        return nearness + name
    return _NAME_ALONE if same else 0.0


def _nearness(before: Box, now: Box, elapsed: float) -> float:
    """1 for the same centre to 0 for one out of reach; 0 for a face of another size."""
    sides = [max(1e-6, math.sqrt(max(0.0, (b[2] - b[0]) * (b[3] - b[1])))) for b in (before, now)]
    if max(sides) > _MOST_GROWTH * min(sides):
        return 0.0
    across = (now[0] + now[2] - before[0] - before[2]) / 2
    down = (now[1] + now[3] - before[1] - before[3]) / 2
    least, most = _REACH
    reach = min(most, max(least, _REACH_PER_SECOND * elapsed)) * sum(sides) / 2
    return max(0.0, 1 - math.hypot(across, down) / reach)
