"""The cameras of a run from arguments and from a YAML file, with everything that can be wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facectl.errors import InputError
from facectl.stream.cameras import Camera, are_cameras, cameras_of, read_cameras
from facectl.stream.frames import Encoding
from facectl.stream.sampling import Sampling

SAMPLING = Sampling(fps=5, limit=100)
ENCODING = Encoding(1280, 90)


def read(folder: Path, text: str) -> list[Camera]:
    path = folder / "cameras.yaml"
    path.write_text(text)
    return read_cameras(path, SAMPLING, ENCODING)


def test_what_a_camera_does_not_say_is_as_the_options_say(tmp_path: Path) -> None:
    assert read(
        tmp_path,
        """
        cameras:
          - name: door
            source: rtsp://user:secret@camera.local/stream
            fps: 2
            max_side: 640
          - source: rtsp://user:secret@other.local/stream
            every: 3
            max_frames: 7
            quality: 80
          - source: 0
          - {name: 12, source: clips/yard.mp4}
        """,
    ) == [
        Camera(
            "door",
            "rtsp://user:secret@camera.local/stream",
            Sampling(fps=2, limit=100),
            Encoding(640, 90),
        ),
        Camera(
            "rtsp://other.local/stream",
            "rtsp://user:secret@other.local/stream",
            Sampling(every=3, limit=7),
            Encoding(1280, 80),
        ),
        Camera("camera 0", "0", SAMPLING, ENCODING),
        # A path is relative to the file.
        Camera("12", str(tmp_path / "clips" / "yard.mp4"), SAMPLING, ENCODING),
    ]


def test_the_smallest_and_largest_values_are_taken(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        cameras:
          - {source: 0, every: 1, max_frames: 1, max_side: 16, quality: 1}
          - {source: 1, fps: 0.001, quality: 100}
        """,
    )
    assert [(each.sampling, each.encoding) for each in found] == [
        (Sampling(every=1, limit=1), Encoding(16, 1)),
        (Sampling(fps=0.001, limit=100), Encoding(1280, 100)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cameras: [{source: 0, size: 640, colour: 1}]", "camera 1: unknown field colour"),
        ("cameras: [{source: 0, every: 0}]", "every must be a whole number of at least 1"),
        ("cameras: [{source: 0, quality: 0}]", "quality must be a whole number of at least 1"),
        ("", "must contain `cameras` and nothing else"),
        ("cameras: []", "`cameras` must be a list of cameras"),
        ("cameras: door", "`cameras` must be a list of cameras"),
        ("- source: 0", "must contain `cameras`"),
        ("cameras: [{source: 0}]\nfps: 2", "must contain `cameras` and nothing else"),
        ("cameras: [0]", "camera 1 is not a mapping"),
        ("cameras: [{name: door}]", r"camera 1 \(door\) has no source"),
        ("cameras: [{source: 0, size: 640}]", "camera 1: unknown field size"),
        ("cameras: [{source: 0, 3: 640}]", "camera 1: unknown field 3"),
        ("cameras: [{source: true}]", "source must be a path, an URL or a camera index"),
        ("cameras: [{source: ''}]", "source must be a path"),
        ("cameras: [{source: [a]}]", "source must be a path"),
        ("cameras: [{source: 0, fps: 0}]", "fps must be a number of at least 0.001, not 0"),
        ("cameras: [{source: 0, fps: .nan}]", "fps must be a number .*, not nan"),
        ("cameras: [{source: 0, fps: .inf}]", "fps must be a number .*, not inf"),
        ("cameras: [{source: 0, fps: '2'}]", "fps must be a number .*, not '2'"),
        ("cameras: [{source: 0, fps: true}]", "fps must be a number .*, not True"),
        ("cameras: [{source: 0, fps: 2, every: 2}]", "fps and every both select frames"),
        ("cameras: [{source: 0, every: 1.5}]", "every must be a whole number"),
        ("cameras: [{source: 0, max_frames: 0}]", "max_frames must be a whole number"),
        ("cameras: [{source: 0, max_side: 15}]", "max_side must be a whole number of at least 16"),
        ("cameras: [{source: 0, quality: 101}]", "quality must be at most 100, not 101"),
        ("cameras: [{source: 0, name: ''}]", "name must be printable text"),
        ('cameras: [{source: 0, name: "a\\eb"}]', "name must be printable text"),
        ("cameras: [{source: 0, name: [a]}]", "name must be printable text"),
        (f"cameras: [{{source: 0, name: {'x' * 101}}}]", "at most 100 characters"),
        ("cameras: [{source: 0}, {source: 0}]", "2 cameras are named camera 0"),
        ("cameras: [{source: 0, name: a}, {source: 1, name: a}]", "2 cameras are named a"),
        # A forgotten dash: YAML's own answer is the last of the two.
        (
            "cameras:\n  - source: a\n    fps: 1\n    source: b\n    fps: 2",
            "source is given 2 times .* line 2",
        ),
        ("cameras: [{source: 0}]\ncameras: [{source: 1}]", "cameras is given 2 times"),
        ("cameras: [", "is not a YAML file: .* line 1"),
        ("cameras: [{source: !!python/object/apply:os.system [id]}]", "is not a YAML file"),
        ("a: &a [x]\ncameras: *b", "is not a YAML file"),
        ("\x00", "is not a YAML file"),
        ("[" * 5000, "is not a YAML file"),
    ],
)
def test_a_wrong_file_is_refused_with_camera_and_field(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "cameras.yaml"))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(InputError, match="can't be read"):
            read_cameras(path, SAMPLING, ENCODING)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"cameras: [{source: \xe4}]")
    with pytest.raises(InputError, match="is not a YAML file"):
        read_cameras(latin, SAMPLING, ENCODING)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (5 * 1024 * 1024))
    with pytest.raises(InputError, match="too large"):
        read_cameras(large, SAMPLING, ENCODING)


def test_arguments_name_their_cameras_without_passwords() -> None:
    found = cameras_of(["rtsp://me:pw@a/1", "0", "yard.mp4"], SAMPLING, ENCODING)
    assert [camera.name for camera in found] == ["rtsp://a/1", "camera 0", "yard.mp4"]
    assert [camera.live for camera in found] == [True, True, False]
    assert [camera.slug for camera in found] == ["rtsp-a-1", "camera-0", "yard.mp4"]
    with pytest.raises(InputError, match=r"2 cameras are named rtsp://a/1"):
        cameras_of(["rtsp://me:pw@a/1", "rtsp://you:pw@a/1"], SAMPLING, ENCODING)


def test_several_images_are_one_source_and_anything_else_is_cameras(tmp_path: Path) -> None:
    images = [tmp_path / f"{n}.jpg" for n in range(2)]
    for image in images:
        cv2.imwrite(str(image), np.zeros((48, 64, 3), np.uint8))
    note = tmp_path / "note.txt"
    note.write_text("found by the same pattern")
    noise = tmp_path / "noise.bin"
    noise.write_bytes(bytes(range(256)))
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(
        str(clip), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48)
    )
    writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()

    def of(*paths: object) -> bool:
        return are_cameras([str(path) for path in paths])

    assert not of(*images)
    assert not of(*images, note, noise, tmp_path / "absent.jpg")
    assert not of(clip)
    assert not of("0")
    assert of(clip, images[0])
    assert of(images[0], "rtsp://camera.local/1")
    assert of("0", "1")
    assert of(tmp_path, images[0])
