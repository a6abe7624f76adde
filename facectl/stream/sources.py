"""Opens the source of frames: a video file, images, a camera or a stream.

Files can be read again, which `--annotate` does; cameras and streams cannot.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2

from facectl.errors import InputError
from facectl.stream.frames import Frame, decoded, scaled, sendable
from facectl.stream.live import LiveSource, Reconnection, open_capture
from facectl.stream.sampling import FrameSampler, Sampling

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# A container's frame count may be computed from its duration, so a difference of one
# per cent does not mean damage.
_COUNT_TOLERANCE = 0.01
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class Video:
    """A video file. After reading, `problems` says what could not be read."""

    live = False

    def __init__(self, path: Path, sampling: Sampling, max_side: int | None = None) -> None:
        self.name = str(path)
        self.problems: list[str] = []
        self._path = path
        self._sampling = sampling
        self._max_side = max_side
        capture = self._open()
        try:
            self._announced = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            rate = float(capture.get(cv2.CAP_PROP_FPS))
            # A valid header is not enough: one frame must be decodable.
            if not capture.grab():
                raise _no_video(path)
        finally:
            capture.release()
        self._rate = rate if 0 < rate < 1000 else 25.0
        self.rate = sampling.rate(self._rate)
        self.expected = (
            sampling.expected(self._announced, self._rate) if self._announced else sampling.limit
        )

    def __iter__(self) -> Iterator[Frame]:
        self.problems = []
        capture = self._open()
        sampler = FrameSampler(self._sampling)
        position = 0
        readable = True
        # The memory of a frame is used again unless it is yielded: 6 MB in 1080p.
        read: Any = None
        try:
            while not sampler.full() and capture.grab():
                timestamp = position / self._rate
                if sampler.takes(position, timestamp):
                    readable, read = capture.retrieve(read)
                    if not readable:
                        break
                    pixels = scaled(read, self._max_side)
                    if pixels is read:
                        read = None
                    name = f"{self._path.stem[:400]}-{position:06d}.jpg"
                    yield Frame(sampler.taken - 1, name, timestamp, pixels=pixels)
                position += 1
        finally:
            capture.release()
        if not readable or not sampler.full():
            self._compare(position)

    def _compare(self, read: int) -> None:
        missing = self._announced - read
        if missing > max(1, self._announced * _COUNT_TOLERANCE):
            self.problems.append(
                f"{self.name} is cut off or damaged: {read} of the {self._announced} frames "
                f"that it announces could be read, {missing} are missing"
            )

    def _open(self) -> Any:
        capture = open_capture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise _no_video(self._path)
        return capture


class Images:
    """Image files in natural order; `problems` names those that contain no image."""

    live = False

    def __init__(self, paths: Sequence[Path], name: str, sampling: Sampling) -> None:
        self.name = name
        self.problems: list[str] = []
        self._paths = paths
        # Images have no frame rate: the default is one per second.
        self.rate = sampling.fps if sampling.fps is not None else 1.0
        self._sampling = Sampling(every=sampling.every, limit=sampling.limit)
        self.expected = self._sampling.expected(len(paths), self.rate)

    def __iter__(self) -> Iterator[Frame]:
        self.problems = []
        index = 0
        for path in self._paths[:: self._sampling.every]:
            # Only readable images count.
            if index == self._sampling.limit:
                break
            try:
                file = path.read_bytes()
                if not sendable(file):
                    decoded(file, str(path))
            except OSError as error:
                self.problems.append(f"{path} can't be read: {error.strerror}")
                continue
            except InputError as error:
                self.problems.append(str(error))
                continue
            yield Frame(index, path.name[-500:], index / self.rate, file=file)
            index += 1


Source = Video | Images | LiveSource


def open_source(
    texts: Sequence[str],
    sampling: Sampling,
    *,
    reconnection: Reconnection | None = None,
    max_side: int | None = None,
) -> Source:
    """Open the source for these arguments; raises InputError if it contains no frame.

    One argument is a video, image, folder, pattern, camera index or URL; several
    are image files, as a shell expands a pattern. `reconnection` is that of
    cameras and streams. `max_side`: the frames of a video are scaled down to this longest
    side as they are read.
    """
    if len(texts) > 1:
        paths = [Path(text) for text in texts]
        for path in paths:
            if not path.is_file():
                raise InputError(f"No such file: {path}")
        return _images(paths, f"{len(paths)} files", sampling)
    (text,) = texts
    path = Path(text)
    if is_live(text):
        target = text if _URL.match(text) else int(text)
        return LiveSource(target, sampling, reconnection=reconnection)
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        return _images(found, text, sampling)
    if path.is_file():
        return _file(path, sampling, max_side)
    if glob.has_magic(text):
        # Path.glob refuses absolute patterns and those that begin with "..".
        matches = [Path(match) for match in glob.glob(text, recursive=True)]  # noqa: PTH207
        return _images([match for match in matches if match.is_file()], text, sampling)
    raise InputError(
        f"No such file or folder: {text}",
        hint="facectl send VIDEO, IMAGE, FOLDER, 'PATTERN*.jpg', camera index or rtsp:// URL",
    )


def is_live(text: str) -> bool:
    """Whether the argument is the URL of a stream or the index of a camera."""
    return bool(_URL.match(text)) or (text.isdecimal() and not Path(text).exists())


def natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key that places frame9 before frame10."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts], str(path)


def _file(path: Path, sampling: Sampling, max_side: int | None) -> Source:
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    if not head:
        raise InputError(f"{path} is empty")
    if sendable(head) or path.suffix.lower() in IMAGE_SUFFIXES:
        if not sendable(head):
            decoded(path.read_bytes(), str(path))
        return Images([path], str(path), sampling)
    if _is_text(head):
        # FFmpeg would render a text file as a video of a terminal.
        raise _no_video(path)
    return Video(path, sampling, max_side)


def _images(paths: list[Path], name: str, sampling: Sampling) -> Images:
    if not paths:
        raise InputError(
            f"{name} contains no image",
            hint=f"images end in {', '.join(IMAGE_SUFFIXES)}; folders in a folder are not read",
        )
    return Images(sorted(paths, key=natural_order), name, sampling)


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head)


def _no_video(path: Path) -> InputError:
    return InputError(
        f"{path} is not a readable video or image",
        hint="an MP4 that was cut off has lost the index at its end: copy it again",
    )
