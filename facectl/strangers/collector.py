"""Takes the faces of a run from the thread of visits, and embeds and groups them in its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facectl import sqlite
from facectl.context import Deployment
from facectl.gallery import anchors
from facectl.gallery import store as galleries
from facectl.gallery.changes import EmbeddingSpace
from facectl.models.store import deployed
from facectl.strangers import additions, amendments
from facectl.strangers.amendments import Outputs, RunLock
from facectl.strangers.crops import EmbeddedFace, FaceEncoder, is_good
from facectl.strangers.grouping import Grouping, neighbour_distance
from facectl.strangers.models import NewFace, StrangerFace
from facectl.strangers.references import IGNORED
from facectl.strangers.store import RETENTION, StrangerStore
from facectl.visits.models import VisitEvent
from facectl.visits.recorder import FollowedFace, VisitRecorder
from lambda_src.gallery.matching import COSINE, DIMENSIONS, Embeddings

# Faces that wait to be embedded; each keeps the image file of its frame.
_WAITING = 64
# Faces a moment apart show the same pose under the same light: seconds between the faces of a
# visit, and how many are kept of an unknown person's visit and of a named one's.
_SPREAD = 0.5
_MOST_UNKNOWN = 20
_MOST_NAMED = 3
# Faces that are stored at once, and seconds between two looks for amendments and old faces.
_BATCH = 16
_LOOK = 1.0
_PRUNE = 600.0
_OPEN_VISITS = 10_000
# Seconds that the end of a run waits for faces.
_FLUSH = 30.0
# A face within this share of the gallery's threshold of an ignored person is that person's.
_IGNORED_SHARE = 0.9


class Listener(Protocol):
    """Gets the groups and amendments of visits: `facectl.visits.recorder.VisitRecorder`."""

    def group(self, visit: str, stranger: str | None) -> None: ...

    def amend(self, amendments: Sequence[VisitEvent]) -> None: ...


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """Where the events of the run go, and how long faces are kept.

    past: get the amendments of earlier runs whose visits are in the file of this one.
    """

    outputs: Outputs
    retention: timedelta = RETENTION
    past: tuple[Callable[[VisitEvent], object], ...] = ()


class StrangerCollector:
    """Keeps good faces of unknown people, and a few of each named visit for corrections.

    `take` and `see` return at once; a full queue drops faces, never events. The faces are embedded
    with the installed model and grouped in a thread of this object. `report` gets a sentence if
    that thread fails; the run continues. Raises ModelError without the deployment's model.
    """

    def __init__(
        self,
        deployment: Deployment,
        run: str,
        options: CollectorOptions,
        *,
        report: Callable[[str], None],
        encoder: FaceEncoder | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.dropped = 0
        self._encoder = encoder or FaceEncoder.shared(deployed(deployment))
        self._asu_id = deployment.asu_id
        self._run_id = run[:12]
        self._options = options
        self._report = report
        self._now = now
        self._listener: Listener | None = None
        self._store = StrangerStore.open(deployment.asu_id)
        space = EmbeddingSpace.of(self._encoder.model)
        self._grouping = Grouping(
            neighbour_distance(space), self._store.new_group, self._store.can_merge
        )
        self._ignored = IgnoredPeople(deployment.asu_id, space.id)
        self._lock = RunLock(deployment.asu_id, self._run_id, options.outputs.file)
        # The number of faces and the newest second of each open visit.
        self._taken: dict[str, tuple[int, float]] = {}
        self._room = threading.Semaphore(_WAITING)
        self._failed = False
        self._closed = False
        self._items: queue.SimpleQueue[FollowedFace | VisitEvent | threading.Event | None]
        self._items = queue.SimpleQueue()
        self._ignored_visits: dict[str, None] = {}
        self._thread = threading.Thread(target=self._run, name="facectl-strangers", daemon=True)

    def start(self, listener: Listener) -> None:
        """Delete what is too old or of another model, and start the thread."""
        self._listener = listener
        space = self._encoder.model.space
        before = self._store.get("space")
        if before not in (None, space) and (count := self._store.forget()):
            self._report(f"{count} faces of strangers were of another model and were deleted")
        self._store.put("space", space)
        self._store.retention = self._options.retention
        self._store.prune(self._time())
        if self._encoder.model.synthetic:
            self._report("Synthetic weights: the model is untrained, so groups mean nothing")
        self._thread.start()

    def take(self, face: FollowedFace) -> None:
        """Take a face if it is good and shows its visit anew."""
        if self._failed or face.name != face.person or not is_good(face):
            return
        count, last = self._taken.get(face.visit, (0, float("-inf")))
        most = _MOST_UNKNOWN if face.person is None else _MOST_NAMED
        if count >= most or face.seconds - last < _SPREAD:
            return
        if not self._room.acquire(blocking=False):
            self.dropped += 1
            return
        self._taken[face.visit] = (count + 1, face.seconds)
        _shorten(self._taken)
        self._items.put(face)

    def see(self, event: VisitEvent) -> None:
        """Take an event of a visit: a sink of the recorder."""
        if self._failed:
            return
        if event.event == "end":
            self._taken.pop(event.visit, None)
        self._items.put(event)

    def flush(self) -> None:
        """Wait until the faces taken so far are grouped, for up to 30 s."""
        done = threading.Event()
        self._items.put(done)
        deadline = time.monotonic() + _FLUSH
        while self._thread.is_alive() and time.monotonic() < deadline:
            if done.wait(_LOOK):
                return

    def close(self) -> None:
        """Store what waits, and stop the thread."""
        self._items.put(None)
        if self._thread.is_alive():
            self._thread.join(_FLUSH)
        if not self._thread.is_alive() and not self._closed:
            self._closed = True
            self._lock.close()
            self._store.close()

    def _run(self) -> None:
        try:
            looked, pruned = time.monotonic(), self._now()
            while True:
                batch = self._next_items()
                self._store_all([each for each in batch if isinstance(each, FollowedFace)])
                for each in batch:
                    if isinstance(each, VisitEvent):
                        self._follow(each)
                    elif isinstance(each, threading.Event):
                        each.set()
                if time.monotonic() - looked >= _LOOK:
                    looked = time.monotonic()
                    self._pass_on_amendments()
                if self._now() - pruned >= _PRUNE:
                    pruned = self._now()
                    self._store.prune(self._time())
                if None in batch:
                    self._pass_on_amendments()
                    return
        except Exception as error:  # noqa: BLE001 - a thread has no caller
            self._failed = True
            self._report(f"No more faces of strangers are kept: {error}")

    def _next_items(self) -> list[FollowedFace | VisitEvent | threading.Event | None]:
        """The items that wait, up to one that ends a batch."""
        found: list[FollowedFace | VisitEvent | threading.Event | None] = []
        try:
            found.append(self._items.get(timeout=_LOOK))
            # Faces before the events that follow them, so an order is kept.
            while isinstance(found[-1], FollowedFace) and len(found) < _BATCH:
                found.append(self._items.get_nowait())
        except queue.Empty:
            pass
        return found

    def _store_all(self, faces: Sequence[FollowedFace]) -> None:
        new = []
        for face in faces:
            if (found := self._embedded(face)) is not None:
                new.append(NewFace(self._kept(face), found.embedding, found.crop, face.person))
            self._room.release()
        new = [each for each in new if each.face.visit not in self._ignored_visits]
        if not new:
            return
        changed = additions.add(self._store, new, self._grouping, self._time())
        for visit in sorted(self._store.visits_of(changed.groups)):
            if self._listener is not None:
                self._listener.group(visit, self._store.group_of_visit(visit))

    def _embedded(self, face: FollowedFace) -> EmbeddedFace | None:
        """Embed a face that is kept; None for one that can't be decoded or is ignored."""
        if face.visit in self._ignored_visits:
            return None
        found = self._encoder.embed(face.file, face.box)
        if found is not None and face.person is None and self._ignored.has(found.embedding):
            self._ignore(face.visit)
            return None
        return found

    def _ignore(self, visit: str) -> None:
        """Keep no face of a visit by an ignored person, not even those that are less alike."""
        self._ignored_visits[visit] = None
        _shorten(self._ignored_visits)
        self._store.drop_visit(visit)

    def _follow(self, event: VisitEvent) -> None:
        visit = event.visit
        if event.event == "end" and event.reason == "merged" and event.into is not None:
            self._store.move_visit(visit, event.into)
            return
        # The amendment of a visit says what `facectl strangers` has stored already.
        if event.event != "amend":
            self._store.name_visit(visit, event.person)
        amendments.remember(self._store, event, self._options.outputs, self._time())
        if event.event == "end":
            self._ignored_visits.pop(visit, None)
            self._complete(event)

    def _complete(self, event: VisitEvent) -> None:
        """Tell the group of a visit that ended without: its process was killed before."""
        group = self._store.group_of_visit(event.visit)
        if event.person is None and group not in (None, event.stranger) and self._listener:
            self._listener.group(event.visit, group)

    def _pass_on_amendments(self) -> None:
        found = amendments.taken(self._store, self._run_id)
        if found and self._listener is not None:
            self._listener.amend(found)
        if self._options.outputs.file is not None:
            amendments.continue_file(self._store, self._options.outputs.file, self._options.past)

    def _kept(self, face: FollowedFace) -> StrangerFace:
        x0, y0, x1, y1 = face.box
        return StrangerFace(
            "", face.visit, self._options.outputs.source, self._time(), face.box,
            face.probability, face.sharpness, min(x1 - x0, y1 - y0),
        )  # fmt: skip

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), timezone.utc)


def _shorten(visits: dict[str, Any]) -> None:
    """Drop the oldest visit of too many: one that was too short has no end."""
    if len(visits) > _OPEN_VISITS:
        del visits[next(iter(visits))]


class IgnoredPeople:
    """The ignored people of a deployment's gallery, read again when it has changed."""

    def __init__(self, asu_id: str, space: str) -> None:
        self._asu_id = asu_id
        self._space = space
        self._state: tuple[int, bytes] | None = None
        self._version: int | None = None
        self._embeddings: Embeddings = np.zeros((0, DIMENSIONS), np.float32)
        self._least_cosine = 2.0

    def has(self, embedding: NDArray[np.float32]) -> bool:
        """Whether an embedding (512,) is an ignored person's."""
        state = sqlite.state_of(galleries.path(self._asu_id))
        if state != self._state:
            self._look()
            # As it was before: a change meanwhile is seen the next time.
            self._state = state
        return bool((self._embeddings @ embedding >= self._least_cosine).any())

    def _look(self) -> None:
        """Read the gallery if it has another version than before."""
        gallery = galleries.Store.find(self._asu_id)
        if gallery is None:
            self._version, self._embeddings = None, self._embeddings[:0]
            return
        with closing(gallery):
            if gallery.version != self._version:
                self._read(gallery)

    def _read(self, gallery: galleries.Store) -> None:
        self._version = gallery.version
        ids, embeddings = anchors.rows(gallery)
        ignored = [row for row, anchor in enumerate(ids) if anchor.startswith(IGNORED)]
        usable = gallery.space == self._space
        self._embeddings = embeddings[ignored if usable else []]
        settings = gallery.settings
        # Of L2-normalised embeddings: d² = 2 (1 - cosine).
        cosine_metric = settings.metric == COSINE
        distance = (2 * settings.threshold) ** 0.5 if cosine_metric else settings.threshold
        self._least_cosine = 1 - (_IGNORED_SHARE * distance) ** 2 / 2


@contextmanager
def collecting(
    deployment: Deployment,
    run: str,
    options: CollectorOptions,
    recorder: VisitRecorder,
    report: Callable[[str], None],
) -> Iterator[StrangerCollector]:
    """Keep the faces of a recorder that is about to start; raises ModelError without the model."""
    collector = StrangerCollector(deployment, run, options, report=report)
    try:
        collector.start(recorder)
        recorder.pass_faces_to(collector)
        yield collector
    finally:
        collector.close()
        if collector.dropped:
            report(f"{collector.dropped} faces of strangers came too fast and were not kept")
