"""`facectl send --detect edge` on the real pipeline: the same results as in the cloud."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import Facectl, free_port, link_models
from driver import eventually

from facectl.demo import clip

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's clip, in which there are several people, a stranger, and nobody."""
    path = tmp_path_factory.mktemp("edge") / "demo.mp4"
    clip.write(path)
    return path


def seen(report: dict[str, Any]) -> list[tuple[str, str, list[Any]]]:
    """Names, boxes, probabilities and distances of each frame."""
    return [(f["name"], f["result"], f["faces"]) for f in report["frames"]]


def test_the_edge_finds_what_the_cloud_finds(
    deployed: Facectl, portrait: Path, video: Path
) -> None:
    deployed("gallery", "enroll", "Eileen Collins", portrait)
    options = ("--every", 12, "--max-side", 640, "--max-faces", 5, "--detail")

    def in_the_cloud() -> Any:
        return deployed.json("send", video, *options)

    # The running function notices a new gallery within its refresh interval.
    cloud = eventually(in_the_cloud, lambda report: "Eileen Collins" in str(report["names"]))
    done = deployed("send", video, *options, "--detect", "edge", "--json")
    deployed("gallery", "remove", "Eileen Collins")
    edge = json.loads(done.stdout)
    assert seen(edge) == seen(cloud)
    results = {frame["result"] for frame in edge["frames"]}
    # Both ways were taken.
    assert "No-Face" in results
    assert results != {"No-Face"}
    assert edge["answered"] == len(edge["frames"]) > 3
    assert "MB of crops sent instead of " in done.stderr
    with_faces = next(f for f in edge["frames"] if f["faces"])
    assert {"decode", "detect", "crop", "embed"} <= set(with_faces["timings_ms"])
    # No Function URL call, and yet a path that can be followed.
    trace = deployed.json("trace", with_faces["request_id"])
    assert trace["state"] == "answered"
    events = [step["event"] for step in trace["steps"]]
    assert events[:3] == ["taken", "enqueued", "delivered"]
    assert events[-1] == "answered"


def test_several_cameras_with_reply_queues(deployed: Facectl, video: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(video.read_bytes())
    options = ("--every", 24, "--max-side", 320, "--detect", "edge", "--reply", "private")
    report = deployed.json("send", video, other, *options)
    first, second = report["cameras"].values()
    assert first["names"] == second["names"]
    assert report["answered"] == report["sent"] > 2


def test_a_benchmark_of_the_edge_bills_recognition_alone(deployed: Facectl, video: Path) -> None:
    deployed("purge")
    options = ("-n", 12, "-c", 2, "--max-side", 320, "--target-mean", 600)
    report = deployed.json("bench", "run", video, *options, "--detect", "edge")
    assert report["conditions"]["detect"] == "edge"
    parts = report["cost"]["parts_per_1000_frames"]
    assert "face-detection" not in parts
    assert parts["face-recognition"] > 0


def test_frames_survive_a_cloud_that_is_away(
    models_folder: Path, tmp_path: Path, video: Path
) -> None:
    facectl = Facectl(link_models(models_folder, tmp_path / "home"))
    port = free_port()
    facectl("local", "up", "--port", port)
    try:
        facectl("deploy", "--asu-id", "edge", "--target", "local")
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("facectl"), "send", video, "--every", "12",
                "--realtime", "--max-side", "320", "--detect", "edge", "--json",
            ],
            env=facectl.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        told: list[str] = []
        waits = threading.Event()

        def read() -> None:
            for line in process.stderr or ():
                told.append(line)
                if "wait on this disk" in line:
                    waits.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        while not any("Deployment:" in line for line in told):
            threading.Event().wait(0.05)
        facectl("local", "down")
        assert waits.wait(300), told
        facectl("local", "up", "--port", port)
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
        process.wait(600)
        reader.join(60)
        assert process.returncode == 0, told
        assert report["answered"] == report["sent"] == len(report["frames"])
        assert any("The cloud is back after" in line for line in told)
    finally:
        facectl("local", "down", expect=None)
