"""Videos, images, folders, patterns and cameras as frames."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facectl.errors import InputError
from facectl.stream.frames import Frame
from facectl.stream.live import LiveSource, Reconnection
from facectl.stream.sampling import Sampling
from facectl.stream.sources import Images, Video, natural_order, open_source

SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "faces-1080p.mp4"
ALL = Sampling()


def shade(value: int) -> np.ndarray:
    return np.full((48, 64, 3), value, np.uint8)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of 50 frames at 10 per second; frame n has brightness 4n."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48)
    )
    for n in range(50):
        writer.write(shade(4 * n))
    writer.release()
    return path


def positions(source: Video | Images | LiveSource) -> list[int]:
    return [round(float(f.pixels.mean()) / 4) for f in source if f.pixels is not None]


def test_a_video_yields_every_frame_in_order_with_its_timestamp(video: Path) -> None:
    source = open_source([str(video)], ALL)
    frames = list(source)
    assert positions(source) == list(range(50))
    assert [f.index for f in frames] == list(range(50))
    assert [f.timestamp for f in frames] == pytest.approx([n / 10 for n in range(50)])
    assert frames[7].name == "clip-000007.jpg"
    assert (source.expected, source.rate, source.problems) == (50, 10, [])


@pytest.mark.parametrize("max_side", [None, 64, 63, 30])
def test_a_video_yields_frames_of_at_most_the_longest_side(
    video: Path, max_side: int | None
) -> None:
    frames = list(open_source([str(video)], ALL, max_side=max_side))
    shapes = {None: (48, 64, 3), 64: (48, 64, 3), 63: (47, 63, 3), 30: (22, 30, 3)}
    assert {f.pixels.shape for f in frames if f.pixels is not None} == {shapes[max_side]}
    # Each frame keeps its own pixels while the next ones are read.
    means = [round(float(f.pixels.mean()) / 4) for f in frames if f.pixels is not None]
    assert means == list(range(50))


@pytest.mark.parametrize(
    ("sampling", "taken", "rate"),
    [
        (Sampling(every=20), [0, 20, 40], 0.5),
        (Sampling(limit=3), [0, 1, 2], 10),
        (Sampling(every=20, limit=2), [0, 20], 0.5),
        (Sampling(fps=2), list(range(0, 50, 5)), 2),
        (Sampling(fps=3, limit=5), [0, 4, 7, 10, 14], 3),
        (Sampling(fps=99), list(range(50)), 10),
    ],
)
def test_sampling_selects_frames_and_predicts_their_number(
    video: Path, sampling: Sampling, taken: list[int], rate: float
) -> None:
    source = open_source([str(video)], sampling)
    assert positions(source) == taken
    assert source.expected == len(taken)
    assert source.rate == pytest.approx(rate)


def test_every_and_fps_exclude_each_other() -> None:
    with pytest.raises(InputError, match="--every and --fps"):
        Sampling(every=2, fps=1)


def test_a_truncated_video_yields_its_readable_frames_and_reports_the_rest(video: Path) -> None:
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    source = open_source([str(video)], ALL)
    read = len(list(source))
    assert 5 < read < 45
    (problem,) = source.problems
    assert problem == (
        f"{video} is cut off or damaged: {read} of the 50 frames that it announces could be "
        f"read, {50 - read} are missing"
    )


class Damaged:
    """A capture whose frames can't be decoded from a given one on."""

    def __init__(self, capture: Any, good: int) -> None:
        self._capture = capture
        self._good = good

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)

    def retrieve(self, memory: Any) -> tuple[bool, Any]:
        self._good -= 1
        return self._capture.retrieve(memory) if self._good >= 0 else (False, None)


def test_an_undecodable_frame_is_reported_even_as_the_last_selected_one(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Video(video, Sampling(limit=3))
    original = source._open
    monkeypatch.setattr(source, "_open", lambda: Damaged(original(), 2))
    assert positions(source) == [0, 1]
    assert "2 of the 50 frames that it announces could be read" in source.problems[0]


def test_a_limit_below_the_damage_is_no_problem(video: Path) -> None:
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    source = open_source([str(video)], Sampling(limit=5))
    assert len(list(source)) == 5
    assert source.problems == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.txt", b"dear diary\n" * 500, "is not a readable video or image"),
        ("notes.mp4", b"dear diary\n" * 500, "is not a readable video or image"),
        ("noise.mp4", bytes(range(256)) * 100, "is not a readable video or image"),
        ("empty.mp4", b"", "is empty"),
        ("notes.jpg", b"dear diary\n", "contains no image"),
    ],
)
def test_a_file_that_is_no_video_is_refused(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name} {says}"):
        open_source([str(path)], ALL)


def test_an_mp4_without_its_index_is_refused_with_the_likely_reason(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48)
    )
    for n in range(20):
        writer.write(shade(n))
    writer.release()
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError) as refused:
        open_source([str(path)], ALL)
    assert "the index at its end" in (refused.value.hint or "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("shot10.jpg", "shot9.JPG", "shot1.png"):
        cv2.imwrite(str(tmp_path / name), shade(9))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "sub.jpg").mkdir()
    return tmp_path


def test_a_folder_gives_its_images_in_natural_order(folder: Path) -> None:
    source = open_source([str(folder)], ALL)
    frames = list(source)
    assert [f.name for f in frames] == ["shot1.png", "shot9.JPG", "shot10.jpg"]
    assert frames[0].file == (folder / "shot1.png").read_bytes()
    assert [f.timestamp for f in frames] == [0, 1, 2]
    assert source.expected == 3


def test_fps_sets_the_rate_of_images_and_drops_none(folder: Path) -> None:
    source = open_source([str(folder)], Sampling(fps=4))
    assert [f.timestamp for f in source] == [0, 0.25, 0.5]


def test_a_pattern_and_several_arguments_are_images(folder: Path) -> None:
    assert [f.name for f in open_source([f"{folder}/*.jpg"], ALL)] == ["shot10.jpg"]
    words = [str(folder / "shot10.jpg"), str(folder / "shot1.png")]
    assert [f.name for f in open_source(words, ALL)] == ["shot1.png", "shot10.jpg"]


def test_a_file_without_an_image_is_reported_and_skipped(folder: Path) -> None:
    (folder / "shot5.bmp").write_bytes(b"dear diary")
    source = open_source([str(folder)], ALL)
    assert [(f.index, f.name) for f in source] == [
        (0, "shot1.png"),
        (1, "shot9.JPG"),
        (2, "shot10.jpg"),
    ]
    assert source.problems == [f"{folder / 'shot5.bmp'} contains no image that can be read"]


@pytest.mark.parametrize(
    ("sampling", "taken", "problems"),
    [
        (Sampling(limit=2), ["shot1.png", "shot9.JPG"], 2),
        (Sampling(limit=1), ["shot1.png"], 1),
        (Sampling(limit=3), ["shot1.png", "shot9.JPG", "shot10.jpg"], 2),
        (Sampling(limit=9), ["shot1.png", "shot9.JPG", "shot10.jpg"], 2),
        (Sampling(every=2, limit=2), ["shot10.jpg"], 2),
    ],
)
def test_a_limit_counts_the_images_that_can_be_read(
    folder: Path, sampling: Sampling, taken: list[str], problems: int
) -> None:
    for name in ("shot0.bmp", "shot5.bmp"):
        (folder / name).write_bytes(b"dear diary")
    source = open_source([str(folder)], sampling)
    assert [(f.index, f.name) for f in source] == list(enumerate(taken))
    assert len(source.problems) == problems


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.mp4"], "No such file or folder: nowhere.mp4"),
        (["*.nothing"], r"\*.nothing contains no image"),
        (["nowhere.jpg", "nobody.jpg"], "No such file: nowhere.jpg"),
        (["rtsp://user:secret@127.0.0.1:1/x"], r"rtsp://127.0.0.1:1/x can't be opened"),
    ],
)
def test_a_missing_source_is_named(words: list[str], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        open_source(words, ALL)


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "person").mkdir()
    with pytest.raises(InputError, match=f"^{tmp_path} contains no image") as raised:
        open_source([str(tmp_path)], ALL)
    assert "folders in a folder are not read" in str(raised.value.hint)


def test_natural_order_compares_numbers() -> None:
    names = ["b1", "a10", "a9", "A1", "a"]
    assert [p.name for p in sorted(map(Path, names), key=natural_order)] == [
        "a", "A1", "a9", "a10", "b1",
    ]  # fmt: skip


class Camera:
    """Frames of growing brightness; each waits until the test lets it come.

    `asked` counts the reads that were begun: a reader that asks for the next
    frame has published the one before.
    """

    def __init__(self, frames: int) -> None:
        self.permits = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.given = 0
        self.released = threading.Event()
        self._frames = frames

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, name: int) -> float:
        return -1.0 if name == cv2.CAP_PROP_FRAME_COUNT else 30.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.asked.release()
        self.permits.acquire()
        if self.given == self._frames:
            return False, None
        self.given += 1
        return True, shade(self.given % 256)

    def release(self) -> None:
        self.released.set()


class Endless(Camera):
    """Yields frames as fast as they are read, without end."""

    def __init__(self) -> None:
        super().__init__(0)

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.given += 1
        return True, shade(self.given % 256)


def test_a_camera_yields_only_its_newest_frame_and_reports_its_end() -> None:
    camera = Camera(12)
    source = LiveSource(0, ALL, reconnection=Reconnection(0), capture=lambda: camera)
    frames = iter(source)
    camera.permits.release()
    first = next(frames)
    camera.permits.release(10)
    for _ in range(12):
        assert camera.asked.acquire(timeout=60)
    second = next(frames)
    assert (first.name, second.name) == ("live-000000.jpg", "live-000010.jpg")
    assert (first.index, second.index) == (0, 1)
    camera.permits.release(5)
    assert len(list(frames)) == 1
    assert source.problems == ["camera 0 ended after 3 frames"]
    assert camera.released.wait(60)


def test_a_camera_is_closed_at_the_limit() -> None:
    camera = Endless()
    source = LiveSource(0, Sampling(limit=3), capture=lambda: camera)
    assert len(list(source)) == 3
    assert source.problems == []
    assert camera.released.wait(60)


class Unsteady:
    """A camera that yields `frames` frames each time it is opened, or is gone where None.

    Each frame waits until the test lets it come.
    """

    def __init__(self, *frames: int | None, length: float = -1.0, permits: int = 0) -> None:
        self.permits = threading.Semaphore(permits)
        self.opened = 0
        self.released = 0
        self.now = 0.0
        self.waits: list[float] = []
        self.reports: list[str] = []
        self._frames = frames
        self._length = length
        self._left: int | None = None

    def open(self) -> Unsteady:
        self._left = self._frames[min(self.opened, len(self._frames) - 1)]
        self.opened += 1
        return self

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._left is not None

    def get(self, name: int) -> float:
        return self._length if name == cv2.CAP_PROP_FRAME_COUNT else 30.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.now += 1
        if not self._left:
            return False, None
        self.permits.acquire()
        self._left -= 1
        return True, shade(0)

    def release(self) -> None:
        self.released += 1

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def next(self, frames: Iterator[Frame]) -> Frame:
        self.permits.release()
        return next(frames)

    def source(self, seconds: float) -> LiveSource:
        return LiveSource(
            "rtsp://camera/1",
            ALL,
            reconnection=Reconnection(seconds, self.reports.append),
            capture=self.open,
            clock=lambda: self.now,
            wait=self.wait,
        )


def test_a_camera_that_comes_back_goes_on() -> None:
    camera = Unsteady(1, None, None, None, 5)
    frames = iter(camera.source(60))
    first, second = camera.next(frames), camera.next(frames)
    # Positions and times continue: the second frame is not taken for the first.
    assert (first.name, second.name) == ("live-000000.jpg", "live-000001.jpg")
    assert first.timestamp < second.timestamp
    assert camera.reports == [
        "rtsp://camera/1 is gone: trying again for 60 s",
        "rtsp://camera/1 is back after 8 s",
    ]
    # At once, and then with growing delays.
    assert camera.waits == [0.5, 1.0, 2.0]


def test_a_camera_may_be_gone_from_the_start_and_for_good() -> None:
    camera = Unsteady(*[None] * 500, 1, None, 1)
    source = camera.source(math.inf)
    frames = iter(source)
    assert camera.next(frames).name == "live-000000.jpg"
    assert camera.now > 3600
    assert camera.next(frames).name == "live-000001.jpg"
    assert camera.reports[0] == "rtsp://camera/1 is gone: trying again until it is back"
    assert camera.reports[1].startswith("rtsp://camera/1 is back after ")
    source.close()
    with pytest.raises(InputError, match="can't be opened"):
        Unsteady(None).source(1e9)


def test_a_camera_that_opens_but_sends_nothing_is_still_gone() -> None:
    camera = Unsteady(1, 0, 0, 0, 9)
    frames = iter(camera.source(60))
    camera.next(frames)
    camera.next(frames)
    assert len(camera.reports) == 2
    assert camera.waits == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("seconds", [0.0, 20.0])
def test_a_camera_that_stays_away_ends_the_run(seconds: float) -> None:
    camera = Unsteady(3, None, permits=3)
    source = camera.source(seconds)
    taken = len(list(source))
    assert source.problems == [f"rtsp://camera/1 ended after {taken} frames"]
    assert camera.now <= 4 + seconds + 11
    assert (camera.reports == []) is (seconds == 0)
    assert camera.released >= camera.opened


def test_a_file_behind_a_url_ends_at_its_end() -> None:
    camera = Unsteady(3, 3, length=3.0, permits=6)
    source = camera.source(60)
    assert 1 <= len(list(source)) <= 3
    assert camera.opened == 1
    assert camera.reports == []


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample video is not here")
def test_the_sample_has_105_frames_of_1080p() -> None:
    source = open_source([str(SAMPLE)], ALL)
    shapes = {f.pixels.shape for f in source if f.pixels is not None}
    assert shapes == {(1080, 1920, 3)}
    assert (source.expected, source.problems) == (105, [])
