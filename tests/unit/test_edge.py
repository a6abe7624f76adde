"""Detection on this computer: the queue on disk, the outbox, and runs over both."""

from __future__ import annotations

import json
import platform
import queue
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

from facectl import aws
from facectl.aws import Clients
from facectl.cli.options import announced
from facectl.context import Deployment
from facectl.edge import endpoint as endpoint_module
from facectl.edge import outbox as outbox_module
from facectl.edge import transport as transport_module
from facectl.edge.disk_queue import DiskQueue
from facectl.edge.earlier import EarlierAnswers
from facectl.edge.endpoint import EDGE_WAIT, EdgeEndpoint
from facectl.edge.outbox import Outbox, RefusedError
from facectl.edge.transport import ReconnectingQueue, SqsRequests, edge_transport
from facectl.errors import CloudError, InputError, NotRunningError
from facectl.stream.delivery import FrameRefused
from facectl.stream.frames import Frame
from facectl.stream.in_flight import InFlightTracker
from facectl.stream.outcomes import AcceptedPost, FrameOutcome
from facectl.stream.responses import Received
from facectl.stream.results import ResultsFile, RunStats
from facectl.stream.run_file import RunFile, RunTask
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from facectl.stream.session import RunOptions, Session
from facectl.stream.transport import Transport
from facectl.visits import outputs
from facectl.visits.outputs import VisitOutputs
from lambda_src.contract import FrameRequest, FrameResult, RequestError
from lambda_src.stages.detect import FoundFaces
from lambda_src.timing import Stopwatch

JPEG = b"\xff\xd8\xff\xe0 a JPEG for all that the client looks at"


class Finder:
    """Finds a face in every frame but each third; the fifth is no image."""

    def find(self, request: FrameRequest, _: Stopwatch) -> FoundFaces:
        index = int(request.request_id[-6:])
        if index == 4:
            raise RequestError(400, "bad_image", "no image", request.request_id)
        if index % 3 == 0:
            result = FrameResult(request.request_id, "No-Face")
            return FoundFaces(0, result.serialise(), result, 8, 8)
        body = json.dumps({"request_id": request.request_id, "faces": ["x"]})
        return FoundFaces(1, body, None, 8, 8)


class Cloud:
    """The request queue and the answers; `away` while nothing answers."""

    def __init__(self) -> None:
        self.away = False
        self.missing = False
        self.refusal: CloudError | None = None
        self.unsent: set[str] = set()
        self.sent: list[str] = []
        self._answers: queue.Queue[Received] = queue.Queue()

    def look_up(self) -> str:
        if self.missing:
            raise RefusedError("looking up q: NonExistentQueue")
        if self.away:
            raise NotRunningError("nothing answers")
        return "url"

    def send(self, bodies: Sequence[str]) -> dict[int, str]:
        if self.refusal is not None:
            raise self.refusal
        if self.away:
            raise NotRunningError("nothing answers")
        failed = {}
        for index, body in enumerate(bodies):
            request_id = json.loads(body)["request_id"]
            if request_id in self.unsent:
                failed[index] = "ServiceUnavailable"
                self.unsent.discard(request_id)
                continue
            self.sent.append(request_id)
            result = FrameResult(request_id, "Ann")
            self._answers.put(Received(request_id, "r", "", 0.0, 0.0, result))
        return failed

    def receive(self, *, wait: int = 20) -> list[Received]:
        try:
            return [self._answers.get(timeout=0.01)]
        except queue.Empty:
            return []

    def delete(self, messages: Sequence[Received]) -> None:
        """They are not visible again here."""

    def release(self, messages: Sequence[Received]) -> float:
        return 0.0


class Frames:
    live = False

    def __init__(self, count: int) -> None:
        self.problems: list[str] = []
        self._count = count

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            yield Frame(index, f"f{index}", index / 10, file=JPEG)


def an_outbox(cloud: Cloud, disk: DiskQueue, told: list[str] | None = None) -> Outbox:
    report = (told if told is not None else []).append
    return Outbox(disk, cloud, report=report, wait=lambda _: threading.Event().wait(0.001))


def a_session(cloud: Cloud, outbox: Outbox) -> Session:
    endpoint = EdgeEndpoint(Finder(), outbox)  # type: ignore[arg-type]
    transport = Transport(endpoint, cloud, outbox.close, outbox=outbox)
    return Session(transport, RunOptions(RequestOptions(), 2, timeout=600), RunStats(100))


def test_frames_with_faces_are_sent_and_the_others_answered_here() -> None:
    cloud = Cloud()
    outbox = an_outbox(cloud, DiskQueue.open("a"))
    outbox.start()
    session = a_session(cloud, outbox)
    report = session.run(Frames(9))
    assert report.failure is None
    assert report.stats.by_frames() == {"Ann": 5, "No-Face": 3}
    assert report.stats.statuses == {"answered": 8, "refused": 1}
    assert report.counts.accepted == 8
    assert [int(request_id[-6:]) for request_id in sorted(cloud.sent)] == [1, 2, 5, 7, 8]
    assert report.counts.duplicates == 0


def test_frames_wait_on_disk_until_the_cloud_is_back() -> None:
    cloud, told = Cloud(), []
    cloud.away = True
    outbox = an_outbox(cloud, DiskQueue.open("a"), told)
    outbox.start()
    session = a_session(cloud, outbox)
    done = []
    thread = threading.Thread(target=lambda: done.append(session.run(Frames(9))), daemon=True)
    thread.start()
    run = session.tracker.run
    assert until(lambda: outbox.unsent(run) == 5)
    # Nothing is lost or unanswered meanwhile: the wait begins when SQS has a frame.
    assert session.tracker.counts.waiting == 0
    cloud.away = False
    thread.join(60)
    assert done[0].stats.by_frames() == {"Ann": 5, "No-Face": 3}
    assert told[0] == "Frames wait on this disk until the cloud answers: nothing answers"
    assert told[1].startswith("The cloud is back after ")


def until(condition: Callable[[], bool]) -> bool:
    for _ in range(6000):
        if condition():
            return True
        threading.Event().wait(0.01)
    return False


def test_what_a_killed_process_left_is_sent_once_by_the_next() -> None:
    cloud = Cloud()
    killed = DiskQueue.open("a")
    for request_id in ("r-000001", "r-000002", "r-000001"):
        assert killed.add(request_id, 1, json.dumps({"request_id": request_id})) == []
    killed._connection.close()
    outbox = an_outbox(cloud, DiskQueue.open("a"))
    outbox.start()
    assert until(lambda: outbox.unsent("r") == 0)
    outbox.close()
    assert cloud.sent == ["r-000001", "r-000002"]
    # An empty file is deleted.
    assert not killed.path.exists()


def test_a_resumed_run_counts_what_waited_on_disk_once() -> None:
    cloud = Cloud()
    cloud.away = True
    task = RunTask("d", ("clip",), Sampling(), RequestOptions())

    def process(run_file: RunFile) -> Session:
        outbox = an_outbox(cloud, DiskQueue.open("a"))
        endpoint = EdgeEndpoint(Finder(), outbox)  # type: ignore[arg-type]
        transport = Transport(endpoint, cloud, outbox.close, outbox=outbox)
        options = RunOptions(RequestOptions(), 2, timeout=600)
        return Session(transport, options, RunStats(100), run_file=run_file)

    first_file = RunFile.begin(task)
    first = process(first_file)
    done = []
    thread = threading.Thread(target=lambda: done.append(first.run(Frames(9))), daemon=True)
    thread.start()
    assert until(lambda: first.tracker.counts.opened == 9 and first.tracker.counts.answered == 3)
    first.interrupt()
    thread.join(60)
    assert done[0].stats.statuses == {"answered": 3, "refused": 1, "unsent": 5}
    first_file.close()

    cloud.away = False
    again = RunFile.resume(task)
    report = process(again).run(Frames(9))
    again.remove()
    assert report.stats.by_frames() == {"Ann": 5, "No-Face": 3}
    assert (report.counts.accepted, report.counts.duplicates) == (8, 0)
    assert len(cloud.sent) == len(set(cloud.sent)) == 5
    assert report.finished


def test_two_processes_use_two_files_and_other_deployments_others() -> None:
    first, second, other = DiskQueue.open("a"), DiskQueue.open("a"), DiskQueue.open("b")
    assert len({first.path, second.path, other.path}) == 3
    first.close()
    again = DiskQueue.open("a")
    assert again.path == first.path
    for each in (again, second, other):
        each.close()


@pytest.mark.parametrize(
    ("sizes", "first"),
    # SQS takes ten messages and 1 MiB at once; one that is larger is refused by itself.
    [([10] * 25, 10), ([400_000] * 5, 2), ([1_200_000, 10], 1), ([10, 1_200_000], 1)],
)
def test_a_batch_is_what_sqs_takes_at_once(sizes: list[int], first: int) -> None:
    disk = DiskQueue.open("a")
    for number, size in enumerate(sizes):
        disk.add(f"r-{number:06d}", 1, "x" * size)
    batch = disk.batch()
    assert [message.request_id for message in batch] == [f"r-{n:06d}" for n in range(first)]
    disk.remove(batch)
    assert disk.batch()[0].request_id == f"r-{first:06d}"
    assert disk.waiting() == len(sizes) - first


def test_what_was_sent_leaves_its_room_on_disk() -> None:
    disk = DiskQueue.open("a", most_bytes=150)
    for number in range(200):
        assert disk.add(f"r-{number:06d}", 1, "ä" * 30) == []
        assert disk.add(f"r-{number:06d}", 1, "ä" * 30) == []
        disk.remove(disk.batch())
    assert disk.add("s-000000", 1, "x" * 75) == []
    assert disk.add("s-000001", 1, "x" * 75) == []
    assert disk.add("s-000002", 1, "x") == ["s-000000"]


def test_only_the_owner_can_read_the_disk_queue() -> None:
    disk = DiskQueue.open("a")
    disk.add("r-000000", 1, "x")
    assert stat.S_IMODE(disk.path.parent.stat().st_mode) == 0o700
    for file in disk.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_full_disk_queue_drops_the_oldest_and_its_frame_has_failed() -> None:
    cloud = Cloud()
    disk = DiskQueue.open("a", most_bytes=150)
    assert disk.add("r-000000", 1, "x" * 60) == []
    assert disk.add("r-000001", 1, "x" * 60) == []
    assert disk.add("r-000002", 1, "x" * 60) == ["r-000000"]
    assert disk.add("r-000003", 1, "x" * 200) == ["r-000001", "r-000002", "r-000003"]
    assert disk.waiting() == 0
    disk = DiskQueue.open("c", most_bytes=200)
    cloud.away = True
    outbox = an_outbox(cloud, disk)
    session = a_session(cloud, outbox)
    outbox.start()
    done = []
    thread = threading.Thread(target=lambda: done.append(session.run(Frames(30))), daemon=True)
    thread.start()
    assert until(lambda: session.tracker.counts.opened == 30 and outbox.dropped > 0)
    cloud.away = False
    thread.join(60)
    assert not thread.is_alive()
    statuses = done[0].stats.statuses
    assert statuses["answered"] + statuses["refused"] + statuses["failed"] == 30
    assert statuses["failed"] == outbox.dropped > 0
    assert done[0].exit_code == 1


def test_the_disk_queue_gives_its_disk_back_after_an_outage() -> None:
    disk = DiskQueue.open("a")
    for number in range(400):
        disk.add(f"r-{number:06d}", 1, "x" * 50_000)

    def size() -> int:
        return sum(path.stat().st_size for path in disk.path.parent.iterdir())

    assert size() > 20_000_000
    disk.remove(disk.batch())
    # Little is free: it would copy nearly everything.
    assert size() > 20_000_000
    while batch := disk.batch():
        disk.remove(batch)
    assert size() < 3_000_000
    assert disk.add("r-000400", 1, "y") == []
    assert [message.number for message in disk.batch()] == [401]
    disk.remove(disk.batch())
    disk.close()
    assert not list(disk.path.parent.iterdir())


def test_one_message_that_is_not_accepted_is_sent_again() -> None:
    cloud = Cloud()
    outbox = an_outbox(cloud, DiskQueue.open("a"))
    session = a_session(cloud, outbox)
    cloud.unsent = {f"{session.tracker.run}-{index:06d}" for index in (1, 5)}
    outbox.start()
    report = session.run(Frames(9))
    assert report.stats.by_frames() == {"Ann": 5, "No-Face": 3}
    assert len(cloud.sent) == len(set(cloud.sent)) == 5


def test_a_batch_that_is_not_accepted_is_sent_again() -> None:
    cloud, told = Cloud(), []
    cloud.unsent = {"r-000001"}
    outbox = an_outbox(cloud, DiskQueue.open("a"), told)
    outbox.add("r-000001", 1, json.dumps({"request_id": "r-000001"}))
    outbox.start()
    assert until(lambda: outbox.unsent("r") == 0)
    outbox.close()
    assert cloud.sent == ["r-000001"]
    assert told[0] == "Frames wait on this disk until the cloud answers: ServiceUnavailable"


def test_a_run_is_told_how_its_frame_was_accepted() -> None:
    accepted: dict[str, AcceptedPost] = {}
    tracker = SimpleNamespace(run="r", on_disk=lambda _: None, accepted=accepted.__setitem__)
    outbox = Outbox(DiskQueue.open("a"), Cloud(), clock=lambda: 5.0)
    outbox.add("r-000001", 3, json.dumps({"request_id": "r-000001"}))
    outbox.bind(tracker)  # type: ignore[arg-type]
    assert until(lambda: bool(accepted))
    outbox.close()
    assert accepted == {"r-000001": AcceptedPost(3, 1, 0.0)}


def test_a_queue_that_refuses_ends_the_run_and_keeps_the_messages() -> None:
    cloud = Cloud()
    cloud.refusal = RefusedError("sending to q: AccessDenied", hint="facectl policy")
    outbox = an_outbox(cloud, DiskQueue.open("a"))
    outbox.start()
    report = a_session(cloud, outbox).run(Frames(9))
    assert "AccessDenied" in str(report.failure)
    assert DiskQueue.open("a").waiting() > 0


def test_an_hour_without_the_cloud_ends_a_run_that_only_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud = Cloud()
    cloud.away = True
    now = [0.0]
    wait = lambda _: threading.Event().wait(0.001)  # noqa: E731
    outbox = Outbox(DiskQueue.open("a"), cloud, clock=lambda: now[0], wait=wait)
    outbox.add("r-000001", 1, json.dumps({"request_id": "r-000001"}))
    outbox.start()
    assert until(lambda: outbox._failures > 0)
    now[0] = outbox_module.LONGEST_OUTAGE - 1
    assert outbox.unsent("r") == 1
    now[0] = outbox_module.LONGEST_OUTAGE + 1
    with pytest.raises(CloudError, match="has not answered for 60 minutes; 1 frames wait"):
        outbox.unsent("r")
    # Its answers can't be received either.
    with pytest.raises(CloudError, match="has not answered for 60 minutes"):
        outbox.unsent("another")
    outbox.close()


def test_the_endpoint_counts_its_frames_and_measures_their_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, waits = [100.0], {}
    busy, asked, free = threading.Event(), threading.Event(), threading.Event()

    class Held(Finder):
        """Detects the first frame until the test ends that."""

        def find(self, request: FrameRequest, watch: Stopwatch) -> FoundFaces:
            waits[request.request_id] = watch.durations_ms[EDGE_WAIT]
            busy.set()
            assert free.wait(60)
            return super().find(request, watch)

    def clock() -> float:
        if busy.is_set():
            asked.set()
        return now[0]

    monkeypatch.setattr(endpoint_module, "time", SimpleNamespace(perf_counter=clock))
    disk = DiskQueue.open("a")
    endpoint = EdgeEndpoint(Held(), an_outbox(Cloud(), disk))  # type: ignore[arg-type]
    posted: dict[int, AcceptedPost] = {}

    def post(number: int) -> None:
        posted[number] = endpoint.post(FrameRequest(f"r-{number:06d}", "f", JPEG), sleep=bool)

    first, second = (threading.Thread(target=post, args=(n,), daemon=True) for n in (0, 1))
    first.start()
    assert busy.wait(60)
    # The second one has begun, and waits for the first.
    second.start()
    assert asked.wait(60)
    now[0] += 0.25
    free.set()
    for thread in (first, second):
        thread.join(60)
    assert waits == {"r-000000": 0.0, "r-000001": 250.0}
    assert posted[0] == AcceptedPost(0, 1, 0.25, answer=FrameResult("r-000000", "No-Face"))
    assert posted[1] == AcceptedPost(1, 1, 0.25, queued=True)
    assert (endpoint.frames, endpoint.with_faces) == (2, 1)
    assert endpoint.image_bytes == 2 * len(JPEG)
    assert disk.waiting() == 1


def test_an_invalid_image_is_refused() -> None:
    endpoint = EdgeEndpoint(Finder(), an_outbox(Cloud(), DiskQueue.open("a")))  # type: ignore[arg-type]
    with pytest.raises(FrameRefused, match="400: no image"):
        endpoint.post(FrameRequest("r-000004", "f", JPEG))


def test_a_damaged_or_unwritable_queue_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskQueue.open("a")
    disk.add("r-1", 1, "x")
    disk._connection.close()
    disk.path.write_bytes(b"no database, and longer than a header of SQLite " * 100)
    with pytest.raises(InputError, match="is damaged"):
        DiskQueue.open("a")
    disk.path.unlink()
    for suffix in ("-wal", "-shm"):
        disk.path.with_name(disk.path.name + suffix).unlink(missing_ok=True)

    def refuse(*_: object, **__: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(InputError, match="can't be opened"):
        DiskQueue.open("a")


class Unreliable:
    """A queue that raises what it is told to."""

    def __init__(self) -> None:
        self.error: CloudError | None = None

    def receive(self, *, wait: int = 20) -> list[Received]:
        if self.error is not None:
            raise self.error
        return []

    def delete(self, messages: Sequence[Received]) -> None:
        self.receive()

    def release(self, messages: Sequence[Received]) -> float:
        self.receive()
        return 0.5


def test_the_reader_of_answers_goes_on_without_the_cloud() -> None:
    below = Unreliable()
    opened: list[Unreliable] = []
    pauses: list[float] = []

    def open_queue() -> Unreliable:
        below.receive()
        opened.append(below)
        return below

    steady = ReconnectingQueue(open_queue, sleep=pauses.append)
    # Its process may begin before the cloud is there.
    below.error = NotRunningError("nothing answers")
    assert steady.receive() == []
    assert (len(pauses), opened) == (1, [])
    below.error = None
    assert steady.receive() == []
    assert (len(pauses), len(opened)) == (1, 1)
    below.error = NotRunningError("nothing answers")
    for _ in range(2000):
        assert steady.receive() == []
    steady.delete([])
    assert steady.release([]) == 0.0
    assert (len(pauses), len(opened)) == (2001, 1)


def test_the_answers_to_what_a_killed_camera_left_are_taken_once(tmp_path: Path) -> None:
    # A run of a file can be resumed, and is left alone.
    resumable = RunFile.begin(RunTask("d", ("clip",), Sampling(), RequestOptions()))
    ids = ["camera-000003", "camera-000004", f"{resumable.run}-000001"]
    earlier = EarlierAnswers.of(ids)
    results = ResultsFile(tmp_path / "out.jsonl", synthetic=False)
    earlier.listen(results.earlier)

    def message(request_id: str) -> Received:
        return Received(request_id, "r", "", 0.0, 0.0, FrameResult(request_id, "Ann"))

    foreign = replace(message("x"), result=None)
    others = [message(f"{resumable.run}-000001"), message("other-000003"), foreign]
    waiting = [
        message("camera-000003"),
        *others,
        message("camera-000003"),
        message("camera-000009"),
    ]
    deleted: list[Received] = []

    class Below(Unreliable):
        def receive(self, *, wait: int = 20) -> list[Received]:
            return waiting

        def delete(self, messages: Sequence[Received]) -> None:
            deleted.extend(messages)

    steady = ReconnectingQueue(Below)
    assert steady.receive() == waiting
    steady.earlier = earlier
    assert steady.receive() == others
    assert deleted == [each for each in waiting if each not in others]
    # The last one was sent before the kill.
    assert earlier.count == 2
    results.close()
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        {"status": "answered", "earlier": True, "request_id": f"camera-{n}", "result": "Ann"}
        for n in ("000003", "000009")
    ]
    resumable.remove()
    assert EarlierAnswers.of(ids).takes(message(f"{resumable.run}-000001"))


def test_a_deployment_that_is_missing_is_reported_before_the_first_face() -> None:
    cloud = Cloud()
    cloud.missing = True
    outbox = an_outbox(cloud, DiskQueue.open("a"))
    outbox.start()
    assert until(lambda: outbox.failure is not None)
    assert "NonExistentQueue" in str(outbox.failure)
    outbox.close()


def test_an_outage_at_the_start_ends_without_a_face() -> None:
    cloud, told = Cloud(), []
    cloud.away = True
    outbox = an_outbox(cloud, DiskQueue.open("a"), told)
    outbox.start()
    assert until(lambda: outbox._failures > 1)
    assert len(told) == 1
    cloud.away = False
    assert until(lambda: len(told) == 2)
    assert told[1].startswith("The cloud is back after ")
    assert outbox._failures == 0
    outbox.close()


def test_cameras_start_without_the_cloud_and_files_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> str:
        raise NotRunningError("nothing answers")

    deployment = Deployment("a", "local", endpoint_url="http://127.0.0.1:9", account="0" * 12)
    monkeypatch.setattr(transport_module, "queue_url", away)
    monkeypatch.setattr(transport_module, "ResponseQueue", away)
    monkeypatch.setattr(transport_module.store, "deployed", lambda _: None)
    monkeypatch.setattr(transport_module.EdgeEndpoint, "of", lambda *_, **__: None)
    with pytest.raises(NotRunningError):
        edge_transport(Clients(deployment))
    transport, _, outbox, _ = edge_transport(Clients(deployment), offline=True)
    outbox.bind(InFlightTracker())
    assert until(lambda: outbox._failures > 0)
    assert outbox.failure is None
    assert transport.queue.receive(wait=0) == []
    transport.close()


def test_a_missing_or_forbidden_queue_is_refused_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(code: str) -> CloudError:
        error = CloudError(f"looking up q: {code}", hint="facectl deploy")
        error.__cause__ = ClientError({"Error": {"Code": code}}, "GetQueueUrl")
        return error

    found: list[CloudError | None] = []

    def look_up(*_: object) -> str:
        error = found.pop(0)
        if error is not None:
            raise error
        return "url"

    deployment = Deployment("a", "local", endpoint_url="http://127.0.0.1:9", account="0" * 12)
    requests = SqsRequests(Clients(deployment))
    monkeypatch.setattr(transport_module, "queue_url", look_up)
    for code in ("AWS.SimpleQueueService.NonExistentQueue", "AccessDenied"):
        found[:] = [refused(code)]
        with pytest.raises(RefusedError, match=code) as raised:
            requests.look_up()
        assert raised.value.hint == "facectl deploy"
    found[:] = [refused("InternalError")]
    with pytest.raises(CloudError) as later:
        requests.look_up()
    assert not isinstance(later.value, RefusedError)
    found[:] = [None]
    # Asked for once.
    assert (requests.look_up(), requests.look_up()) == ("url", "url")


def test_the_recorded_account_counts_while_aws_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error: list[CloudError] = [NotRunningError("AWS does not answer")]

    def fail(_: Deployment) -> Deployment:
        raise error[0]

    monkeypatch.setattr(aws, "with_account", fail)
    known = Deployment("a", "aws", account="1" * 12)
    assert announced(known, offline=True) == known
    for deployment, offline in ((known, False), (Deployment("a", "aws"), True)):
        with pytest.raises(NotRunningError):
            announced(deployment, offline=offline)
    error[0] = CloudError("no AWS credentials")
    with pytest.raises(CloudError, match="no AWS credentials"):
        announced(known, offline=True)


def test_no_deadline_passes_during_an_outage() -> None:
    cloud, now = Cloud(), [0.0]
    outbox = an_outbox(cloud, DiskQueue.open("a"))
    tracker = InFlightTracker(timeout=60, clock=lambda: now[0])
    outbox.bind(tracker)
    ids = [
        tracker.open(Frame(index, "f", 0.0, file=JPEG), None, stop=lambda: False)
        for index in range(20)
    ]
    for request_id in ids[:10]:
        tracker.accepted(str(request_id), AcceptedPost(1, 1, 0.1))
    cloud.away = True
    for request_id in ids[10:]:
        outbox.add(str(request_id), 1, json.dumps({"request_id": request_id}))
    assert until(lambda: outbox._failures > 0)
    now[0] = 3000.0
    tracker.expire()
    assert (tracker.counts.waiting, tracker.hopeless) == (10, False)
    cloud.away = False
    assert until(lambda: tracker.counts.waiting == 20)
    now[0] = 3059.0
    tracker.expire()
    assert tracker.counts.waiting == 20
    now[0] = 3061.0
    tracker.expire()
    assert tracker.counts.waiting == 0
    outbox.close()


def test_frames_wait_behind_those_of_a_killed_process(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    answers = [
        Received("m", "r", "", 0.0, 0.0, FrameResult(f"camera-{index:06d}", "Ann"))
        for index in range(10)
    ]

    class Below(Unreliable):
        def receive(self, *, wait: int = 20) -> list[Received]:
            return [answers.pop(0)]

        def delete(self, messages: Sequence[Received]) -> None:
            """They are not visible again here."""

    deployment = Deployment("a", "local", endpoint_url="http://127.0.0.1:9", account="0" * 12)
    left = DiskQueue.open(deployment.key.name)
    left.add("camera-000000", 1, "x")
    left._connection.close()
    monkeypatch.setattr(transport_module, "queue_url", lambda *_: "url")
    monkeypatch.setattr(transport_module, "ResponseQueue", lambda _: Below())
    monkeypatch.setattr(transport_module.store, "deployed", lambda _: None)
    monkeypatch.setattr(transport_module.EdgeEndpoint, "of", lambda *_, **__: None)
    edge = edge_transport(Clients(deployment))
    monkeypatch.setattr(edge.outbox, "start", lambda: None)
    tracker = InFlightTracker(timeout=60, clock=lambda: now[0])
    edge.outbox.bind(tracker)
    request_id = tracker.open(Frame(0, "f", 0.0, file=JPEG), None, stop=lambda: False)
    tracker.accepted(str(request_id), AcceptedPost(1, 1, 0.1))
    for _ in range(10):
        now[0] += 50
        assert edge.transport.queue.receive() == []
    now[0] += 59
    tracker.expire()
    assert (tracker.counts.waiting, edge.earlier.count) == (1, 10)
    now[0] += 2
    tracker.expire()
    assert tracker.counts.waiting == 0
    edge.transport.close()


def test_a_run_of_an_outage_bound_later_is_paused_too() -> None:
    cloud, now = Cloud(), [0.0]
    cloud.away = True
    outbox = an_outbox(cloud, DiskQueue.open("a"))
    outbox.start()
    assert until(lambda: outbox._failures > 0)
    tracker = InFlightTracker(timeout=60, clock=lambda: now[0])
    outbox.bind(tracker)
    request_id = tracker.open(Frame(0, "f", 0.0, file=JPEG), None, stop=lambda: False)
    tracker.accepted(str(request_id), AcceptedPost(1, 1, 0.1))
    now[0] = 100.0
    tracker.expire()
    assert tracker.counts.waiting == 1
    outbox.close()


def test_visits_of_a_camera_wait_for_frames_on_disk() -> None:
    camera = SimpleNamespace(live=True)
    waits = outputs._frame_order(VisitOutputs(None, complete=True), camera)  # type: ignore[arg-type]
    passes = outputs._frame_order(VisitOutputs(None), camera)  # type: ignore[arg-type]
    late = FrameOutcome(1, "f1", "r-000001", 0.1, "answered")
    for order in (waits, passes):
        # An hour ago by the order's clock.
        order._clock = lambda: 0.0
        order.add(late)
        order._clock = lambda: 3600.0
    assert list(waits.ready()) == []
    assert list(passes.ready()) == [late]


def test_the_smallest_face_is_that_of_the_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, object]] = []
    monkeypatch.setattr(
        endpoint_module, "Detector", lambda _model, **settings: made.append(settings)
    )
    outbox = an_outbox(Cloud(), DiskQueue.open("a"))
    for size in (None, 60):
        EdgeEndpoint.of(None, outbox, threads=1, min_face_size=size)  # type: ignore[arg-type]
    assert [settings["min_face_size"] for settings in made] == [20, 60]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_all_threads_of_an_edge_process_share_one_heap() -> None:
    program = """
import ctypes, threading
from pathlib import Path
from facectl.edge import memory
memory.one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
found = []
threads = [threading.Thread(target=lambda: found.append(libc.malloc(1000))) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
line = next(x for x in Path("/proc/self/maps").read_text().splitlines() if x.endswith("[heap]"))
first, last = (int(part, 16) for part in line.split()[0].split("-"))
print(all(first <= each < last for each in found))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr
