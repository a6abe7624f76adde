"""Outcomes come in any order; events are written whole, once, and in the order of frames."""

from __future__ import annotations

import json
import os
import random
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_clock import FakeClock

from facectl.errors import FacectlError, InputError
from facectl.stream.outcomes import FrameOutcome, Status
from facectl.visits import file as file_module
from facectl.visits.file import CropFolder, VisitsFile
from facectl.visits.images import SentImages, crop_file, grey_of, sharpness
from facectl.visits.models import BestFace, SeenFace, VisitEvent
from facectl.visits.order import FrameOrder
from facectl.visits.outputs import VisitCounts
from facectl.visits.recorder import VisitRecorder
from facectl.visits.tracker import VisitOptions, VisitTracker
from lambda_src.contract import FrameResult, NamedFace


def outcome(index: int, name: str | None = "Ann", status: Status = "answered") -> FrameOutcome:
    answer = None
    if status in {"answered", "late"}:
        faces = None
        if name is not None:
            faces = (NamedFace((10, 10, 60, 60), 0.99, name, 0.4),)
        answer = FrameResult(f"run-{index:06d}", name or "Error", faces)
    return FrameOutcome(index, f"f{index}", f"run-{index:06d}", index / 10, status, answer)


def event(number: int = 0, *, visit: str = "run-000000-0", **fields: Any) -> VisitEvent:
    values: dict[str, Any] = {
        "event": "start", "visit": visit, "source": "clip", "person": "Ann", "score": 0.5,
        "first": 0.0, "last": 1.0, "frame": number, "frames": 3, "agreeing": 3,
        "best": BestFace(2, "f2", 0.2, (1.0, 2.0, 3.0, 4.0), 0.9), "time": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return VisitEvent(**{**values, **fields})


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


# Order


def indices(order: FrameOrder) -> list[int]:
    return [each.index for each in order.ready()]


def test_outcomes_wait_for_those_of_earlier_frames() -> None:
    order = FrameOrder(hold=None)
    for index, ready in ((1, []), (2, []), (0, [0, 1, 2]), (4, []), (3, [3, 4])):
        order.add(outcome(index))
        assert indices(order) == ready


def test_a_missing_frame_is_passed_over_after_a_time() -> None:
    clock = FakeClock()
    order = FrameOrder(hold=2.0, clock=clock)
    order.add(outcome(1))
    clock.now += 1.9
    order.add(outcome(2))
    assert indices(order) == []
    clock.now += 0.2
    assert indices(order) == [1, 2]
    # Its answer comes too late.
    assert not order.add(outcome(0))
    assert order.dropped == 1
    order.add(outcome(3))
    assert indices(order) == [3]


def test_a_missing_frame_is_passed_over_when_too_many_wait() -> None:
    order = FrameOrder(hold=None, most=3)
    for index in (5, 2, 3):
        order.add(outcome(index))
    assert indices(order) == []
    order.add(outcome(9))
    assert indices(order) == [2, 3]
    assert [each.index for each in order.rest()] == [5, 9]


def test_a_late_answer_to_an_unanswered_frame_is_dropped() -> None:
    order = FrameOrder(hold=None)
    order.add(outcome(0, status="unanswered"))
    assert indices(order) == [0]
    order.add(outcome(0, status="late"))
    assert order.dropped == 1
    assert indices(order) == []


# File


def test_events_are_appended_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    track = ((0.0, (1.0, 2.0, 3.0, 4.0)), (0.5, (2.0, 3.0, 4.0, 5.0)))
    written = [event(), event(5, event="update"), event(9, event="end", reason="left", track=track)]
    for each in written:
        # Opened again each time, as by several runs.
        file = VisitsFile(path, "other")
        file(each)
        file.close()
    found = lines(path)
    assert [VisitEvent.parse(fields) for fields in found] == written
    assert [fields["event"] for fields in found] == ["start", "update", "end"]
    assert found[2]["track"] == [[0.0, 1, 2, 3, 4], [0.5, 2, 3, 4, 5]]
    assert "track" not in found[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_resumed_run_writes_no_event_twice(tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    first = VisitsFile(path, "run")
    first(event())
    first(event(7, event="end", reason="interrupted"))
    first.close()
    again = VisitsFile(path, "run")
    # The start of this visit is in the file, whatever frame it is reported after this time.
    again(event(1))
    again(event(9, event="update"))
    again.close()
    assert [fields["id"] for fields in lines(path)] == [
        "run-000000-0/start",
        "run-000000-0/end/interrupted/7",
        "run-000000-0/update/9",
    ]
    # Its visits are not lost ones.
    file = VisitsFile(path, "run")
    assert list(file.lost()) == []
    file.close()


def test_visits_of_a_run_that_was_killed_are_ended_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    killed = VisitsFile(path, "run")
    killed(event())
    killed(event(visit="run-000004-0"))
    killed(event(8, visit="run-000004-0", event="end", reason="left"))
    killed.close()
    following = VisitsFile(path, "next")
    [end] = following.lost()
    assert (end.visit, end.event, end.reason, end.person) == ("run-000000-0", "end", "lost", "Ann")
    following(end)
    following.close()
    third = VisitsFile(path, "third")
    assert list(third.lost()) == []
    third.close()


@pytest.mark.parametrize("complete", [0, 1, 2])
@pytest.mark.parametrize("cut", [1, 8, 50, -1])
def test_an_incomplete_last_line_is_removed(tmp_path: Path, complete: int, cut: int) -> None:
    path = tmp_path / "visits.jsonl"
    whole = VisitsFile(path, "run")
    for number in range(complete + 1):
        whole(event(visit=f"run-{number:06d}-0"))
    whole.close()
    written = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*written[:-1], written[-1][:cut]]))
    if complete == 0 and cut < 50 and cut > 0:
        # It could be the beginning of anything.
        with pytest.raises(InputError, match="line 1 is not an event"):
            VisitsFile(path, "next")
        return
    file = VisitsFile(path, "next")
    file(event(visit="next-000000-0"))
    file.close()
    expected = [f"run-{number:06d}-0" for number in range(complete)]
    assert [fields["visit"] for fields in lines(path)] == [*expected, "next-000000-0"]


def test_the_newest_event_of_each_earlier_run_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    written = [
        event(visit="one-000000-0"),
        event(5, visit="one-000000-0", event="end", reason="left"),
        event(visit="two-000000-0"),
        event(visit="one-000000-0", event="amend", amendment="a1"),
        event(visit="next-000000-0"),
    ]
    with closing(VisitsFile(path, "other")) as file:
        for each in written:
            file(each)
    with closing(VisitsFile(path, "next")) as file:
        # An amendment is passed on by who made it.
        assert file.newest() == [written[1], written[2]]
        assert file.newest() == []


def test_a_resumed_run_finds_its_events_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    run = "0123456789abcdef0123456789abcdef"
    for _ in range(2):
        with closing(VisitsFile(path, run)) as file:
            recorder = VisitRecorder(
                VisitTracker(run, "clip", VisitOptions()), FrameOrder(hold=None), [file]
            )
            recorder.start(file.lost())
            for index in range(9):
                recorder(outcome(index))
            recorder.close("finished")
    assert [(each["event"], each["visit"]) for each in lines(path)] == [
        ("start", "0123456789ab-000000-0"),
        ("end", "0123456789ab-000000-0"),
    ]


@pytest.mark.parametrize(
    "content", ["hello\n", "[]\n", "{}\n", '{"event": "start"}\n', '{"event": "dance"}\n', "7\n"]
)
def test_a_file_with_other_content_is_not_touched(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(InputError, match="line 1 is not an event") as error:
        VisitsFile(path, "run")
    assert error.value.hint == "give --visits another file"
    assert path.read_text() == content


def test_a_file_of_other_content_without_a_line_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff no line")
    with pytest.raises(InputError, match="line 1 is not an event"):
        VisitsFile(path, "run")
    assert path.read_bytes() == b"\xff\xd8\xff no line"


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    file = VisitsFile(path, "run")
    with pytest.raises(InputError, match="is being written by another process"):
        VisitsFile(path, "next")
    file.close()
    VisitsFile(path, "next").close()


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be written: Is a directory"):
        VisitsFile(tmp_path, "run")
    with pytest.raises(InputError, match="No such file or directory"):
        VisitsFile(tmp_path / "missing" / "visits.jsonl", "run")


def test_a_full_disk_leaves_no_part_of_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "visits.jsonl"
    file = VisitsFile(path, "run")
    file(event())
    before = path.read_bytes()
    write = file._file.write
    monkeypatch.setattr(file, "_file", _Short(file._file, write))
    with pytest.raises(FacectlError, match="the disk is full"):
        file(event(3, event="update"))
    assert path.read_bytes() == before


class _Short:
    """A file that takes half of what is written."""

    def __init__(self, file: Any, write: Any) -> None:
        self._file = file
        self._write = write

    def write(self, data: bytes) -> int:
        return int(self._write(data[: len(data) // 2]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_every_event_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(file_module.os, "fsync", lambda _: synced.append(path.stat().st_size))
    path = tmp_path / "visits.jsonl"
    file = VisitsFile(path, "run")
    file(event())
    file(event(3, event="update"))
    assert len(synced) == 2
    assert synced[1] == path.stat().st_size


def test_counts_of_visits() -> None:
    counts = VisitCounts()
    assert counts.text() == "no visits"
    counts(event(visit="a", person=None))
    assert counts.text() == "1 visit: unknown 1"
    counts(event(visit="b", event="end", reason="left", person="Ann"))
    counts(event(visit="c", event="end", reason="merged", person="Ann"))
    counts(event(visit="d", event="end", reason="lost", person="Ann"))
    counts(event(visit="e"))
    counts(event(visit="e", event="end", reason="finished", person="Bob"))
    assert counts.text() == "3 visits: Ann 1, Bob 1, unknown 1"


# Images


def jpeg(blur: float = 0) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    if blur:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), blur), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def test_sharpness_falls_with_blur_and_is_none_outside_the_image() -> None:
    grey, soft = grey_of(jpeg()), grey_of(jpeg(blur=3))
    assert grey is not None
    assert soft is not None
    box = (10.0, 10.0, 100.0, 100.0)
    sharp, blurred = sharpness(grey, box), sharpness(soft, box)
    assert sharp is not None
    assert blurred is not None
    assert sharp > 10 * blurred
    assert sharpness(grey, (500, 500, 600, 600)) is None
    assert sharpness(grey, (50, 50, 50, 50)) is None
    assert grey_of(b"no image") is None


def test_a_crop_has_a_margin_and_ends_at_the_image() -> None:
    def size(box: tuple[float, float, float, float]) -> tuple[int, ...] | None:
        crop = crop_file(jpeg(), box)
        return None if crop is None else cv2.imdecode(np.frombuffer(crop, np.uint8), 1).shape[:2]

    assert size((40, 40, 80, 80)) == (60, 60)
    assert size((-20, -20, 40, 40)) == (55, 55)
    assert size((400, 400, 440, 440)) is None
    assert crop_file(b"no image", (0, 0, 10, 10)) is None


def test_the_oldest_images_are_dropped_beyond_the_capacity() -> None:
    images = SentImages(capacity=25)
    for index in range(4):
        images.keep(index, b"x" * 10)
    assert [images.take(index) for index in range(4)] == [None, None, b"x" * 10, b"x" * 10]
    images.keep(7, b"x" * 26)
    assert images.take(7) is None


# Recorder


def recorded(
    outcomes: list[FrameOutcome], *, crops: Path | None = None, images: bool = False
) -> list[VisitEvent]:
    events: list[VisitEvent] = []
    recorder = VisitRecorder(
        VisitTracker("run", "clip", VisitOptions(crops=crops is not None)),
        FrameOrder(hold=None),
        [events.append],
        crops=None if crops is None else CropFolder(crops),
        now=lambda: 1_767_225_600.25,
    )
    recorder.start()
    for each in outcomes:
        if images:
            recorder.images.keep(each.index, jpeg())
        recorder(each)
    recorder.close("finished")
    recorder.close("interrupted")
    return events


def test_any_order_of_answers_gives_the_same_events() -> None:
    outcomes = [outcome(i, "Ann" if i < 20 else "Unknown") for i in range(60)]
    outcomes[7] = outcome(7, status="unanswered")
    outcomes[9] = outcome(9, None)
    expected = recorded(outcomes)
    assert [(e.event, e.person) for e in expected] == [
        ("start", "Ann"),
        ("end", "Ann"),
    ]
    assert expected[-1].frames == 58
    assert expected[0].time == "2026-01-01T00:00:00.250Z"
    for seed in range(5):
        shuffled = list(outcomes)
        random.Random(seed).shuffle(shuffled)
        assert recorded(shuffled) == expected


def test_frames_after_one_that_was_never_answered_count_at_the_end() -> None:
    [*_, end] = recorded([outcome(i) for i in range(20) if i != 3])
    assert (end.event, end.frames, end.frame) == ("end", 19, 19)


@pytest.mark.parametrize("synthetic", [True, False])
def test_events_say_whether_the_weights_are_synthetic(synthetic: bool) -> None:
    events: list[VisitEvent] = []
    recorder = VisitRecorder(
        VisitTracker("run", "clip", VisitOptions()),
        FrameOrder(hold=None),
        [events.append],
        synthetic=synthetic,
    )
    # That of an earlier run says it already.
    lost = event(visit="one-000000-0", event="end", reason="lost", synthetic=True)
    recorder.start([lost])
    for index in range(9):
        recorder(outcome(index))
    recorder.close("finished")
    assert [each.synthetic for each in events] == [True, synthetic, synthetic]


def test_answers_that_come_too_late_are_counted() -> None:
    recorder = VisitRecorder(
        VisitTracker("run", "clip", VisitOptions()), FrameOrder(hold=None, most=1), []
    )
    recorder.start()
    for index in (1, 2, 0):
        recorder(outcome(index))
    recorder.close("finished")
    assert recorder.dropped == 1


def test_the_best_crop_is_kept_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    events = recorded([outcome(i) for i in range(20)], crops=folder, images=True)
    file = Path(str(events[-1].best.file))
    assert [file] == list(folder.iterdir())
    assert file.name == "run-000000-0.jpg"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert grey_of(file.read_bytes()) is not None
    assert events[-1].as_dict()["best"]["file"] == str(file)


def test_a_folder_of_crops_is_created_once_with_those_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "kept" / "crops"
    for _ in range(2):
        events = recorded([outcome(i) for i in range(20)], crops=folder, images=True)
        assert events[-1].best.file == str(folder / "run-000000-0.jpg")


def test_a_small_face_has_a_crop_too(tmp_path: Path) -> None:
    face = NamedFace((10, 10, 18, 18), 0.99, "Unknown", 0.4)
    outcomes = [
        FrameOutcome(i, f"f{i}", "", i / 10, "answered", FrameResult("", "Unknown", (face,)))
        for i in range(20)
    ]
    events = recorded(outcomes, crops=tmp_path, images=True)
    assert [file.name for file in tmp_path.iterdir()] == ["run-000000-0.jpg"]
    assert events[-1].best.file is not None


def test_without_a_folder_no_crop_is_made() -> None:
    events = recorded([outcome(i) for i in range(20)], images=True)
    assert events[-1].best.crop is None
    assert "file" not in events[-1].as_dict()["best"]


def test_an_error_of_a_sink_ends_the_run() -> None:
    def full(_: VisitEvent) -> None:
        raise FacectlError("the disk is full")

    recorder = VisitRecorder(
        VisitTracker("run", "clip", VisitOptions()), FrameOrder(hold=None), [full]
    )
    recorder.start()
    # The thread may fail while outcomes still arrive; the next one then raises its error.
    with suppress(FacectlError):
        for index in range(20):
            recorder(outcome(index))
    recorder._thread.join(120)
    with pytest.raises(FacectlError, match="the disk is full"):
        recorder(outcome(20))
    with pytest.raises(FacectlError, match="the disk is full"):
        recorder.close("finished")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="can't be created"):
        CropFolder(tmp_path / "crops")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "crops").write_text("")
    with pytest.raises(InputError, match="can't be created"):
        CropFolder(tmp_path / "crops")


def test_the_name_of_an_answer() -> None:
    assert SeenFace.of(NamedFace((0, 0, 1, 1), 0.9, "Unknown", None)).name is None
    assert SeenFace.of(NamedFace((0, 0, 1, 1), 0.9, "Ann", 0.4)).name == "Ann"
