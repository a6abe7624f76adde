"""A run over a transport in this process: losses, late answers, a full disk."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence

import pytest

from facectl.cli.run_report import warnings
from facectl.errors import CloudError, FacectlError, IncompleteError
from facectl.stream.frames import Frame
from facectl.stream.outcomes import AcceptedPost, FrameOutcome
from facectl.stream.responses import Received
from facectl.stream.results import RunStats
from facectl.stream.sender import RequestOptions
from facectl.stream.session import RunOptions, Session
from facectl.stream.transport import Transport
from lambda_src.contract import FrameRequest, FrameResult

JPEG = b"\xff\xd8\xff\xe0 a JPEG for all that the client looks at"


class Cloud:
    """Endpoint and queue; `answers` says which frames are answered when a frame is posted.

    Its clock moves by a second with each poll that finds nothing.
    """

    def __init__(self, answers: Callable[[int], Sequence[int]]) -> None:
        self.now = 100.0
        self.posted: list[int] = []
        self.deleted: list[str] = []
        self.transport = Transport(self, self)
        self._answers = answers
        self._messages: queue.Queue[Received] = queue.Queue()

    def clock(self) -> float:
        return self.now

    def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
        run, _, index = request.request_id.rpartition("-")
        self.posted.append(int(index))
        for other in self._answers(int(index)):
            result = FrameResult(f"{run}-{other:06d}", "Ann")
            self._messages.put(Received(f"m{other}", f"r{other}", "", 0.0, 0.0, result))
        return AcceptedPost(1, 1, 0.01)

    def receive(self, *, wait: int = 20) -> list[Received]:
        try:
            return [self._messages.get(timeout=0.01)]
        except queue.Empty:
            self.now += 1
            return []

    def delete(self, messages: Sequence[Received]) -> None:
        self.deleted += [message.message_id for message in messages]

    def release(self, messages: Sequence[Received]) -> float:
        return 0.0


class Frames:
    """A source of frames without content."""

    live = False

    def __init__(self, count: int) -> None:
        self.problems: list[str] = []
        self._count = count

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            yield Frame(index, f"f{index}", index / 10, file=JPEG)


def session(cloud: Cloud, **plan: object) -> Session:
    fields: dict[str, object] = {"concurrency": 1, "window": 1, "timeout": 30.0, **plan}
    return Session(
        cloud.transport, RunOptions(RequestOptions(), **fields), RunStats(0), clock=cloud.clock
    )  # type: ignore[arg-type]


def test_a_window_of_one_continues_after_a_loss() -> None:
    cloud = Cloud(lambda index: [] if index in {0, 3} else [index])
    report = session(cloud).run(Frames(6))
    assert cloud.posted == list(range(6))
    assert report.stats.statuses == {"answered": 4, "unanswered": 2}
    assert report.failure is None
    assert report.exit_code == 1
    assert not report.finished


def test_a_late_answer_is_reported_deleted_and_not_a_duplicate() -> None:
    # The answer to frame 0 comes when its deadline has let frame 1 through.
    cloud = Cloud(lambda index: [[], [0, 1], [2]][index])
    run = session(cloud)
    late: list[FrameOutcome] = []
    run.tracker.listen(lambda _: None, late=late.append)
    report = run.run(Frames(3))
    assert report.stats.statuses == {"answered": 2, "unanswered": 1}
    assert (report.counts.late, report.counts.duplicates) == (1, 0)
    assert [(o.index, o.status) for o in late] == [(0, "late")]
    assert late[0].latency is not None
    assert late[0].latency > 30
    assert cloud.deleted == ["m0", "m1", "m2"]
    # It missed its deadline, and nothing is left to wait for.
    assert report.exit_code == 1
    assert report.finished
    assert report.as_dict()["late"] == 1
    assert warnings(report) == [
        "1 unanswered: frames 0",
        "1 answered after their deadline: --out has the answers",
    ]


def test_a_pipeline_that_stops_answering_ends_the_run() -> None:
    cloud = Cloud(lambda index: [index] if index < 5 else [])
    report = session(cloud).run(Frames(100))
    assert isinstance(report.failure, IncompleteError)
    assert "no answer for 60 s while" in str(report.failure)
    assert report.exit_code == 3
    assert report.counts.answered == 5
    assert 13 <= len(cloud.posted) < 100


def full(*statuses: str) -> Callable[[FrameOutcome], None]:
    def listener(outcome: FrameOutcome) -> None:
        if outcome.status in statuses:
            raise FacectlError("r.jsonl can't be written any more: No space left on device")

    return listener


def test_a_full_disk_at_the_end_leaves_report_and_exit_code() -> None:
    cloud = Cloud(lambda index: [] if index == 2 else [index])
    run = session(cloud, window=10)
    run.tracker.listen(full("unanswered"))
    report = run.run(Frames(3))
    assert report.stats.statuses == {"answered": 2, "unanswered": 1}
    assert report.exit_code == 3
    assert "can't be written any more" in str(report.incomplete())


def test_a_full_disk_in_the_middle_counts_each_frame_once() -> None:
    cloud = Cloud(lambda index: [index])
    run = session(cloud)
    run.tracker.listen(full("answered", "unanswered"))
    report = run.run(Frames(3))
    assert report.exit_code == 3
    assert report.stats.statuses == {"unanswered": 1}
    assert cloud.deleted == []


def test_a_full_disk_when_a_run_is_resumed_ends_it_with_a_report() -> None:
    class FullDisk:
        run = "run"
        resumable = True

        def earlier(self) -> list[FrameOutcome]:
            return [FrameOutcome(0, "f0", "run-000000", 0.0, "accepted")]

        def done(self, outcome: FrameOutcome) -> None:
            """Accept the outcome."""

    cloud = Cloud(lambda index: [index])
    run = Session(cloud.transport, RunOptions(RequestOptions()), RunStats(0), run_file=FullDisk())  # type: ignore[arg-type]
    run.tracker.listen(full("accepted"))
    report = run.run(Frames(3))
    assert report.exit_code == 3
    assert cloud.posted == []


def test_a_cloud_error_is_reported_before_a_disk_error() -> None:
    class Broken(Cloud):
        def receive(self, *, wait: int = 20) -> list[Received]:
            raise CloudError("access denied")

    run = session(Broken(lambda index: [index]), window=10)
    run.tracker.listen(full("unanswered"))
    report = run.run(Frames(3))
    assert str(report.failure) == "access denied"


@pytest.mark.parametrize("wait", [True, False])
def test_a_run_without_losses_is_finished_with_exit_code_0(wait: bool) -> None:
    cloud = Cloud(lambda index: [index])
    report = session(cloud, wait=wait, window=3).run(Frames(5))
    assert report.exit_code == 0
    assert report.finished
