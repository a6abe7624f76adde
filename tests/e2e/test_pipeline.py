"""From a video file to names, on a real local cloud with the real handlers and models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import Facectl, sample
from driver import eventually
from PIL import Image

pytestmark = pytest.mark.e2e


def results(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("options", [("--max-side", 640), pytest.param((), marks=pytest.mark.slow)])
def test_every_frame_of_a_video_gets_one_result(
    deployed: Facectl, tmp_path: Path, options: tuple[object, ...]
) -> None:
    video = sample("faces-1080p.mp4")
    out, drawn = tmp_path / "results.jsonl", tmp_path / "drawn.mp4"
    deployed("send", video, "--out", out, "--annotate", drawn, "--max-faces", 5, *options)
    answered = results(out)
    assert len(answered) == 105
    assert len({line["request_id"] for line in answered}) == 105
    # Nobody of the video is enrolled.
    assert {name for line in answered for name in line["result"].split(",")} <= {
        "No-Face",
        "Unknown",
    }
    capture = cv2.VideoCapture(str(drawn))
    frames = 0
    while capture.read()[0]:
        frames += 1
    assert frames == 105


def test_six_faces_are_detected(deployed: Facectl, tmp_path: Path) -> None:
    picture, out = sample("six-faces.jpg"), tmp_path / "results.jsonl"
    deployed("send", picture, "--max-faces", 10, "--detail", "--out", out)
    [line] = results(out)
    assert len(line["faces"]) == 6
    assert len(line["result"].split(",")) == 6
    lefts = [face["box"][0] for face in line["faces"]]
    assert lefts == sorted(lefts)
    assert {"decode", "detect", "crop", "embed", "match"} <= set(line["timings_ms"])


def test_an_enrolled_person_is_named_and_a_stranger_is_unknown(
    deployed: Facectl, portrait: Path, tmp_path: Path
) -> None:
    deployed("gallery", "enroll", "Eileen Collins", portrait)
    rendering = tmp_path / "frames" / "1-rendering.jpg"
    rendering.parent.mkdir()
    with Image.open(portrait) as image:
        image.resize((400, 400)).save(rendering, quality=60)
    stranger = rendering.with_name("2-stranger.jpg")
    _frame_with_a_face(sample("faces-1080p.mp4"), stranger)
    out = tmp_path / "results.jsonl"

    def by_name() -> dict[str, str]:
        deployed("send", rendering.parent, "--out", out)
        return {Path(line["name"]).name: line["result"] for line in results(out)}

    # The running function notices a new gallery within its refresh interval.
    named = eventually(by_name, lambda names: names["1-rendering.jpg"] == "Eileen Collins")
    assert named == {"1-rendering.jpg": "Eileen Collins", "2-stranger.jpg": "Unknown"}
    deployed("gallery", "remove", "Eileen Collins")


def _frame_with_a_face(video: Path, target: Path) -> None:
    capture = cv2.VideoCapture(str(video))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 50)
    read, frame = capture.read()
    assert read
    cv2.imwrite(str(target), frame)
