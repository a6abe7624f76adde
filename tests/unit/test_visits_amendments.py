"""Groups of strangers and amendments in the events of visits."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facectl.stream.outcomes import FrameOutcome
from facectl.visits.delivery import VisitFilter
from facectl.visits.file import VisitsFile
from facectl.visits.models import BestFace, SeenFace, SeenFrame, VisitEvent
from facectl.visits.order import FrameOrder
from facectl.visits.outputs import VisitCounts
from facectl.visits.recorder import FollowedFace, VisitRecorder
from facectl.visits.tracker import VisitOptions, VisitTracker
from lambda_src.contract import FrameResult, NamedFace

VISIT = "run-000000-0"


def outcome(index: int, name: str = "Unknown") -> FrameOutcome:
    faces = (NamedFace((10, 10, 60, 60), 0.99, name, 0.4),)
    answer = FrameResult(f"run-{index:06d}", name, faces)
    return FrameOutcome(index, f"f{index}", f"run-{index:06d}", index / 5, "answered", answer)


def image() -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (80, 80, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


class Faces:
    """Takes faces; `found` is called with the recorder when the run waits for them."""

    def __init__(self) -> None:
        self.taken: list[FollowedFace] = []
        self.seen: list[VisitEvent] = []
        self.recorder: VisitRecorder | None = None
        self.group: str | None = None

    def take(self, face: FollowedFace) -> None:
        self.taken.append(face)

    def see(self, event: VisitEvent) -> None:
        self.seen.append(event)

    def flush(self) -> None:
        if self.recorder is not None and self.group is not None:
            self.recorder.group(VISIT, self.group)


def recorded(frames: int, faces: Faces, *, options: VisitOptions | None = None) -> list[VisitEvent]:
    """The events of a stranger's frames."""
    events: list[VisitEvent] = []
    tracker = VisitTracker("run", "clip", options or VisitOptions())
    recorder = VisitRecorder(tracker, FrameOrder(hold=None), [events.append])
    recorder.pass_faces_to(faces)
    faces.recorder = recorder
    recorder.start()
    for index in range(frames):
        recorder.images.keep(index, image())
        recorder(outcome(index))
    recorder.close("finished")
    return events


def test_followed_faces_are_passed_on_with_their_visit_and_frame() -> None:
    faces = Faces()
    recorded(5, faces)
    assert [(face.visit, face.seconds) for face in faces.taken] == [
        (VISIT, index / 5) for index in range(5)
    ]
    assert {(face.name, face.person) for face in faces.taken} == {(None, None)}
    assert all(face.file == image() and face.sharpness > 20 for face in faces.taken)


def test_the_group_of_an_open_visit_is_an_update_and_in_its_end() -> None:
    faces = Faces()
    faces.group = "s-7"
    events = recorded(12, faces)
    assert [(each.event, each.stranger) for each in events] == [
        ("start", None), ("update", "s-7"), ("end", "s-7"),
    ]  # fmt: skip
    assert events == faces.seen
    assert events[1].as_dict()["stranger"] == "s-7"
    assert "stranger" not in events[0].as_dict()
    assert VisitEvent.parse(events[1].as_dict()).stranger == "s-7"


def tracker_of(*names: str | None) -> tuple[VisitTracker, list[VisitEvent]]:
    tracker = VisitTracker("run", "clip", VisitOptions())
    events = []
    for index, name in enumerate(names):
        face = SeenFace((0, 0, 100, 100), 1.0, name)
        events += tracker.see(SeenFrame(index, f"f{index}", index / 5, (face,)))
    return tracker, events


def test_a_group_is_told_once_and_not_of_a_known_person() -> None:
    tracker, _ = tracker_of(*[None] * 5)
    told = tracker.group(VISIT, "s-1")
    assert told is not None
    assert [each.event for each in told] == ["update"]
    assert tracker.group(VISIT, "s-1") == []
    assert tracker.group("run-000099-0", "s-1") is None
    known, _ = tracker_of(*["Ann"] * 5)
    assert known.group(VISIT, "s-1") == []
    assert known.close("finished")[0].stranger is None


def test_two_updates_of_one_frame_have_ids_of_their_own() -> None:
    tracker, _ = tracker_of(*[None] * 5)
    told = [*(tracker.group(VISIT, "s-1") or ()), *(tracker.group(VISIT, "s-2") or ())]
    assert len({each.key for each in told}) == 2


@pytest.mark.parametrize("stated", ["Ann", None])
def test_what_the_user_stated_holds_for_the_rest_of_an_open_visit(stated: str | None) -> None:
    tracker, _ = tracker_of(*["Bob"] * 5)
    tracker.state(VISIT, stated)
    assert [each.person for each in tracker.close("finished")] == [stated]


class Sink:
    """Keeps events; `until` waits for one of a kind."""

    def __init__(self) -> None:
        self.events: list[VisitEvent] = []
        self._arrived = threading.Condition()

    def __call__(self, event: VisitEvent) -> None:
        with self._arrived:
            self.events.append(event)
            self._arrived.notify_all()

    def until(self, kind: str) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: kind in {e.event for e in self.events}, 60)


def test_a_running_run_passes_amendments_on_and_continues_with_them() -> None:
    sink = Sink()
    recorder = VisitRecorder(
        VisitTracker("run", "clip", VisitOptions()), FrameOrder(hold=None), [sink]
    )
    recorder.start()
    for index in range(12):
        recorder(outcome(index))
    sink.until("start")
    amendment = replace(some_event(), event="amend", person="Ann", amendment="a1")
    recorder.amend([amendment])
    recorder.close("finished")
    assert [(each.event, each.person) for each in sink.events] == [
        ("start", None), ("amend", "Ann"), ("end", "Ann"),
    ]  # fmt: skip


def some_event(visit: str = VISIT, kind: str = "end", person: str | None = None) -> VisitEvent:
    best = BestFace(2, "f2", 0.2, (1.0, 2.0, 3.0, 4.0), 0.9)
    return VisitEvent(
        kind, visit, "clip", person, 0.5, 0.0, 1.0, 9, 3, 3, best, (),  # type: ignore[arg-type]
        "finished" if kind == "end" else None, time="2026-01-01T00:00:00Z",
    )  # fmt: skip


def test_a_group_that_is_found_after_the_end_is_an_amendment() -> None:
    sink = Sink()
    recorder = VisitRecorder(
        VisitTracker("run", "clip", VisitOptions(gap=0.5)), FrameOrder(hold=None), [sink]
    )
    recorder.start()
    for index in range(12):
        recorder(outcome(index))
    empty = FrameResult("run-000012", "No-Face", ())
    recorder(FrameOutcome(12, "f12", "run-000012", 9.0, "answered", empty))
    sink.until("end")
    recorder.group(VISIT, "s-3")
    recorder.close("finished")
    assert [(each.event, each.stranger) for each in sink.events] == [
        ("start", None), ("end", None), ("amend", "s-3"),
    ]  # fmt: skip


def test_a_group_is_told_of_the_last_of_many_ended_visits_and_of_no_unknown_one() -> None:
    sink = Sink()
    recorder = VisitRecorder(
        VisitTracker("run", "clip", VisitOptions()), FrameOrder(hold=None), [sink]
    )
    recorder.start([some_event(f"one-{number:06d}-0") for number in range(1005)])
    sink.until("end")
    # One was too short to be a visit.
    recorder.group("one-999999-0", "s-1")
    recorder.group("one-001004-0", "s-2")
    recorder.close("finished")
    [amended] = sink.events[1005:]
    assert (amended.event, amended.visit, amended.stranger) == ("amend", "one-001004-0", "s-2")


def test_the_group_of_one_visit_is_not_told_of_another() -> None:
    tracker = VisitTracker("run", "clip", VisitOptions())
    for index in range(5):
        faces = tuple(SeenFace((x, 0, x + 100, 100), 1.0) for x in (0, 500, 1000))
        tracker.see(SeenFrame(index, f"f{index}", index / 5, faces))
    told = tracker.group("run-000000-1", "s-1")
    assert told is not None
    assert [each.visit for each in told] == ["run-000000-1"]
    tracker.state("run-000000-1", "Ann")
    ended = {each.visit: (each.person, each.stranger) for each in tracker.close("finished")}
    assert ended == {
        "run-000000-0": (None, None),
        "run-000000-1": ("Ann", None),
        "run-000000-2": (None, None),
    }


def test_an_amendment_opens_no_visit(tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    amendment = replace(some_event(person="Ann"), event="amend", amendment="a1")
    with closing(VisitsFile(path, "run")) as file:
        for event in (some_event(kind="start"), some_event(), amendment):
            file(event)
    with closing(VisitsFile(path, "other")) as file:
        assert list(file.lost()) == []
    # Nor is it written twice.
    with closing(VisitsFile(path, "run")) as file:
        file(amendment)
    assert path.read_text().count("amend/a1") == 1
    counts = VisitCounts()
    for event in (some_event(kind="start"), some_event(), amendment):
        counts(event)
    assert counts.text() == "1 visit: unknown 1"


def test_a_visit_that_was_amended_while_it_is_open_is_lost_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    amendment = replace(some_event(person="Ann"), event="amend", amendment="a1", reason=None)
    with closing(VisitsFile(path, "run")) as file:
        for event in (some_event(kind="start"), amendment):
            file(event)
    with closing(VisitsFile(path, "other")) as file:
        assert [(e.event, e.person) for e in file.lost()] == [("end", "Ann")]


def test_a_receiver_of_a_visit_gets_its_amendment_after_the_end() -> None:
    unknown = VisitFilter(["unknown"])
    amendment = replace(some_event(person="Ann"), event="amend", amendment="a1")
    assert [unknown.passes(e) for e in (some_event(kind="start"), some_event(), amendment)] == [
        True, True, True,
    ]  # fmt: skip
    other = replace(amendment, visit="run-000009-0")
    assert not VisitFilter(["unknown"]).passes(other)
    assert VisitFilter(["Ann"]).passes(other)
