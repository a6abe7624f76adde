"""The demo's clip: what it shows, and how the answers are compared with it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facectl.demo import clip, people
from facectl.demo.seen import Seen, compare, wrong

PORTRAITS = Path(people.__file__).with_name("portraits")


def test_the_clip_is_the_same_every_time_and_as_long_as_its_answers() -> None:
    frames = list(clip.frames())
    assert {(frame.shape, str(frame.dtype)) for frame in frames} == {((360, 640, 3), "uint8")}
    assert len(frames) == len(clip.expected()) == len(clip.people_shown()) == 60

    def digest(pictures: list[np.ndarray]) -> str:
        return hashlib.sha256(b"".join(frame.tobytes() for frame in pictures)).hexdigest()

    assert digest(frames) == digest(list(clip.frames()))


def test_the_clip_has_several_people_a_stranger_two_faces_and_no_face() -> None:
    answers = set(clip.expected())
    assert {"No-Face", "Unknown", "Eileen Collins", "Barack Obama"} <= answers
    assert {"Eileen Collins,Barack Obama", "Barack Obama,Unknown"} <= answers
    names = {name for shown in clip.people_shown() for name in shown}
    assert names - set(people.ENROLLED) == people.STRANGERS


def test_one_person_is_enrolled_from_a_photograph_that_the_clip_does_not_show() -> None:
    enrolled = people.ENROLLED[people.OBAMA]()
    shown = [people.OBAMA_2009.pixels(), people.OBAMA_2010.pixels()]
    assert all(not np.array_equal(enrolled, each) for each in shown)


def test_every_face_is_wholly_in_its_frame() -> None:
    for scene in clip.SCENES:
        for each in scene.shown:
            for part in (0.0, 0.5, 1.0):
                x, y, height, _ = each.pose(part)
                assert height / 2 < y < clip.HEIGHT - height / 2
                assert height / 2 < x < clip.WIDTH - height / 2
        places = [each.start[0] for each in scene.shown]
        assert places == sorted(places), "expected() reads the people from left to right"


def test_the_written_clip_can_be_read(tmp_path: Path) -> None:
    file = clip.write(tmp_path / "new" / "clip.mp4")
    video = cv2.VideoCapture(str(file))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 60
    assert [path.name for path in file.parent.iterdir()] == ["clip.mp4"]


def test_the_photographs_are_small_and_their_sources_are_named() -> None:
    sources = (PORTRAITS / "SOURCES.txt").read_text()
    files = sorted(PORTRAITS.glob("*.jpg"))
    assert len(files) == 4
    for file in files:
        data = file.read_bytes()
        assert len(data) <= 40_000
        with Image.open(io.BytesIO(data)) as image:
            assert image.width == 320
            assert not image.getexif()
        entry = sources.partition(f"\n{file.name}\n")[2].partition("\n\n")[0]
        for fact in ("Subject:", "Author:", "Source:", "Licence:  public domain"):
            assert fact in entry, (file.name, fact)


def test_the_enrolled_photographs_are_written_in_a_folder_for_each_person(tmp_path: Path) -> None:
    files = people.write_enrolled(tmp_path)
    assert {name: file.parent.name for name, file in files.items()} == {
        name: name for name in people.ENROLLED
    }
    assert all(Image.open(file).format == "JPEG" for file in files.values())


SHOWN = [("Ada",), ("Ada", "Eve"), ("Eve",), ()]
EXPECTED = ["Ada", "Ada,Unknown", "Unknown", "No-Face"]


@pytest.mark.parametrize(
    ("results", "right"),
    [
        (EXPECTED, {"Ada": 2, "Eve": 2, None: 1}),
        (["Ada", "Unknown,Ada", "Ada", "Unknown"], {"Ada": 1, "Eve": 0, None: 0}),
        # One face was missed: nobody can say whose the answer is.
        (["Ada", "Ada", "Unknown", "No-Face"], {"Ada": 1, "Eve": 1, None: 1}),
        (["Ada,Unknown", "Ada,Ada", "Error", "No-Face"], {"Ada": 1, "Eve": 0, None: 1}),
    ],
)
def test_answers_are_counted_by_person(results: list[str], right: dict[str | None, int]) -> None:
    rows = compare(SHOWN, EXPECTED, dict(enumerate(results)))
    assert {row.person: row.right for row in rows} == right
    assert [(row.person, row.answer, row.frames) for row in rows] == [
        ("Ada", "Ada", 2),
        ("Eve", "Unknown", 2),
        (None, "No-Face", 1),
    ]
    differing = [i for i, (a, b) in enumerate(zip(results, EXPECTED, strict=True)) if a != b]
    assert wrong(EXPECTED, dict(enumerate(results))) == differing


def test_a_frame_without_an_answer_counts_as_wrong() -> None:
    assert compare(SHOWN, EXPECTED, {0: "Ada"}) == [
        Seen("Ada", "Ada", 2, 1),
        Seen("Eve", "Unknown", 2, 0),
        Seen(None, "No-Face", 1, 0),
    ]
    assert wrong(EXPECTED, {0: "Ada"}) == [1, 2, 3]
