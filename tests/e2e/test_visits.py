"""Visits of a video, on a real local cloud with the real handlers and models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
from conftest import Facectl, sample
from driver import eventually

from facectl.demo import clip
from facectl.demo.people import COLLINS
from lambda_src.contract import NO_FACE

pytestmark = pytest.mark.e2e


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def write_video(file: Path) -> Path:
    """Collins for 1.2 s, nobody for as long, and Collins again, from frames of the demo's clip."""
    frames = list(clip.frames())
    answers = clip.expected()
    alone = [frame for frame, answer in zip(frames, answers, strict=True) if answer == COLLINS]
    empty = [frame for frame, answer in zip(frames, answers, strict=True) if answer == NO_FACE]
    writer = cv2.VideoWriter(
        str(file), cv2.VideoWriter.fourcc(*"mp4v"), clip.FPS, (clip.WIDTH, clip.HEIGHT)
    )
    for frame in (*alone, *empty, *empty, *alone):
        writer.write(frame[:, :, ::-1])
    writer.release()
    return file


def test_a_person_who_leaves_and_comes_back_is_two_visits(
    deployed: Facectl, portrait: Path, tmp_path: Path
) -> None:
    deployed("gallery", "enroll", COLLINS, portrait)
    video = write_video(tmp_path / "clip.mp4")

    def named() -> list[dict[str, Any]]:
        path = tmp_path / "visits.jsonl"
        path.unlink(missing_ok=True)
        deployed("send", video, "--visits", path, "--visit-gap", 0.7, "--keep-crops", tmp_path)
        return lines(path)

    # The running function notices a new gallery within its refresh interval.
    events = eventually(named, lambda events: any(event["known"] for event in events))
    ends = [event for event in events if event["event"] == "end"]
    assert [(end["person"], end["reason"]) for end in ends] == [
        (COLLINS, "left"),
        (COLLINS, "finished"),
    ]
    assert ends[0]["last"] + 0.7 < ends[1]["first"]
    assert all(end["synthetic"] for end in ends)
    assert all(Path(end["best"]["file"]).stat().st_size > 1000 for end in ends)
    deployed("gallery", "remove", COLLINS)


def test_the_people_of_a_street_are_a_handful_of_visits(deployed: Facectl, tmp_path: Path) -> None:
    path = tmp_path / "visits.jsonl"
    options = ("--max-side", 640, "--every", 3)
    deployed("send", sample("faces-1080p.mp4"), "--visits", path, *options)
    events = lines(path)
    ends = [event for event in events if event["event"] == "end"]
    # About 150 faces in 35 frames.
    assert 4 <= len(ends) <= 12
    assert {end["person"] for end in ends} == {None}
    assert max(end["frames"] for end in ends) >= 30
