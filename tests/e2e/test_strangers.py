"""Strangers on a real local cloud with trained weights: collected, named, ignored, corrected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driver import TEST_CACHE, Facectl, casia_webface, eventually, free_port, sample

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facectl]:
    """The pipeline with casia-webface on a local cloud of its own, and two people enrolled."""
    casia_webface()
    home = tmp_path_factory.mktemp("trained")
    # The downloads of the weights, which every test run shares.
    (home / "cache").symlink_to(TEST_CACHE / "cache")
    facectl = Facectl(home)
    facectl("models", "build", "--weights", "casia-webface")
    facectl("local", "up", "--port", free_port())
    try:
        facectl("deploy", "--asu-id", "strangers", "--target", "local")
        people = sample("people") / "enrolled"
        for name in ("elton_john", "mindy_kaling"):
            facectl("gallery", "enroll", name, people / name, expect=None)
        yield facectl
    finally:
        facectl("local", "down", expect=None)


def sent(facectl: Facectl, video: str, file: Path) -> list[dict[str, Any]]:
    """The events of one more run with a video."""
    before = len(file.read_text().splitlines()) if file.exists() else 0
    facectl("send", sample(f"videos/{video}.mp4"), "--visits", file, "--keep-strangers")
    return [json.loads(line) for line in file.read_text().splitlines()[before:]]


def longest(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The end of the longest visit: the video's person."""
    ends = [event for event in events if event["event"] == "end"]
    return max(ends, key=lambda end: end["frames"])


def named(facectl: Facectl, video: str, file: Path, name: str | None) -> dict[str, Any]:
    """The visit of the first run in which it has this name: functions notice it in seconds."""
    return eventually(
        lambda: longest(sent(facectl, video, file)), lambda end: end["person"] == name
    )


def test_an_unknown_person_is_named_and_recognized_in_the_next_run(
    trained: Facectl, tmp_path: Path
) -> None:
    file = tmp_path / "visits.jsonl"
    end = longest(sent(trained, "one-person-a", file))
    assert end["person"] is None
    (group,) = trained.json("strangers", "list")
    assert (group["id"], group["visits"]) == (end["stranger"], [end["visit"]])
    assert group["faces"] >= 3

    done = trained.json("strangers", "name", group["id"], "Grace Hopper")
    assert done["amended"] == 1
    amended = json.loads(file.read_text().splitlines()[-1])
    assert (amended["event"], amended["visit"]) == ("amend", end["visit"])
    assert amended["person"] == "Grace Hopper"

    assert "stranger" not in named(trained, "one-person-a", file, "Grace Hopper")
    assert trained.json("strangers", "list") == []
    people = [each["name"] for each in trained.json("gallery", "list")["people"]]
    assert people == ["Grace Hopper", "elton_john", "mindy_kaling"]


def test_an_ignored_person_is_unknown_and_not_listed_again(
    trained: Facectl, tmp_path: Path
) -> None:
    file = tmp_path / "visits.jsonl"
    end = longest(sent(trained, "one-person-b", file))
    (group,) = trained.json("strangers", "list")
    assert group["id"] == end["stranger"]
    trained("strangers", "ignore", group["id"])
    for _ in range(2):
        again = longest(sent(trained, "one-person-b", file))
        assert again["person"] is None
        assert "stranger" not in again
    assert trained.json("strangers", "list") == []
    (listed,) = [
        each for each in trained.json("strangers", "list", "--all") if each["state"] == "ignored"
    ]
    assert (listed["id"], listed["faces"]) == (group["id"], group["faces"])


def test_a_wrong_name_is_corrected_and_the_correction_undone(
    trained: Facectl, tmp_path: Path
) -> None:
    # The person of this video is enrolled under the name of another.
    file = tmp_path / "visits.jsonl"
    end = longest(sent(trained, "one-person-c", file))
    trained("strangers", "name", end["stranger"], "mindy_kaling", "--force")
    wrong = named(trained, "one-person-c", file, "mindy_kaling")

    trained("strangers", "correct", wrong["visit"], "--is", "Ada")
    named(trained, "one-person-c", file, "Ada")
    trained("strangers", "undo")
    named(trained, "one-person-c", file, "mindy_kaling")
    trained("strangers", "undo")
    named(trained, "one-person-c", file, None)
