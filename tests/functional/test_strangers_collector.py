"""Collecting faces of unknown people: what is kept, what is grouped, and what is not."""

from __future__ import annotations

import gc
import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small_model
from gallery_data import SPACE, made
from PIL import Image
from stranger_data import RUN, crop_of, event, person, visit_id

from facectl import paths
from facectl.context import Deployment
from facectl.errors import InputError, ModelError
from facectl.gallery import people
from facectl.gallery import store as galleries
from facectl.gallery.changes import Reference
from facectl.strangers import amendments, collector, crops
from facectl.strangers.amendments import Outputs
from facectl.strangers.collector import CollectorOptions, StrangerCollector
from facectl.strangers.crops import EmbeddedFace, FaceEncoder
from facectl.strangers.store import StrangerStore, path
from facectl.visits.models import VisitEvent
from facectl.visits.recorder import FollowedFace
from lambda_src.vision.boxes import Face
from lambda_src.vision.crops import crop_face, decode_crop, encode_crops
from lambda_src.vision.embedder import Embedder
from lambda_src.vision.image import decode_image

pytestmark = pytest.mark.usefixtures("isolated")

DEPLOYMENT = Deployment("alice", "aws", space=SPACE)
BOX = (10.0, 10.0, 90.0, 90.0)


class FakeEncoder:
    """The image file of a frame is its face's embedding; `held` holds the thread back."""

    model = SimpleNamespace(space=SPACE, synthetic=False, space_name=None)

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.embedded = 0

    def embed(self, file: bytes, _box: object) -> EmbeddedFace | None:
        self.free.wait(60)
        if not file:
            return None
        if file == b"broken":
            raise RuntimeError("the model failed")
        self.embedded += 1
        embedding = np.frombuffer(file, np.float32)
        return EmbeddedFace(embedding, crop_of(embedding))


class Listener:
    """Keeps what the recorder would be told."""

    def __init__(self) -> None:
        self.groups: list[tuple[str, str | None]] = []
        self.amended: list[VisitEvent] = []

    def group(self, visit: str, stranger: str | None) -> None:
        self.groups.append((visit, stranger))

    def amend(self, amendments: Any) -> None:
        self.amended += amendments


class Run:
    """A collector with a fake encoder, and a clock that the test sets."""

    def __init__(self, run: str = RUN, now: float = 1_800_000_000.0, **options: Any) -> None:
        self.now = now
        self.encoder = FakeEncoder()
        self.listener = Listener()
        self.reports: list[str] = []
        self.collector = StrangerCollector(
            DEPLOYMENT,
            run,
            CollectorOptions(Outputs("clip.avi"), **options),
            report=self.reports.append,
            encoder=self.encoder,  # type: ignore[arg-type]
            now=lambda: self.now,
        )
        self.collector.start(self.listener)

    def take(self, visit: str, embeddings: np.ndarray, **changes: Any) -> None:
        """Take faces a second apart."""
        for second, embedding in enumerate(embeddings):
            self.collector.take(followed(visit, embedding.tobytes(), second, **changes))


def followed(visit: str, file: bytes, seconds: float, **changes: Any) -> FollowedFace:
    fields = {"box": BOX, "probability": 0.99, "sharpness": 200.0, **changes}
    return FollowedFace(visit, file, seconds=seconds, **fields)


@pytest.fixture
def run() -> Iterator[Run]:
    found = Run()
    yield found
    found.encoder.free.set()
    found.collector.close()


def kept() -> list[tuple[str, str | None, int]]:
    """The visit, person and group of each kept face."""
    with closing(StrangerStore.open("alice")) as store:
        return store.select("SELECT visit, person, grp FROM faces ORDER BY id")


def test_the_embedding_is_the_one_that_the_function_computes(tmp_path: Path) -> None:
    model = small_model.install("small")
    pixels = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    box = (40.4, 30.6, 130.2, 140.9)
    found = FaceEncoder(model).embed(stream.getvalue(), box)
    assert found is not None
    # The steps of face-detection and face-recognition.
    image = decode_image(stream.getvalue(), max_bytes=10_000_000, max_pixels=10_000_000)
    crops = encode_crops(
        [crop_face(image, Face(box, 0.99, ()), "facenet")], "facenet", max_total_bytes=720_000
    )
    expected = Embedder(model, threads=1).embed([decode_crop(crops[0], "facenet")])[0]
    np.testing.assert_array_equal(found.embedding, expected)
    with Image.open(io.BytesIO(found.crop)) as crop:
        assert (crop.format, max(crop.size)) == ("JPEG", 165)


@pytest.mark.parametrize("box", [(400, 10, 500, 90), (-90, -90, -10, -10), (310, 230, 400, 300)])
def test_a_box_outside_the_image_is_embedded_as_the_function_does(box: Any) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (320, 240)).save(stream, "PNG")
    encoder = FaceEncoder(small_model.install("small"))
    assert encoder.embed(stream.getvalue(), box) is not None
    assert encoder.embed(b"not an image", BOX) is None


def test_without_the_deployments_model_nothing_is_collected() -> None:
    with pytest.raises(ModelError, match="No installed model"):
        StrangerCollector(
            DEPLOYMENT, RUN, CollectorOptions(Outputs("clip.avi")), report=lambda _: None
        )
    assert not path("alice").exists()


def test_faces_of_an_unknown_person_are_grouped_and_the_visit_is_told(run: Run) -> None:
    run.take(visit_id(1), person(1, 5))
    run.collector.flush()
    assert run.listener.groups[-1] == (visit_id(1), "s-1")
    assert kept() == [(visit_id(1), None, 1)] * 5


@pytest.mark.parametrize(
    "changes",
    [
        {"probability": 0.9},
        {"sharpness": 5.0},
        {"box": (10.0, 10.0, 45.0, 90.0)},
        # A frame that differs from what was decided over the visit.
        {"name": "Ada"},
        {"person": "Ada"},
    ],
)
def test_bad_faces_and_doubtful_names_are_not_kept(run: Run, changes: Any) -> None:
    run.take(visit_id(1), person(1, 5), **changes)
    run.collector.flush()
    assert kept() == []
    assert run.encoder.embedded == 0


def test_a_visit_is_kept_in_a_few_faces(run: Run) -> None:
    for step in range(100):
        run.collector.take(followed(visit_id(1), person(1, 1)[0].tobytes(), step / 10))
        run.collector.flush()
    run.take(visit_id(2), person(2, 60))
    run.collector.flush()
    run.take(visit_id(3), person(3, 60), name="Ada", person="Ada")
    run.collector.flush()
    counts = [sum(each[0] == visit_id(n) for each in kept()) for n in (1, 2, 3)]
    assert counts == [20, 20, 3]


def test_events_of_a_visit_do_not_make_room_for_more_of_its_faces(run: Run) -> None:
    faces = person(1, 40)
    run.take(visit_id(1), faces[:15])
    for kind in ("start", "update"):
        run.collector.see(event(visit_id(1), None, kind))
    for second, embedding in enumerate(faces[15:], 15):
        run.collector.take(followed(visit_id(1), embedding.tobytes(), second))
    run.collector.flush()
    assert len(kept()) == 20


def test_the_size_of_a_face_is_its_shorter_side(run: Run) -> None:
    run.take(visit_id(1), person(1, 1), box=(10.0, 20.0, 90.0, 70.0))
    run.take(visit_id(2), person(2, 1), box=(10.0, 20.0, 71.0, 270.0))
    run.collector.flush()
    with closing(StrangerStore.open("alice")) as store:
        sides = [store.faces_of_visit(visit_id(n))[0].side for n in (1, 2)]
    assert sides == [50, 61]


def test_a_visit_that_ends_without_its_group_is_told_of_it(run: Run) -> None:
    """The process that grouped its faces was killed before it could tell."""
    run.take(visit_id(1), person(1, 5))
    run.collector.flush()
    told = list(run.listener.groups)
    for each in (
        event(visit_id(1), None, "start"),
        event(visit_id(1), None, stranger="s-1"),
        event(visit_id(2), None),
    ):
        run.collector.see(each)
    run.collector.flush()
    assert run.listener.groups == told
    run.collector.see(event(visit_id(1), None, "end"))
    run.collector.flush()
    assert run.listener.groups == [*told, (visit_id(1), "s-1")]


def test_faces_of_named_visits_are_in_no_group(run: Run) -> None:
    run.take(visit_id(1), person(1, 5), name="Ada", person="Ada")
    run.collector.flush()
    assert kept() == [(visit_id(1), "Ada", 0)] * 3
    assert run.listener.groups == []


def test_a_full_queue_drops_faces_and_returns_at_once(run: Run) -> None:
    run.encoder.free.clear()
    for number in range(80):
        run.collector.take(followed(visit_id(number), person(1, 1)[0].tobytes(), 0))
    # 64 wait, while the thread is held back.
    assert run.collector.dropped == 80 - 64
    run.encoder.free.set()
    run.collector.flush()
    assert len(kept()) == 64


def test_an_image_that_cannot_be_decoded_is_left_out(run: Run) -> None:
    run.collector.take(followed(visit_id(1), b"", 0))
    run.collector.take(followed(visit_id(1), person(1, 1)[0].tobytes(), 1))
    run.collector.flush()
    assert len(kept()) == 1


def test_a_failure_is_reported_and_the_run_continues(run: Run) -> None:
    run.collector.take(followed(visit_id(1), b"broken", 0))
    run.collector.flush()
    run.collector.take(followed(visit_id(1), b"broken", 1))
    run.collector.see(event(visit_id(1), None))
    run.collector.flush()
    assert run.reports == ["No more faces of strangers are kept: the model failed"]


def test_a_visit_that_gets_a_name_leaves_its_group(run: Run) -> None:
    run.take(visit_id(1), person(1, 5))
    run.take(visit_id(2), person(1, 5))
    run.collector.flush()
    run.collector.see(event(visit_id(1), "Ada", "update"))
    run.collector.flush()
    assert {each for each in kept() if each[0] == visit_id(1)} == {(visit_id(1), "Ada", 0)}
    assert {each for each in kept() if each[0] == visit_id(2)} == {(visit_id(2), None, 1)}


def test_a_merged_visit_gives_its_faces_to_the_other(run: Run) -> None:
    run.take(visit_id(1), person(1, 2))
    run.take(visit_id(2), person(1, 2))
    merged = event(visit_id(2), None, into=visit_id(1))
    run.collector.see(VisitEvent.parse({**merged.as_dict(), "reason": "merged"}))
    run.collector.flush()
    assert {each[0] for each in kept()} == {visit_id(1)}


def test_an_ignored_person_is_not_kept_again_not_even_a_face_that_is_less_alike(
    run: Run,
) -> None:
    with closing(made()) as gallery, gallery.change("ignore") as change:
        for embedding in person(1, 3):
            change.add_anchor("ignored s-7", Reference(embedding))
        # A correction hides a face from a name, not from review.
        change.add_anchor("not 1", Reference(person(2, 1)[0]))
    turned_away = person(1, 1, spread=3.0)
    run.take(visit_id(1), np.concatenate([turned_away, person(1, 4)]))
    run.collector.flush()
    run.collector.see(event(visit_id(1), None, "start"))
    run.collector.take(followed(visit_id(1), turned_away.tobytes(), 60))
    run.collector.flush()
    run.take(visit_id(2), person(2, 4))
    run.collector.flush()
    assert kept() == [(visit_id(2), None, 1)] * 4


@pytest.mark.parametrize(("metric", "threshold"), [("euclidean", 0.8), ("cosine", 0.32)])
@pytest.mark.parametrize(("distance", "ignored"), [(0.71, True), (0.73, False)])
def test_an_ignored_person_is_known_within_nine_tenths_of_the_threshold(
    run: Run, metric: str, threshold: float, distance: float, ignored: bool
) -> None:
    one, other = person(1, 1, spread=0.0)[0], person(2, 1, spread=0.0)[0]
    other -= (other @ one) * one
    other /= np.linalg.norm(other)
    # Of embeddings of length 1: the squared distance is 2 (1 - cosine).
    cosine = 1 - distance**2 / 2
    face = (cosine * one + (1 - cosine**2) ** 0.5 * other).astype(np.float32)
    with closing(made()) as gallery:
        with gallery.change("ignore") as change:
            change.add_anchor("ignored s-7", Reference(one))
        people.configure(gallery, threshold=threshold, metric=metric, matching=None)
    run.take(visit_id(1), face[None])
    run.collector.flush()
    assert len(kept()) == (0 if ignored else 1)


def test_a_later_change_of_the_gallery_is_noticed(run: Run) -> None:
    run.take(visit_id(1), person(1, 3))
    run.collector.flush()
    assert len(kept()) == 3
    with closing(made()) as gallery, gallery.change("ignore") as change:
        change.add_anchor("ignored s-1", Reference(person(1, 1)[0]))
    run.take(visit_id(2), person(1, 3))
    run.collector.flush()
    assert {each[0] for each in kept()} == {visit_id(1)}


def test_the_gallery_is_opened_only_when_it_has_changed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    find = galleries.Store.find

    def counted(asu_id: str) -> galleries.Store | None:
        opened.append(asu_id)
        return find(asu_id)

    monkeypatch.setattr(galleries.Store, "find", counted)

    def after_faces(visit: int) -> int:
        run.take(visit_id(visit), person(visit, 5))
        run.collector.flush()
        return len(opened)

    # There is none.
    assert after_faces(1) == 0
    with closing(made()) as gallery, gallery.change("ignore") as change:
        change.add_anchor("ignored s-9", Reference(person(9, 1)[0]))
    assert after_faces(2) == 1
    assert after_faces(3) == 1
    # Also a threshold that is another one.
    with closing(made()) as gallery:
        people.configure(gallery, threshold=0.5, metric=None, matching=None)
    assert after_faces(4) == 2
    # Its file was deleted, which ends ignoring.
    galleries.path("alice").unlink()
    run.take(visit_id(9), person(9, 3))
    run.collector.flush()
    assert visit_id(9) in {each[0] for each in kept()}


def test_the_sources_of_a_process_share_one_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []

    class Counted(Embedder):
        def __init__(self, model: Any, *, threads: int) -> None:
            loads.append(threads)
            super().__init__(model, threads=threads)

    monkeypatch.setattr(crops, "Embedder", Counted)
    model = small_model.install("small")
    deployment = Deployment("alice", "aws", space=model.space)
    options = CollectorOptions(Outputs("clip.avi"))
    made_: list[StrangerCollector] = []

    def add(run: str) -> None:
        made_.append(StrangerCollector(deployment, run, options, report=print))

    threads = [threading.Thread(target=add, args=(f"{n:012d}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made_), loads) == (4, [1])
    while made_:
        made_.pop().close()
    gc.collect()
    add("another-run")
    assert loads == [1, 1]
    made_.pop().close()


def test_two_sources_share_their_groups() -> None:
    first, second = Run("aaaaaaaaaaaa"), Run("bbbbbbbbbbbb")
    for number, embedding in enumerate(person(1, 6)):
        run = (first, second)[number % 2]
        run.take(f"{number}", embedding[None])
        run.collector.flush()
    first.collector.close()
    second.collector.close()
    assert {group for _, _, group in kept()} == {1}


def test_faces_older_than_the_retention_are_deleted_when_a_run_starts() -> None:
    first = Run()
    first.take(visit_id(1), person(1, 3))
    first.collector.close()
    Run(now=first.now + 6 * 86_400).collector.close()
    assert len(kept()) == 3
    Run(now=first.now + 8 * 86_400).collector.close()
    assert kept() == []
    again = Run(retention=timedelta(hours=1))
    again.take(visit_id(2), person(1, 3))
    again.collector.close()
    Run(now=again.now + 3700, retention=timedelta(hours=1)).collector.close()
    assert kept() == []


def test_faces_of_another_model_are_deleted_and_that_is_said() -> None:
    first = Run()
    first.take(visit_id(1), person(1, 3))
    first.collector.close()
    with closing(StrangerStore.open("alice")) as store:
        store.put("space", "ffff/facenet")
    second = Run()
    second.collector.close()
    assert second.reports == ["3 faces of strangers were of another model and were deleted"]
    assert kept() == []


def test_an_amendment_of_a_running_run_is_passed_to_it(run: Run) -> None:
    run.collector.see(event(visit_id(1), None, "start"))
    run.collector.flush()
    with closing(StrangerStore.open("alice")) as store:
        with store.transaction():
            amendments.amend(store, event(visit_id(1), "Ada", "amend", amendment="a1"))
        # Another command leaves it to the run.
        assert amendments.deliver(store) == []
        assert store.select("SELECT count(*) FROM amendments") == [(1,)]
    run.collector.close()
    assert [(each.event, each.person) for each in run.listener.amended] == [("amend", "Ada")]


def test_a_run_continues_the_file_of_an_earlier_one_with_its_amendments(tmp_path: Path) -> None:
    """Only the visits of its file: those of another one are written by whoever amends them."""
    outputs = [Outputs("clip.avi", tmp_path / name) for name in ("visits.jsonl", "other.jsonl")]
    written: list[VisitEvent] = []
    options = CollectorOptions(outputs[0], past=(written.append,))
    encoder: Any = FakeEncoder()
    following = StrangerCollector(DEPLOYMENT, "following", options, report=print, encoder=encoder)
    with closing(StrangerStore.open("alice")) as store:
        for number, each in enumerate(outputs, 1):
            before = event(visit_id(number), None)
            amendments.remember(store, before, each, datetime.now(timezone.utc))
            with store.transaction():
                amend = event(visit_id(number), "Ada", "amend", amendment=f"a{number}")
                amendments.amend(store, amend)
        # The command that names somebody writes the other file, and says nothing of this one.
        assert amendments.deliver(store) == []
        assert store.select("SELECT visit FROM amendments") == [(visit_id(1),)]
        following.start(Listener())
        following.close()
        assert store.select("SELECT count(*) FROM amendments") == [(0,)]
    assert [(each.visit, each.person) for each in written] == [(visit_id(1), "Ada")]


def test_the_lock_of_a_killed_run_holds_nothing_up(run: Run) -> None:
    run.collector.see(event("deadbeef0000-1", None))
    run.collector.flush()
    lock = path("alice").with_name("alice-deadbeef0000.lock")
    lock.touch()
    with closing(StrangerStore.open("alice")) as store:
        with store.transaction():
            amendments.amend(store, event("deadbeef0000-1", "Ada", "amend", amendment="a1"))
        assert amendments.deliver(store) == []
        assert store.select("SELECT count(*) FROM amendments") == [(0,)]
    assert not lock.exists()


def test_only_the_owner_can_read_anything_of_strangers(run: Run) -> None:
    before = os.umask(0)
    try:
        run.take(visit_id(1), person(1, 3))
        run.collector.flush()
        folder = paths.data_dir() / "strangers"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for file in folder.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    finally:
        os.umask(before)


def everything() -> bytes:
    """The bytes of every file below the home folder."""
    home = paths.data_dir().parent
    return b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())


@pytest.mark.parametrize("how", ["prune", "forget", "person", "visit"])
def test_no_byte_of_a_deleted_face_is_left_in_any_file(run: Run, how: str) -> None:
    faces = person(1, 5)
    run.take(visit_id(1), faces)
    run.collector.flush()
    run.collector.close()
    found = everything()
    pieces = [piece for each in faces for piece in (each.tobytes(), crop_of(each))]
    # The start of each: SQLite divides long content into pages.
    assert all(piece[:400] in found for piece in pieces)
    with closing(StrangerStore.open("alice")) as store:
        if how == "prune":
            later = datetime.fromtimestamp(run.now, timezone.utc) + timedelta(days=8)
            assert store.prune(later) == 5
        elif how == "forget":
            assert store.forget(["s-1"]) == 5
        elif how == "person":
            with store.transaction():
                store.set_state(1, "named", "Ada")
            assert people.forget("alice", "Ada") == 5
        else:
            store.drop_visit(visit_id(1))
    left = everything()
    for piece in pieces:
        for start in range(0, len(piece) - 32, 32):
            assert piece[start : start + 32] not in left


def test_a_run_is_continued_by_one_process(run: Run) -> None:
    with pytest.raises(InputError, match="is continued by another process already"):
        Run()


def test_visits_without_an_end_need_no_memory_forever(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "_OPEN_VISITS", 5)
    for number in range(30):
        run.take(visit_id(number), person(number, 1))
        run.collector.flush()
    assert len(run.collector._taken) == 5
    assert len(kept()) == 30
