"""Bounding boxes and names in a video of exactly the sent frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facectl.errors import InputError
from facectl.stream.annotate import Clip, annotated, draw_all
from facectl.stream.frames import Encoding, Frame
from facectl.stream.live import LiveSource
from facectl.stream.outcomes import FrameOutcome, Status
from facectl.stream.run_file import RunFile
from facectl.stream.sampling import Sampling
from facectl.stream.sources import Images, open_source
from lambda_src.contract import FrameResult, NamedFace

GREY = np.full((120, 200, 3), 128, np.uint8)


def read(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while True:
        more, pixels = capture.read()
        if not more:
            return frames
        frames.append(pixels)


def answer(*faces: NamedFace) -> FrameResult:
    return FrameResult("r", ",".join(f.name for f in faces) or "No-Face", faces)


def face(name: str, *box: float) -> NamedFace:
    return NamedFace((box[0], box[1], box[2], box[3]), 0.9, name, 0.3)


def test_a_box_is_drawn_around_the_face_and_the_input_is_unchanged() -> None:
    drawn = annotated(GREY, "answered", answer(face("Ann", 50, 40, 90, 80)), synthetic=False)
    assert (GREY == 128).all()
    assert tuple(drawn[80, 70]) == (80, 200, 80)
    assert tuple(drawn[60, 70]) == (128, 128, 128)
    assert (drawn[20:40, 50:70] != 128).any()
    assert (drawn[82:] == 128).all()


def test_an_unknown_face_has_another_colour() -> None:
    drawn = annotated(GREY, "answered", answer(face("Unknown", 50, 40, 90, 80)), synthetic=False)
    assert tuple(drawn[80, 70]) == (60, 170, 250)


@pytest.mark.parametrize("box", [(-30, -30, 20, 20), (190, 100, 400, 300), (500, 500, 600, 600)])
@pytest.mark.parametrize(
    "name", ["Ann", "Grace Brewster Murray Hopper " * 9, "José 王伟", "a\x1b[2J"]
)
def test_boxes_and_names_may_exceed_the_frame(box: tuple[int, int, int, int], name: str) -> None:
    drawn = annotated(GREY, "answered", answer(face(name, *box)), synthetic=True)
    assert drawn.shape == GREY.shape
    assert (drawn != GREY).any()


def test_names_outside_ascii_are_drawn() -> None:
    one, other = (
        annotated(GREY, "answered", answer(face(n, 50, 40, 90, 80)), synthetic=False)
        for n in ("王", "伟")
    )
    assert (one != other).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 400, 3), (400, 3, 3)])
def test_the_smallest_frames_can_be_annotated(shape: tuple[int, int, int]) -> None:
    tiny = np.zeros(shape, np.uint8)
    assert annotated(tiny, "unanswered", None, synthetic=True).shape == shape


def test_synthetic_weights_are_named_in_the_frame() -> None:
    plain, marked = (
        annotated(GREY, "answered", answer(face("Ann", 50, 60, 90, 90)), synthetic=synthetic)
        for synthetic in (False, True)
    )
    assert (plain[:20] == GREY[:20]).all()
    assert tuple(marked[1, 1]) == (40, 40, 210)


def images(folder: Path, *sizes: tuple[int, int]) -> Images:
    for n, (width, height) in enumerate(sizes):
        cv2.imwrite(str(folder / f"i{n}.png"), np.full((height, width, 3), 20 * n, np.uint8))
    source = open_source([str(folder)], Sampling())
    assert isinstance(source, Images)
    return source


def run_of(*statuses: Status) -> RunFile:
    run_file = RunFile.temporary()
    for index, status in enumerate(statuses):
        found = answer() if status == "answered" else None
        run_file.sent(index, f"i{index}", 0.0)
        run_file.done(FrameOutcome(index, f"i{index}", f"r{index}", 0.0, status, answer=found))
    return run_file


def test_the_video_has_exactly_the_sent_frames(tmp_path: Path) -> None:
    source = images(tmp_path, *[(64, 48)] * 5)
    path = tmp_path / "out.mp4"
    drawn: list[int] = []
    draw_all(
        Clip(path, 5.0),
        source,
        Encoding(),
        run_of("answered", "refused", "unanswered", "unsent"),
        synthetic=False,
        progress=drawn.append,
    )
    frames = read(path)
    assert [round(float(f[:20].mean()) / 20) for f in frames] == [0, 2]
    assert drawn == [1, 2]
    assert list(tmp_path.glob(".*")) == []


def test_odd_and_different_sizes_are_fitted_to_the_first(tmp_path: Path) -> None:
    source = images(tmp_path, (101, 51), (400, 100), (20, 90))
    path = tmp_path / "out.mp4"
    run_file = run_of("answered", "answered", "answered")
    draw_all(Clip(path, 1.0), source, Encoding(), run_file, synthetic=False)
    assert [f.shape for f in read(path)] == [(52, 102, 3)] * 3


def test_frames_are_drawn_with_the_encoding_that_was_sent(tmp_path: Path) -> None:
    source = images(tmp_path, (200, 100))
    path = tmp_path / "out.mp4"
    draw_all(Clip(path, 1.0), source, Encoding(max_side=50), run_of("answered"), synthetic=False)
    assert [f.shape for f in read(path)] == [(26, 50, 3)]


class NoCamera:
    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, _: int) -> float:
        return 10.0


def test_the_sent_images_of_a_camera_are_drawn(tmp_path: Path) -> None:
    source = LiveSource(0, Sampling(), capture=NoCamera)
    run_file = run_of("answered", "answered")
    for index in (1, 0):
        sent = Frame(index, "", 0.0, pixels=np.full((48, 64, 3), 100 * index, np.uint8))
        run_file.keep_image(index, Encoding().file_of(sent))
    path = tmp_path / "out.mp4"
    draw_all(Clip(path, source.rate), source, Encoding(max_side=16), run_file, synthetic=False)
    assert [round(float(f[:20].mean()) / 100) for f in read(path)] == [0, 1]


def test_an_interrupted_video_leaves_no_file(tmp_path: Path) -> None:
    source = images(tmp_path, (64, 48), (64, 48))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        draw_all(
            Clip(path, 1.0),
            source,
            Encoding(),
            run_of("answered", "answered"),
            synthetic=False,
            progress=stop,
        )
    assert not path.exists()
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("name", "says"), [("out.txt", "not a video file name"), ("no/o.mp4", "not a writable folder")]
)
def test_an_invalid_video_path_is_refused_before_anything_is_sent(
    tmp_path: Path, name: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        Clip(tmp_path / name, 25.0)
