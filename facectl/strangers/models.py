"""Faces of unknown people, their groups, and the outcome of an action. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facectl.visits.models import SeenFace
from lambda_src.contract import Box

# open      waits for a name
# ignored   never named, and never shown again
# named     enrolled as `name`
State = Literal["open", "ignored", "named"]


@dataclass(frozen=True, slots=True)
class StrangerFace:
    """A kept face: its visit, source, time (UTC), box in pixels of the frame, and quality.

    side: the shorter side of the box in pixels. sharpness: the variance of the Laplacian at 160
    pixels. Its crop and embedding are in the store.
    """

    id: str
    visit: str
    source: str
    time: datetime
    box: Box
    probability: float
    sharpness: float
    side: float


@dataclass(frozen=True, slots=True)
class StrangerGroup:
    """Faces of one unknown person; `id` is `s-12`, `faces` their number, `visits` oldest first.

    best: the ids of up to five faces that show the person best, the best first. `name` is None
    unless the state is `named`.
    """

    id: str
    faces: int
    visits: tuple[str, ...]
    first_seen: datetime
    last_seen: datetime
    best: tuple[str, ...]
    state: State = "open"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What an action did, as a sentence for the user.

    gallery_version: the version that was published, None where the gallery did not change.
    amended: the number of visits that got an amendment.
    """

    sentence: str
    gallery_version: int | None = None
    amended: int = 0


@dataclass(frozen=True, slots=True)
class NewFace:
    """A face to keep: its id is not known yet. person: the name of its visit, if it has one."""

    face: StrangerFace
    embedding: NDArray[np.float32]
    crop: bytes
    person: str | None = None


@dataclass(frozen=True, slots=True)
class GroupState:
    """What is known of a group besides its faces."""

    number: int
    state: State
    name: str | None


def number_of(name: str, kind: str) -> int:
    """The number in `s-12` or `f-12`; -1, which is nobody's, for anything else."""
    prefix, _, number = name.partition("-")
    good = prefix == kind and number.isascii() and number.isdigit() and len(number) < 18
    return int(number) if good else -1


def weight(face: StrangerFace) -> float:
    """How well a face shows the person, 0 to 1."""
    return SeenFace(face.box, face.probability, None, face.sharpness).weight
