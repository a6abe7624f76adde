"""Takes the faces of a run from the thread of visits, and embeds and groups them in its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from facectl.context import Deployment
from facectl.visits.models import VisitEvent
from lambda_src.contract import Box


@dataclass(frozen=True, slots=True)
class CollectedFace:
    """A face of a sent frame: `file` is the frame's image file as it was sent.

    person: the name of the visit where it has one, None for an unknown person. seconds: the
    time of the source.
    """

    visit: str
    file: bytes
    box: Box
    probability: float
    seconds: float
    person: str | None = None


class StrangerCollector:
    """Keeps good faces of unknown people, and a few of each named visit for corrections.

    `collector(face)` returns at once: a full queue drops the face. `group_changed` is called in
    the collector's thread with a visit and its group.
    """

    def __init__(
        self,
        deployment: Deployment,
        source: str,
        *,
        retention: timedelta = timedelta(days=7),
        group_changed: Callable[[str, str | None], None] = lambda _visit, _group: None,
        report: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Load the model and start the thread; raises ModelError."""
        raise NotImplementedError

    def __call__(self, face: CollectedFace) -> None:
        """Take a face; returns at once."""
        raise NotImplementedError

    def see(self, event: VisitEvent) -> None:
        """Take an event: a sink of the recorder. A visit that gets a name leaves its group."""
        raise NotImplementedError

    def close(self, *, wait: float) -> None:
        """Embed what waits, for up to `wait` seconds, and stop the thread."""
        raise NotImplementedError
