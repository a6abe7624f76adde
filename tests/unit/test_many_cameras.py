"""Several cameras in one process: fair slots, one reader of answers, one camera's failure."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from facectl.errors import CloudError, FacectlError, IncompleteError, InputError
from facectl.stream.delivery import FrameUndelivered
from facectl.stream.frames import Frame
from facectl.stream.many import CameraRun, CamerasReport, run_all
from facectl.stream.outcomes import AcceptedPost, FrameOutcome
from facectl.stream.responses import Received
from facectl.stream.results import RunStats
from facectl.stream.sender import RequestOptions
from facectl.stream.session import RunOptions, RunReport, Session
from facectl.stream.shared import FairSlots, SharedTransport, sender_threads
from facectl.stream.transport import Transport
from lambda_src.contract import FrameRequest, FrameResult

JPEG = b"\xff\xd8\xff\xe0 a JPEG for all that the client looks at"


class Cloud:
    """An endpoint and a queue: each posted frame is answered with its own file name."""

    def __init__(self) -> None:
        self.posted: list[str] = []
        self.inside = 0
        self.most_inside = 0
        self.closed = 0
        self.deleted: list[str] = []
        self.released: list[str] = []
        self.transport = Transport(self, self, self._close)
        self._lock = threading.Lock()
        self._messages: queue.Queue[Received] = queue.Queue()

    def _close(self) -> None:
        self.closed += 1

    def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
        with self._lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.posted.append(request.filename)
        if request.filename.startswith("gone"):
            raise CloudError("the Function URL refuses all frames")
        result = FrameResult(request.request_id, request.filename)
        self._messages.put(Received(request.filename, "r", "", 0.0, 0.0, result))
        with self._lock:
            self.inside -= 1
        return AcceptedPost(1, 1, 0.01)

    def receive(self, *, wait: int = 20) -> list[Received]:
        try:
            return [self._messages.get(timeout=0.01)]
        except queue.Empty:
            return []

    def delete(self, messages: Sequence[Received]) -> None:
        self.deleted += [message.message_id for message in messages]

    def release(self, messages: Sequence[Received]) -> float:
        self.released += [message.message_id for message in messages]
        return 0.0


class Frames:
    """A source of frames without content, named `NAME-INDEX`."""

    live = False

    def __init__(self, name: str, count: int, problems: Sequence[str] = ()) -> None:
        self.problems = list(problems)
        self._name = name
        self._count = count

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            yield Frame(index, f"{self._name}-{index}", index / 10, file=JPEG)


NOTHING = Frames("nothing", 0)


class Waiting(Frames):
    """A camera that delivers one frame, and then none until it is closed."""

    def __init__(self, name: str) -> None:
        super().__init__(name, 1)
        self.waits = threading.Event()
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        yield from super().__iter__()
        self.waits.set()
        assert self._closed.wait(60)

    def close(self) -> None:
        self._closed.set()


def a_run(name: str, shared: SharedTransport, source: Frames, concurrency: int = 2) -> CameraRun:
    options = RunOptions(RequestOptions(), concurrency, timeout=600)
    return CameraRun(name, Session(shared.camera(name), options, RunStats(1000)), source)


def names(report: RunReport) -> set[str]:
    return set(report.stats.names)


def test_each_camera_gets_the_answers_to_its_own_frames() -> None:
    cloud = Cloud()
    with SharedTransport(cloud.transport, concurrency=3) as shared:
        reports = run_all(
            [a_run(f"cam{n}", shared, Frames(f"cam{n}", 20)) for n in range(5)]
        ).reports
    for n in range(5):
        assert names(reports[f"cam{n}"]) == {f"cam{n}-{i}" for i in range(20)}
        assert reports[f"cam{n}"].exit_code == 0
    assert cloud.most_inside <= 3
    assert sorted(cloud.deleted) == sorted(cloud.posted)
    # The connections are closed once, after the last camera.
    assert cloud.closed == 1


def test_a_camera_that_fails_does_not_end_the_others() -> None:
    cloud = Cloud()
    with SharedTransport(cloud.transport, concurrency=2) as shared:
        report = run_all(
            [
                a_run("gone", shared, Frames("gone", 20)),
                a_run("ended", shared, Frames("ended", 3, ["ended after 3 frames"])),
                a_run("well", shared, Frames("well", 30)),
            ]
        )
    reports = report.reports
    assert len(names(reports["well"])) == 30
    assert [reports[name].exit_code for name in ("gone", "ended", "well")] == [3, 1, 0]
    assert report.exit_code == 3
    assert report.counts.answered == 33
    assert str(report.incomplete()).startswith(
        "1 of 3 cameras ended early. gone: the Function URL refuses all frames"
    )
    assert report.as_dict()["answered"] == 33
    assert report.as_dict()["cameras"]["well"]["answered"] == 30


def test_an_outcome_that_cannot_be_recorded_ends_its_own_camera_and_its_answer_stays() -> None:
    def full(outcome: FrameOutcome) -> None:
        raise FacectlError("r.jsonl can't be written any more: No space left on device")

    cloud = Cloud()
    with SharedTransport(cloud.transport, concurrency=2) as shared:
        one, other = (a_run(n, shared, Frames(n, 10)) for n in ("one", "other"))
        one.session.tracker.listen(full)
        reports = run_all([one, other]).reports
    assert "No space left" in str(reports["one"].failure)
    assert len(names(reports["other"])) == 10
    assert not any(name.startswith("one-") for name in cloud.deleted)
    assert any(name.startswith("one-") for name in cloud.released)


def test_one_reason_for_all_cameras_is_given_once() -> None:
    cloud = Cloud()
    with SharedTransport(cloud.transport, concurrency=2) as shared:
        report = run_all([a_run(f"gone{n}", shared, Frames(f"gone{n}", 2)) for n in range(3)])
    error = report.incomplete()
    assert str(error) == "the Function URL refuses all frames"
    assert type(error) is CloudError


def test_the_reason_of_one_camera_is_not_that_of_all() -> None:
    cloud = Cloud()
    with SharedTransport(cloud.transport, concurrency=2) as shared:
        report = run_all([a_run(name, shared, Frames(name, 2)) for name in ("gone", "well")])
        empty = run_all([a_run("gone", shared, Frames("gone", 2)), a_run("no", shared, NOTHING)])
    for each in (report, empty):
        assert str(each.incomplete()) == (
            "1 of 2 cameras ended early. gone: the Function URL refuses all frames"
        )


def test_a_camera_that_never_opened_counts_as_ended_early() -> None:
    report = CamerasReport({}, {"door": InputError("door can't be opened")}, 1.0)
    assert report.exit_code == 3
    both = CamerasReport(
        {}, {"door": InputError("can't be opened"), "yard": InputError("is in use")}, 1.0
    )
    error = both.incomplete()
    assert isinstance(error, IncompleteError)
    assert str(error) == "2 of 2 cameras ended early. door: can't be opened; yard: is in use"
    assert both.as_dict()["cameras"]["door"] == {"error": "can't be opened"}


def test_interrupting_ends_a_camera_that_waits_for_a_frame() -> None:
    cloud = Cloud()
    source = Waiting("door")
    with SharedTransport(cloud.transport, concurrency=1) as shared:
        run = a_run("door", shared, source)
        thread = threading.Thread(target=run.run, daemon=True)
        thread.start()
        assert source.waits.wait(60)
        run.interrupt()
        thread.join(60)
    assert run.report is not None
    assert run.report.interrupted
    assert run.report.exit_code == 3


def interrupting(*sources: Waiting) -> Callable[[object], None]:
    """Progress that is Ctrl-C once every source waits for a frame."""

    def progress(_: object) -> None:
        if all(source.waits.is_set() for source in sources):
            raise KeyboardInterrupt

    return progress


def test_ctrl_c_ends_all_cameras_with_a_report() -> None:
    cloud = Cloud()
    sources = Waiting("door"), Waiting("yard")
    with SharedTransport(cloud.transport, concurrency=2) as shared:
        runs = [a_run(source._name, shared, source) for source in sources]
        report = run_all(runs, progress=interrupting(*sources))
    assert report.interrupted
    assert report.as_dict()["interrupted"] is True
    assert report.exit_code == 3
    assert {name: each.interrupted for name, each in report.reports.items()} == {
        "door": True,
        "yard": True,
    }


def test_a_camera_that_does_not_end_after_ctrl_c_is_named() -> None:
    class Deaf(Waiting):
        def close(self) -> None:
            """It waits for its camera all the same."""

    cloud = Cloud()
    deaf, well = Deaf("deaf"), Waiting("well")
    now = itertools.count()
    with SharedTransport(cloud.transport, concurrency=2) as shared:
        runs = [a_run("deaf", shared, deaf), a_run("well", shared, well)]
        report = run_all(
            runs, progress=interrupting(deaf, well), clock=lambda: float(next(now) * 4)
        )
    assert str(report.unopened["deaf"]) == "it did not end within 8 s of Ctrl-C"
    assert report.exit_code == 3
    deaf._closed.set()


def test_a_defect_in_one_camera_is_raised() -> None:
    class Broken(Frames):
        def __iter__(self) -> Iterator[Frame]:
            raise ZeroDivisionError("a defect")

    cloud = Cloud()
    with (
        SharedTransport(cloud.transport, concurrency=1) as shared,
        pytest.raises(ZeroDivisionError, match="a defect"),
    ):
        run_all([a_run("broken", shared, Broken("broken", 1))])


def test_the_report_has_the_sums_the_time_and_the_progress() -> None:
    cloud = Cloud()
    now = iter([10.0, 12.3456])
    progress: list[int] = []
    with SharedTransport(cloud.transport, concurrency=2) as shared:
        report = run_all(
            [a_run("one", shared, Frames("one", 3)), a_run("two", shared, Frames("two", 4))],
            unopened={"door": InputError("can't be opened", hint="look at it")},
            progress=lambda counts: progress.append(counts.opened),
            clock=lambda: next(now),
        )
    found = report.as_dict()
    assert (found["sent"], found["answered"], found["seconds"]) == (7, 7, 2.346)
    assert not found["interrupted"]
    assert list(found["cameras"]) == ["one", "two", "door"]
    assert found["cameras"]["one"]["sent"] == 3
    assert all(opened <= 7 for opened in progress)
    error = report.incomplete()
    assert str(error) == "1 of 3 cameras ended early. door: can't be opened"
    assert error is not None
    assert error.hint == "look at it"


def test_different_reasons_are_given_with_their_cameras_and_the_first_hint() -> None:
    errors = {
        "door": InputError("door can't be opened"),
        "yard": InputError("is in use", hint="close it"),
        "gate": InputError("is in use", hint="open it"),
    }
    error = CamerasReport({}, errors, 1.0).incomplete()
    # An error that begins with the camera's name needs it no second time.
    assert str(error) == (
        "3 of 3 cameras ended early. door can't be opened; yard: is in use; gate: is in use"
    )
    assert error is not None
    assert error.hint == "close it"
    assert CamerasReport({}, {}, 1.0).incomplete() is None
    assert CamerasReport({}, {}, 1.0).exit_code == 0


def test_cameras_that_wait_take_turns() -> None:
    slots = FairSlots(1)
    assert slots.ask("busy").is_set()
    asked = ["busy", "busy", "busy", "door", "yard", "door"]
    waiting = [(camera, slots.ask(camera)) for camera in asked]
    order: list[str] = []
    for _ in asked:
        slots.release()
        (now,) = (pair for pair in waiting if pair[1].is_set())
        waiting.remove(now)
        order.append(now[0])
    # The busy camera asked first and most often, and others wait for one of its frames at most.
    assert order == ["busy", "door", "yard", "busy", "door", "busy"]


def test_a_stopped_camera_leaves_its_place() -> None:
    slots = FairSlots(1)
    with (
        slots.slot("busy", sleep=lambda _: False),
        pytest.raises(FrameUndelivered, match="before its turn"),
        slots.slot("stopped", sleep=lambda _: True),
    ):
        pass
    # Neither has kept the slot.
    assert slots.ask("other").is_set()


@pytest.mark.parametrize(
    ("concurrency", "cameras", "threads"),
    [(4, 1, 4), (4, 2, 4), (8, 4, 4), (4, 100, 2), (1, 100, 1), (256, 1000, 2)],
)
def test_threads_of_each_camera(concurrency: int, cameras: int, threads: int) -> None:
    assert sender_threads(concurrency, cameras) == threads
