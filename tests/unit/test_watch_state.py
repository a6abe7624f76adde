"""What the page of `facectl watch` shows: frames, visits, figures, and a cloud that is gone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")

from starlette.responses import Response
from starlette.testclient import TestClient

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.errors import CloudError, FacectlError, InputError, NotRunningError
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from facectl.strangers import store as strangers
from facectl.strangers.models import Done, StrangerGroup
from facectl.stream.delivery import FrameRefused, FrameUndelivered
from facectl.stream.outcomes import AcceptedPost, FrameOutcome
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from facectl.stream.session import RunOptions
from facectl.visits.models import BestFace, VisitEvent
from facectl.visits.outputs import VisitOutputs
from facectl.watch import app as watch_app
from facectl.watch import figures
from facectl.watch.actions import PageActions
from facectl.watch.app import Watch
from facectl.watch.cloud import CloudState, WaitingEndpoint, WaitingQueue
from facectl.watch.figures import Figures, FunctionSize
from facectl.watch.hub import Hub
from facectl.watch.pictures import Pictures
from facectl.watch.runs import WatchOptions
from facectl.watch.security import Access
from facectl.watch.server import make_app
from facectl.watch.state import ShownSource, WatchState
from lambda_src.contract import FrameRequest, FrameResult, NamedFace

BOX = (10.0, 20.0, 50.0, 70.0)


class FakeVideo:
    """A source of 30 frames at 10 frames a second."""

    name, live, rate, expected = "clip.mp4", False, 10.0, 30


def state_of(*, live: bool = False, loops: bool = False) -> tuple[WatchState, ShownSource]:
    state = WatchState(Hub(), now=lambda: 1000.0)
    source = state.add("clip.mp4", live=live, loops=loops)
    state.begin(source, FakeVideo())  # type: ignore[arg-type]
    return state, source


def outcome(index: int, *names: str, latency: float = 0.2, **timings: float) -> FrameOutcome:
    faces = tuple(NamedFace(BOX, 0.99, name, 0.4) for name in names)
    answer = FrameResult("r", ",".join(names) or "No-Face", faces, timings)
    return FrameOutcome(
        index, f"clip-{index:06d}.jpg", "r", index / 10, "answered", answer, latency
    )


def event(kind: Any, visit: str = "v1", **changes: Any) -> VisitEvent:
    best = BestFace(0, "clip-000000.jpg", 0.0, BOX, 0.99, crop=b"\xff\xd8\xff crop")
    plain = VisitEvent(kind, visit, "clip.mp4", "Ann", 0.9, 0.5, 2.0, 20, 15, 14, best)
    return replace(plain, **changes)


def jpeg(width: int, height: int) -> bytes:
    return cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()


def test_the_newest_answer_is_shown_and_a_late_one_only_kept() -> None:
    state, source = state_of()
    state.sent(source, 5, jpeg(64, 48))
    state.answered(source, outcome(5, "Ann", "Unknown"))
    state.answered(source, outcome(3, "Bob"))
    shown = state.hub.value("frame/0")
    assert shown is not None
    assert (shown["index"], shown["size"]) == (5, (64, 48))
    assert [face["name"] for face in shown["faces"]] == ["Ann", None]
    earlier = state.frame_at(0, 0.45)
    assert earlier is not None
    assert earlier["index"] == 3
    # Before the first and after the last frame.
    assert [state.frame_at(0, at)["index"] for at in (-1.0, 99.0)] == [3, 5]  # type: ignore[index]


def test_a_frame_without_an_answer_is_not_shown() -> None:
    state, source = state_of()
    state.answered(source, replace(outcome(1), answer=None, status="unanswered"))
    assert state.hub.value("frame/0") is None
    assert state.frame_at(0, 1.0) is None


def test_frames_of_a_camera_are_bounded() -> None:
    state, source = state_of(live=True)
    for index in range(1500):
        state.answered(source, outcome(index))
    assert len(source.frames) == 1000
    assert source.frames[0].index == 500


def test_pictures_are_bounded_by_their_bytes() -> None:
    pictures = Pictures(capacity=1000)
    for index in range(20):
        pictures.keep(0, index, bytes(100))
    pictures.keep(0, 19, bytes(50))
    assert [index for index in range(20) if pictures.find(0, index)] == list(range(10, 20))
    pictures.keep(1, 0, bytes(2000))
    assert pictures.find(1, 0) is None
    pictures.keep(1, 1, bytes(10))
    pictures.forget(1)
    assert pictures.find(1, 1) is None


def test_a_visit_has_times_of_the_file_or_of_the_day() -> None:
    for loops, began, seen in ((False, None, None), (True, 1000.5, 1002.0)):
        state, source = state_of(loops=loops)
        state.visit(source, event("start"))
        shown = state.hub.value("visit/v1")
        assert shown is not None
        assert (shown["first"], shown["began"], shown["seen"]) == (0.5, began, seen)
        assert (shown["open"], shown["person"], shown["crop"]) == (True, "Ann", 1)
        state.visit(source, event("end", reason="left"))
        assert state.hub.value("visit/v1")["open"] is False  # type: ignore[index]


def test_a_part_of_another_visit_is_removed() -> None:
    state, source = state_of()
    state.visit(source, event("start"))
    state.visit(source, event("end", reason="merged", into="v0"))
    assert state.hub.value("visit/v1") is None
    assert state.crop("v1") is None


def test_visits_and_their_crops_are_bounded() -> None:
    state, source = state_of()
    for number in range(600):
        state.visit(source, event("start", f"v{number}"))
    assert state.hub.value("visit/v99") is None
    assert state.crop("v99") is None
    assert state.hub.value("visit/v100") is not None
    assert state.crop("v599") is not None


def test_what_the_user_states_stays_until_it_is_undone_or_amended() -> None:
    state, source = state_of()
    state.visit(source, event("start"))
    assert state.state_person("v1", "Bob") == "Ann"
    state.visit(source, event("update", last=3.0))
    assert state.hub.value("visit/v1")["person"] == "Bob"  # type: ignore[index]
    state.state_person("v1", "Ann", stated=False)
    state.visit(source, event("update", person="Cid", last=4.0))
    assert state.hub.value("visit/v1")["person"] == "Cid"  # type: ignore[index]
    state.state_person("v1", "Bob")
    state.visit(source, event("end", reason="left"))
    state.visit(source, event("amend", person=None, amendment="a1"))
    shown = state.hub.value("visit/v1")
    assert shown is not None
    assert (shown["person"], shown["open"], shown["stated"]) == (None, False, False)
    assert state.state_person("gone", "Bob") is None
    state.visit(source, event("amend", "other", amendment="a2"))
    assert state.hub.value("visit/other") is None


def test_the_stages_add_up_to_the_latency() -> None:
    clock = [100.0]
    watched = Figures(lambda: clock[0])
    for index in range(10):
        clock[0] += 0.1
        timings = {"decode": 5.0, "detect": 40.0, "request_queue": 20.0, "embed": 25.0}
        watched(outcome(index, "Ann", latency=0.2 + index / 100, **timings))
    answers = watched.recent()
    stages = {each["name"]: each["seconds"] for each in figures.stages(answers)}
    assert stages["detect"] == pytest.approx(0.045)
    assert sum(stages.values()) == pytest.approx(0.245)
    assert figures.latency(answers) == {"p50": pytest.approx(0.24), "p99": pytest.approx(0.29)}
    assert watched.rate() == pytest.approx(10.0)
    assert watched.mean_rate() == pytest.approx(10.0)
    clock[0] += 120
    assert watched.recent() == []
    assert watched.rate() == 0
    assert figures.latency([]) == {}
    assert figures.stages([]) == []
    assert figures.month([], 1.0, {}, local=False) is None


def test_a_month_costs_what_the_functions_are_billed() -> None:
    watched = Figures(lambda: 1.0)
    for index in range(4):
        watched(outcome(index, "Ann", latency=0.3, detect=89.0, embed=41.0))
    size = FunctionSize(1024, "x86_64")
    sizes = {DETECTION_FUNCTION: size, RECOGNITION_FUNCTION: size}
    month = figures.month(watched.recent(), 2.0, sizes, local=False)
    assert month is not None
    # 0.1 and 0.05 GB-seconds at $0.0000166667, two requests at $0.20 and six at $0.40 a million.
    frame = 0.15 * 0.0000166667 + 2 * 0.2e-6 + 6 * 0.4e-6
    assert month["thousand"] == pytest.approx(frame * 1000, rel=1e-4)
    assert month["month"] == pytest.approx(frame * 2 * 30 * 86400, rel=1e-4)


class Scripted:
    """An endpoint and a queue whose calls have these results."""

    def __init__(self, *results: object) -> None:
        self.results = list(results)

    def _next(self, *_: object, **__: object) -> Any:
        found = self.results.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    post = receive = delete = release = _next


def test_the_cloud_is_gone_once_and_back_when_every_caller_succeeds() -> None:
    told: list[str | None] = []
    cloud = CloudState(told.append)
    assert cloud.failed("post", CloudError("no answer")) == 0.5
    assert cloud.failed("post", CloudError("no answer")) == 1.0
    cloud.failed("receive", CloudError("another"))
    cloud.succeeded("post")
    assert told == ["no answer"]
    cloud.succeeded("receive")
    cloud.succeeded("receive")
    assert told == ["no answer", None]


def test_a_frame_is_sent_again_until_it_is_accepted_refused_or_stopped() -> None:
    told: list[str | None] = []
    cloud = CloudState(told.append)
    accepted = AcceptedPost(1, 1, 0.1)
    request = FrameRequest("r", "f.jpg", b"x")
    waits: list[float] = []
    lost = [FrameUndelivered("broken"), CloudError("gone"), accepted]
    endpoint = WaitingEndpoint(Scripted(*lost), cloud)
    assert endpoint.post(request, sleep=waits.append) is accepted
    assert waits == [0.5, 1.0]
    assert told == ["broken", None]
    with pytest.raises(FrameRefused):
        WaitingEndpoint(Scripted(FrameRefused("too large")), cloud).post(request)
    with pytest.raises(FrameUndelivered, match="stopped while waiting after: gone"):
        WaitingEndpoint(Scripted(CloudError("gone")), cloud).post(request, sleep=lambda _: True)


def test_a_queue_that_fails_has_no_messages() -> None:
    told: list[str | None] = []
    waits: list[float] = []
    failures = [CloudError("gone")] * 3
    queue = WaitingQueue(Scripted(*failures, []), CloudState(told.append), sleep=waits.append)
    assert queue.receive() == []
    queue.delete([])
    assert queue.release([]) > 0
    assert queue.receive() == []
    assert waits == [0.5]
    assert told == ["gone", None]


@pytest.mark.parametrize(
    ("error", "told"),
    [(CloudError("AccessDenied"), []), (NotRunningError("nothing answers"), ["nothing answers"])],
)
def test_only_a_cloud_that_does_not_answer_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: CloudError, told: list[str]
) -> None:
    """A client that may only send frames can't count dead letters."""

    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(watch_app, "count_messages", refused)
    (tmp_path / "frame.jpg").write_bytes(jpeg(64, 48))
    run = RunOptions(RequestOptions())
    options = WatchOptions(Sampling(), run, VisitOutputs(None))
    deployment = Deployment(asu_id="demo", target="local", endpoint_url="http://127.0.0.1:1")
    sentences: list[str] = []
    watch = Watch(deployment, [str(tmp_path / "frame.jpg")], options, tell=sentences.append)
    watch._counted(Clients(deployment))
    failure = watch.state.hub.value("cloud")["failure"]  # type: ignore[index]
    assert ([] if failure is None else [failure]) == told
    assert len(sentences) == len(told)
    assert watch._figures()["dead_letters"] is None


class FakeActions:
    """The actions, recorded; `refusal` is raised by the next one."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.refusal: FacectlError | None = None

    def groups(self) -> list[StrangerGroup]:
        moment = datetime(2026, 11, 28, tzinfo=timezone.utc)
        return [StrangerGroup("s-1", 4, ("v1",), moment, moment, ("f1", "f2"))]

    def ungrouped(self) -> int:
        return 2

    def crop(self, face: str) -> bytes:
        raise InputError(f"no such face: {face}")

    def __getattr__(self, name: str) -> Any:
        def act(*arguments: Any, **options: Any) -> Done:
            if self.refusal is not None:
                raise self.refusal
            self.calls.append((name, *arguments, *options.values()))
            return Done(f"{name} done.")

        return act


ORIGIN = "http://127.0.0.1:8123"


def actions_of(fake: FakeActions, state: WatchState, *, kept: bool = True) -> PageActions:
    return PageActions(
        fake, state, "demo", kept=kept, show=lambda file: Response(file, 200 if file else 204)
    )  # type: ignore[arg-type]


def store_strangers() -> None:
    """Make the file that holds strangers, as the first face does."""
    file = strangers.path("demo")
    file.parent.mkdir(parents=True)
    file.touch()


def test_strangers_are_shown_once_there_are_some(isolated: Path) -> None:
    state, _ = state_of()
    actions = actions_of(FakeActions(), state)
    actions.publish()
    nothing = {"kept": True, "groups": [], "ungrouped": 0, "names": []}
    assert state.hub.value("strangers") == nothing
    store_strangers()
    actions.publish()
    (group,) = state.hub.value("strangers")["groups"]  # type: ignore[index]
    assert state.hub.value("strangers")["ungrouped"] == 2  # type: ignore[index]
    assert (group["id"], group["label"], group["visits"]) == ("s-1", "Stranger 1", ["v1"])
    actions_of(FakeActions(), state, kept=False).publish()
    assert state.hub.value("strangers") == {**nothing, "kept": False}


@pytest.fixture
def acting() -> tuple[TestClient, FakeActions, WatchState]:
    state, source = state_of()
    state.visit(source, event("start"))
    fake = FakeActions()
    actions = actions_of(fake, state)
    access = Access("127.0.0.1", 8123, "a-token-of-24-characters")
    client = TestClient(make_app(state, access, actions.routes()), base_url=ORIGIN)
    client.headers["origin"] = ORIGIN
    client.cookies.set(access.cookie, access.token)
    return client, fake, state


def test_actions_are_passed_on(acting: tuple[TestClient, FakeActions, WatchState]) -> None:
    client, fake, _ = acting
    for action, given in (
        ("ignore", {"group": "s-1"}),
        ("split", {"group": "s-1"}),
        ("split", {"group": "s-1", "faces": ["a", "b"]}),
        ("merge", {"groups": ["s-1", "s-2"]}),
        ("forget", {"group": "s-1"}),
        ("name", {"group": "s-1", "name": " Ann "}),
        ("name", {"group": "s-1", "name": "Ann", "force": True}),
    ):
        answer = client.post(f"/actions/{action}", json=given)
        assert answer.json() == {"sentence": f"{action} done."}, answer.text
    assert fake.calls == [
        ("ignore", "s-1"), ("split", "s-1", None), ("split", "s-1", ["a", "b"]),
        ("merge", ["s-1", "s-2"]), ("forget", "s-1"),
        ("name", "s-1", "Ann", False), ("name", "s-1", "Ann", True),
    ]  # fmt: skip


def test_the_visits_of_a_named_stranger_get_the_name_and_lose_it_again(
    acting: tuple[TestClient, FakeActions, WatchState], isolated: Path
) -> None:
    client, _, state = acting
    store_strangers()
    client.post("/actions/name", json={"group": "s-1", "name": "Bob"})
    assert state.hub.value("visit/v1")["person"] == "Bob"  # type: ignore[index]
    assert "Bob" in state.hub.value("strangers")["names"]  # type: ignore[index]
    client.post("/actions/undo", json={})
    assert state.hub.value("visit/v1")["person"] == "Ann"  # type: ignore[index]


def test_a_correction_is_shown_at_once_and_undone(
    acting: tuple[TestClient, FakeActions, WatchState],
) -> None:
    client, fake, state = acting

    def person() -> object:
        return state.hub.value("visit/v1")["person"]  # type: ignore[index]

    client.post("/actions/correct", json={"visit": "v1", "person": "Bob"})
    assert person() == "Bob"
    client.post("/actions/correct", json={"visit": "v1", "person": None})
    assert person() is None
    client.post("/actions/ignore", json={"group": "s-1"})
    for expected in (None, "Bob", "Ann", "Ann"):
        client.post("/actions/undo", json={})
        assert person() == expected
    assert fake.calls[:2] == [("correct", "v1", "Bob"), ("correct", "v1", None)]


@pytest.mark.parametrize(
    ("action", "body"),
    [("name", {"group": "s-1"}), ("name", {"group": "s-1", "name": "  "}), ("name", []),
     ("ignore", {"group": 7}), ("merge", {"groups": "s-1"}), ("merge", {"groups": [1]}),
     ("correct", {"person": "Ann"}), ("correct", {"visit": "v1", "person": 3})],
)  # fmt: skip
def test_wrong_actions_are_refused(
    acting: tuple[TestClient, FakeActions, WatchState], action: str, body: object
) -> None:
    client, fake, _ = acting
    answer = client.post(f"/actions/{action}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert fake.calls == []


def test_bodies_that_are_no_action_are_refused(
    acting: tuple[TestClient, FakeActions, WatchState],
) -> None:
    client, fake, _ = acting
    kind = {"content-type": "application/json"}
    deep = b"[" * 60_000
    for body in (b"", b"{", deep, b"x" * 100_000, json.dumps("text").encode()):
        assert client.post("/actions/ignore", content=body, headers=kind).status_code == 400
    form = client.post("/actions/ignore", data={"group": "s-1"})
    assert form.status_code == 400
    assert client.post("/actions/explode", json={}).status_code == 404
    assert client.get("/stranger/nobody").status_code == 204
    assert fake.calls == []


def test_a_refusal_is_shown_with_its_hint_and_changes_nothing(
    acting: tuple[TestClient, FakeActions, WatchState],
) -> None:
    client, fake, state = acting
    fake.refusal = InputError("not alike", hint="add --force")
    answer = client.post("/actions/correct", json={"visit": "v1", "person": "Bob"})
    assert (answer.status_code, answer.json()) == (
        400, {"error": "not alike", "hint": "add --force"},
    )  # fmt: skip
    assert state.hub.value("visit/v1")["person"] == "Ann"  # type: ignore[index]
