"""A real RTSP stream that is cut off and comes back, on a real local cloud."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import Facectl, free_port
from driver import eventually

from facectl.demo import clip
from facectl.demo.people import COLLINS
from facectl.stream.live import open_capture

pytestmark = pytest.mark.e2e

SERVER = Path(__file__).with_name("rtsp_server.py")
# GStreamer's bindings are packages of the system's Python.
PYTHON = "/usr/bin/python3"


def can_serve() -> bool:
    command = [PYTHON, SERVER, "none", "check"]
    try:
        return (
            subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
        )
    except OSError:
        return False


class Camera:
    """An RTSP server with the frames of the demo's clip that show one person, in a loop."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._pattern = folder / "%05d.jpg"
        frames = zip(clip.frames(), clip.expected(), strict=True)
        alone = [frame for frame, answer in frames if answer == COLLINS]
        for number, frame in enumerate(alone):
            cv2.imwrite(str(self._pattern) % number, frame[:, :, ::-1])
        self.url = f"rtsp://user:hush@127.0.0.1:{self._port}/camera"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([PYTHON, SERVER, self._pattern, str(self._port)])
        eventually(lambda: open_capture(self.url, cv2.CAP_FFMPEG).isOpened(), bool)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(120)
            self._process = None


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Camera]:
    if not can_serve():
        pytest.skip("GStreamer's RTSP server, a package of Debian, is not installed")
    found = Camera(tmp_path)
    try:
        yield found
    finally:
        found.stop()


class Sending:
    """`facectl send` of a camera in the background."""

    def __init__(self, facectl: Facectl, folder: Path, *arguments: object) -> None:
        self.results = folder / "results.jsonl"
        self.messages = folder / "messages.txt"
        program = Path(sys.executable).with_name("facectl")
        with self.messages.open("wb") as stderr:
            self.process = subprocess.Popen(
                [program, "send", *map(str, arguments), "--out", self.results],
                env=facectl.environment(), cwd=folder, stdout=subprocess.DEVNULL, stderr=stderr,
            )  # fmt: skip

    def until(self, reached: Callable[[], bool]) -> None:
        def ask() -> bool:
            assert self.process.poll() is None, self.messages.read_text()
            return reached()

        eventually(ask, bool)

    def answered(self) -> list[dict[str, Any]]:
        text = self.results.read_text() if self.results.exists() else ""
        return [json.loads(line) for line in text.splitlines()]


def test_a_camera_that_is_cut_off_and_comes_back(
    deployed: Facectl, camera: Camera, tmp_path: Path
) -> None:
    camera.start()
    sending = Sending(deployed, tmp_path, camera.url, "--fps", 2, "--reconnect", 600)
    try:
        sending.until(lambda: len(sending.answered()) >= 3)
        camera.stop()
        sending.until(lambda: "is gone: trying again for 600 s" in sending.messages.read_text())
        camera.start()
        sending.until(lambda: "is back after" in sending.messages.read_text())
        before = len(sending.answered())
        sending.until(lambda: len(sending.answered()) >= before + 3)
        sending.process.send_signal(signal.SIGINT)
        sending.process.wait(600)
    finally:
        if sending.process.poll() is None:
            os.kill(sending.process.pid, signal.SIGKILL)
            sending.process.wait(120)
    answers = [each for each in sending.answered() if each["status"] == "answered"]
    assert len(answers) >= 6
    assert {each["result"] for each in answers} == {"Unknown"}
    # Its place in time continues, and no frame has the place of another.
    places = [(each["frame"], each["name"]) for each in answers]
    names = [name for _, name in sorted(places)]
    assert names == sorted(set(names))
    assert "hush" not in sending.messages.read_text()


def test_a_camera_that_stays_away_ends_the_run_and_says_so(
    deployed: Facectl, camera: Camera, tmp_path: Path
) -> None:
    camera.start()
    sending = Sending(deployed, tmp_path, camera.url, "--fps", 2, "--reconnect", 1)
    sending.until(lambda: len(sending.answered()) >= 2)
    camera.stop()
    assert sending.process.wait(600) == 1
    messages = sending.messages.read_text()
    assert "ended after" in messages
    assert "Traceback" not in messages
    assert all(each["status"] == "answered" for each in sending.answered())
