"""Strangers for tests: faces of made-up people, stored and grouped as a collector does."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone

import numpy as np
from gallery_data import SPACE

from facectl.gallery.changes import EmbeddingSpace
from facectl.strangers import additions, amendments
from facectl.strangers.amendments import Outputs
from facectl.strangers.grouping import Grouping, neighbour_distance
from facectl.strangers.models import NewFace, StrangerFace
from facectl.strangers.store import StrangerStore
from facectl.visits.models import BestFace, VisitEvent

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
RUN = "0123456789ab"


def person(seed: int, faces: int, *, spread: float = 0.4) -> np.ndarray:
    """Embeddings of one person, each `spread` from the mean."""
    random = np.random.default_rng(seed)
    mean = random.standard_normal(512)
    noise = np.random.default_rng(1000 + seed).standard_normal((faces, 512))
    noise *= spread / np.linalg.norm(noise, axis=1, keepdims=True)
    found = mean / np.linalg.norm(mean) + noise
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def crop_of(embedding: np.ndarray) -> bytes:
    """The bytes that stand for the picture of a face."""
    return b"JPEG " + hashlib.sha512(embedding.tobytes()).digest() * 40


def visit_id(number: int) -> str:
    return f"{RUN}-{number:06d}-0"


def event(visit: str, name: str | None, kind: str = "end", **changes: object) -> VisitEvent:
    """An event of a visit of two seconds."""
    best = BestFace(3, "clip.avi#3", 0.3, (10, 10, 90, 90), 0.99)
    reason = "finished" if kind == "end" else None
    return VisitEvent(
        kind, visit, "clip.avi", name, 0.9, 0.0, 2.0, 20, 21, 20, best, (), reason,  # type: ignore[arg-type]
        time="2026-03-01T12:00:00.000Z", **changes,  # type: ignore[arg-type]
    )  # fmt: skip


class Collected:
    """A store that faces are added to, as a run with --keep-strangers adds them."""

    def __init__(self, asu_id: str = "alice", outputs: Outputs | None = None) -> None:
        self.store = StrangerStore.open(asu_id)
        self.store.put("space", SPACE)
        self.outputs = outputs or Outputs("clip.avi")
        distance = neighbour_distance(EmbeddingSpace(SPACE))
        self.grouping = Grouping(distance, self.store.new_group, self.store.can_merge)

    def visit(
        self, visit: str, embeddings: np.ndarray, name: str | None = None, *, days_ago: float = 0
    ) -> None:
        """Add the faces of a visit, and its end."""
        time = NOW - timedelta(days=days_ago)
        for embedding in embeddings:
            face = StrangerFace("", visit, "clip.avi", time, (10, 10, 90, 90), 0.99, 200.0, 80.0)
            new = NewFace(face, embedding, crop_of(embedding), name)
            additions.add(self.store, [new], self.grouping, time)
        stranger = self.store.group_of_visit(visit)
        amendments.remember(self.store, event(visit, name, stranger=stranger), self.outputs, time)

    def last(self, visit: str) -> VisitEvent:
        """The newest event of a visit."""
        found = amendments.last_event(self.store, visit)
        assert found is not None
        return found
