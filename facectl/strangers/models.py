"""Faces of unknown people, their groups, and the outcome of an action. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

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
