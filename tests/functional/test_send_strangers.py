"""`facectl send --keep-strangers` and `facectl strangers` against a scripted function."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model
from PIL import Image
from stream_stub import Pipeline, Reply, lines, noisy_clip, number, run, until

from facectl import paths
from facectl.strangers.store import StrangerStore, path


@pytest.fixture
def clip(pipeline: Pipeline, tmp_path: Path) -> Path:
    """Frames of noise, whose faces the small model embeds much alike."""
    pipeline.script = a_stranger_and_ann
    return noisy_clip(tmp_path / "clip.avi", 320, 240)


def a_stranger_and_ann(request: dict[str, Any], _: int = 0) -> Reply:
    index = number(request)
    faces = [("Ann", 10 + index), ("Unknown", 200)]
    answer = {
        "request_id": request["request_id"],
        "result": ",".join(name for name, _ in faces),
        "faces": [
            {"box": [x, 50, x + 90, 140], "probability": 0.99, "name": name, "distance": 0.7}
            for name, x in faces
        ],
        "timings_ms": {"detect": 5.0},
    }
    return Reply(results=[json.dumps(answer)])


def files() -> set[str]:
    home = paths.data_dir().parent
    return {str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()}


def test_nothing_is_collected_without_the_flag(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    small_model.install("small")
    before = files()
    run("send", clip, "--visits", tmp_path / "v.jsonl", "--keep-crops", tmp_path / "crops")
    assert not path(pipeline.deployment.asu_id).parent.exists()
    assert {file for file in files() - before if file.startswith("data")} == set()
    assert all("stranger" not in event for event in lines(tmp_path / "v.jsonl"))
    assert run("strangers", "list").exit_code != 0


def test_strangers_are_grouped_shown_and_forgotten(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    small_model.install("small")
    visits = tmp_path / "v.jsonl"
    done = run("send", clip, "--visits", visits, "--keep-strangers")
    assert done.exit_code == 0, done.output
    ends = {event["person"]: event for event in lines(visits) if event["event"] == "end"}
    assert ends[None]["stranger"] == "s-1"
    assert "stranger" not in ends["Ann"]
    groups = json.loads(run("strangers", "list", "--json").stdout)
    assert [(each["id"], each["state"], each["visits"]) for each in groups] == [
        ("s-1", "open", [ends[None]["visit"]])
    ]
    # 2 seconds of one visit, a face each half second.
    assert groups[0]["faces"] in {3, 4}
    listed = run("strangers", "list")
    assert "s-1" in listed.stdout
    assert "open" in listed.stdout
    shown = run("strangers", "show", "s-1", "--crops", tmp_path / "faces", "--json")
    for each in json.loads(shown.stdout):
        with Image.open(each["file"]) as picture:
            assert picture.size == (135, 135)
        assert Path(each["file"]).stat().st_mode & 0o777 == 0o600
    assert run("strangers", "forget", "s-1", "--yes").exit_code == 0
    assert (
        "No strangers: no good face of an unknown person is kept" in run("strangers", "list").output
    )


def test_a_list_without_groups_says_what_is_needed(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    """A short clip gives fewer faces than a group needs."""
    small_model.install("small")
    sent = ["send", clip, "--max-frames", 10, "--visits", tmp_path / "v.jsonl", "--keep-strangers"]
    done = run(*sent)
    assert done.exit_code == 0, done.output
    listed = run("strangers", "list")
    text = " ".join(listed.output.split())
    assert "No strangers yet: 2 good faces are kept, and no 3 of them look alike" in text
    assert "with 3 faces, taken at least half a second apart" in text
    assert "Next: facectl send SOURCE --visits FILE --keep-strangers" in text
    assert json.loads(run("strangers", "list", "--json").stdout) == []
    # One more second of the person makes a group.
    run(*sent)
    assert "s-1" in run("strangers", "list").output
    with closing(StrangerStore.open(pipeline.deployment.asu_id)) as store, store.transaction():
        store.set_state(1, "ignored")
    listed = run("strangers", "list")
    assert "1 group is named or ignored. Next: facectl strangers list --all" in listed.output


def test_nothing_of_a_face_is_in_the_output_or_the_visits(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    small_model.install("small")
    done = run("send", clip, "--visits", tmp_path / "v.jsonl", "--keep-strangers", "--json")
    store = StrangerStore.open(pipeline.deployment.asu_id)
    (blob,) = store.select("SELECT embedding FROM faces LIMIT 1")[0]
    store.close()
    first = f"{np.frombuffer(blob, '<f4')[0]:.4f}".lstrip("0-")
    text = done.output + (tmp_path / "v.jsonl").read_text()
    assert first not in text
    assert "embedding" not in text
    assert "base64" not in text


def test_synthetic_weights_are_named(pipeline: Pipeline, clip: Path) -> None:
    small_model.install("small", synthetic=True, weights="synthetic")
    done = run("send", clip, "--keep-strangers")
    assert "Synthetic weights: the model is untrained, so groups mean nothing" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep-strangers"], "No model is installed"),
        (["--keep-strangers", "--no-wait"], "--no-wait does not wait for any"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_sent(
    pipeline: Pipeline, clip: Path, options: list[str], message: str
) -> None:
    done = run("send", clip, *options)
    assert done.exit_code != 0
    assert message in done.output + str(done.exception)
    assert pipeline.requests == []


@pytest.mark.parametrize("options", [[], ["--is", "Ann", "--not"]])
def test_a_correction_needs_one_answer(pipeline: Pipeline, options: list[str]) -> None:
    done = run("strangers", "correct", "run-1", *options)
    assert "say whose visit it is" in str(done.exception)


def test_forgetting_asks_first(pipeline: Pipeline, clip: Path) -> None:
    small_model.install("small")
    run("send", clip, "--keep-strangers")
    assert run("strangers", "forget", "all").exit_code == 1
    assert json.loads(run("strangers", "list", "--json").stdout)


def test_a_killed_run_leaves_groups_that_the_next_one_continues(
    pipeline: Pipeline, clip: Path, tmp_path: Path
) -> None:
    small_model.install("small")
    held = threading.Event()

    def script(request: dict[str, Any], _: int) -> Reply:
        if number(request) >= 18 and not held.is_set():
            return Reply(status=503, headers={"Retry-After": "1"})
        return a_stranger_and_ann(request)

    pipeline.script = script
    command = [
        Path(sys.executable).with_name("facectl"), "send", clip, "--keep-strangers", "-c", "2",
        "--visits", tmp_path / "v.jsonl", "--asu-id", pipeline.deployment.asu_id,
        "--target", "local",
    ]  # fmt: skip
    process = subprocess.Popen(
        list(map(str, command)),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=dict(os.environ),
    )

    def grouped() -> bool:
        return "s-1" in run("strangers", "list").output or process.poll() is not None

    until(grouped)
    process.kill()
    process.wait()
    held.set()
    # Another run of the same person joins the group; the lost visit keeps its group.
    done = run("send", clip, "--keep-strangers", "--visits", tmp_path / "v.jsonl")
    assert done.exit_code == 0, done.output
    (group,) = json.loads(run("strangers", "list", "--json").stdout)
    assert len(group["visits"]) == 2
    last = {event["visit"]: event for event in lines(tmp_path / "v.jsonl")}
    assert {visit for visit, event in last.items() if not event["known"]} == set(group["visits"])
    assert {event["stranger"] for event in last.values() if not event["known"]} == {"s-1"}
    assert {event.get("stranger") for event in last.values() if event["known"]} == {None}
