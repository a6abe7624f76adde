"""The visits of the day that `facectl watch` shows after a restart."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")

from facectl.context import Deployment
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from facectl.stream.session import RunOptions
from facectl.visits.file import VisitsFile
from facectl.visits.models import BestFace, VisitEvent
from facectl.visits.outputs import VisitOutputs
from facectl.watch.app import Watch
from facectl.watch.history import DayHistory, crop_finder, midnight
from facectl.watch.hub import Hub
from facectl.watch.runs import WatchOptions
from facectl.watch.state import WatchState

MIDNIGHT = datetime(2026, 3, 1, tzinfo=timezone.utc).timestamp()
CROP = b"\xff\xd8\xff crop"


def event(kind: Any, at: float, visit: str = "0123456789ab-000001-0", **changes: Any) -> VisitEvent:
    """An event that was decided `at` seconds after midnight."""
    best = BestFace(0, "door-000000.jpg", 0.0, (10.0, 20.0, 50.0, 70.0), 0.99)
    plain = VisitEvent(kind, visit, "door", "Ann", 0.9, 5.0, 8.0, 20, 15, 14, best)
    now = datetime.fromtimestamp(MIDNIGHT + at, timezone.utc)
    stamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return replace(plain, **{"time": stamp, **changes})


def history_of(*events: VisitEvent) -> DayHistory:
    history = DayHistory({"door": None}, MIDNIGHT)
    for each in events:
        history(each)
    return history


def test_the_times_of_the_day_come_from_when_events_were_decided() -> None:
    # The end is decided a gap after the person was last seen.
    start = event("start", 3608.0, last=7.5)
    (visit,) = history_of(start, event("end", 3620.0, last=9.0)).visits()
    assert visit.epoch - MIDNIGHT == pytest.approx(3600.5)
    assert visit.seen - MIDNIGHT == pytest.approx(3609.5)
    assert visit.event.event == "end"


@pytest.mark.parametrize(
    "events",
    [
        [event("start", -100.0), event("end", -80.0)],
        [event("start", 60.0, source="yard")],
        [event("start", 60.0), event("end", 70.0, reason="merged", into="another")],
        [event("start", 60.0, time="2026-03-01T soon")],
        # The end of a visit of yesterday, decided today.
        [event("end", 5.0, last=8.0), event("start", 6.0, "0123456789ab-000002-0", last=30.0)],
    ],
    ids=["yesterday", "another source", "merged", "no time", "decided after midnight"],
)
def test_visits_that_are_not_of_the_day_are_left_out(events: list[VisitEvent]) -> None:
    seen = [each.event.visit for each in history_of(*events).visits()]
    assert event("start", 0.0).visit not in seen


def test_a_visit_that_was_named_later_has_its_name() -> None:
    amend = event("amend", 9000.0, person="Grace", amendment="a1")
    (visit,) = history_of(event("start", 60.0, person=None), event("end", 70.0), amend).visits()
    assert visit.event.person == "Grace"


def test_midnight_is_that_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert midnight(MIDNIGHT) == MIDNIGHT - 9 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.usefixtures("isolated")
def test_a_picture_is_read_only_from_the_folder_of_crops(tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    (folder / "v1.jpg").write_bytes(CROP)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    find = crop_finder(folder, "demo", strangers=True)
    assert find("v1") == CROP
    assert [find(visit) for visit in ("v2", "../secret", "..", "", "/etc/passwd")] == [None] * 5
    assert crop_finder(None, "demo", strangers=False)("v1") is None


def test_the_visit_of_a_killed_run_stays_and_an_amendment_keeps_its_times() -> None:
    state = WatchState(Hub(), now=lambda: MIDNIGHT + 7200.0)
    source = state.add("door", live=True, loops=False)
    (past,) = history_of(event("start", 68.0)).visits()
    state.restore(source, past, CROP)
    visit = past.event.visit
    before = state.hub.value(f"visit/{visit}")
    assert before is not None
    assert (before["open"], before["began"] - MIDNIGHT, before["crop"]) == (False, 65.0, 1)
    assert state.crop(visit) == CROP
    state.visit(source, event("end", 7200.0, reason="lost"))
    assert state.hub.value(f"visit/{visit}") == before
    state.visit(source, event("amend", 7300.0, person="Grace", amendment="a1"))
    assert state.hub.value(f"visit/{visit}") == {**before, "person": "Grace"}


def watch_of(folder: Path, visits: Path | None, *, loop: bool) -> Watch:
    image = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    (folder / "door.jpg").write_bytes(image)
    outputs = VisitOutputs(visits, crops=folder)
    options = WatchOptions(Sampling(), RunOptions(RequestOptions()), outputs, loop=loop)
    deployment = Deployment(asu_id="demo", target="local", endpoint_url="http://127.0.0.1:1")
    return Watch(deployment, [str(folder / "door.jpg")], options, tell=lambda _: None)


@pytest.mark.usefixtures("isolated")
@pytest.mark.parametrize("loop", [True, False])
def test_visits_of_today_are_shown_of_sources_with_a_clock(tmp_path: Path, loop: bool) -> None:
    """A file that is sent once is sent again, and so are its visits."""
    now = time.time()
    visits = tmp_path / "visits.jsonl"
    name = str(tmp_path / "door.jpg")
    with closing(VisitsFile(visits, "0123456789abcdef")) as file:
        file(event("start", now - MIDNIGHT, source=name, last=0.0, first=0.0))
    (tmp_path / "0123456789ab-000001-0.jpg").write_bytes(CROP)
    watch = watch_of(tmp_path, visits, loop=loop)
    with closing(watch._opened_file(visits)):
        pass
    shown = watch.state.hub.value("visit/0123456789ab-000001-0")
    assert (shown is not None) is loop
    assert watch.state.crop("0123456789ab-000001-0") == (CROP if loop else None)


@pytest.mark.usefixtures("isolated")
def test_the_page_learns_whether_visits_are_kept(tmp_path: Path) -> None:
    for visits in (None, tmp_path / "visits.jsonl"):
        run = watch_of(tmp_path, visits, loop=True).state.hub.value("run")
        assert run is not None
        assert run["visits_file"] is (visits is not None)
        assert json.dumps(run)
        assert run["since"] <= time.time()
