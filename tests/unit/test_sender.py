"""The sender: bounded memory, schedule, stop, and the outcome of failed frames."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from facectl.errors import CloudError, NotRunningError
from facectl.stream.delivery import FrameRefused, FrameUndelivered
from facectl.stream.frames import Encoding, Frame
from facectl.stream.in_flight import InFlightTracker
from facectl.stream.outcomes import AcceptedPost, FrameOutcome
from facectl.stream.sender import RequestOptions, Sender
from lambda_src.contract import FrameRequest

# Against hanging alone.
LONG = 120.0
ASKING = RequestOptions(Encoding(max_side=16), max_faces=3, detail=True, min_face_size=48)


def frames(count: int) -> Iterator[Frame]:
    for n in range(count):
        yield Frame(n, f"f{n}", n / 10, pixels=np.zeros((32, 32, 3), np.uint8))


class Endpoint:
    """Handles each frame as the test says, and records it."""

    def __init__(self, does: Callable[[FrameRequest], None] = lambda _: None) -> None:
        self.does = does
        self.requests: list[FrameRequest] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
        with self._lock:
            self.requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            self.does(request)
        finally:
            with self._lock:
                self._now -= 1
        return AcceptedPost(1, 1, 0.0)


class Run:
    """A tracker that expects no responses, and a sender with it."""

    def __init__(self, endpoint: Endpoint, concurrency: int = 2, **kwargs: object) -> None:
        self.outcomes: dict[int, FrameOutcome] = {}
        self.tracker = InFlightTracker(wait=False)
        self.tracker.listen(lambda o: self.outcomes.__setitem__(o.index, o))
        self.sender = Sender(
            endpoint,
            self.tracker,
            ASKING,
            concurrency=concurrency,
            **kwargs,  # type: ignore[arg-type]
        )

    def statuses(self) -> dict[int, str]:
        return {index: o.status for index, o in sorted(self.outcomes.items())}


def test_every_frame_is_sent_once_with_the_request_options() -> None:
    endpoint = Endpoint()
    run = Run(endpoint, concurrency=4)
    run.sender.run(frames(40))
    name = run.tracker.run
    assert sorted(r.request_id for r in endpoint.requests) == [f"{name}-{n:06d}" for n in range(40)]
    first = min(endpoint.requests, key=lambda r: r.request_id)
    assert (first.filename, first.max_faces, first.detail) == ("f0", 3, True)
    assert first.min_face_size == 48
    assert first.image.startswith(b"\xff\xd8\xff")
    assert set(run.statuses().values()) == {"accepted"}


def test_threads_bound_the_requests_and_few_frames_are_read_ahead() -> None:
    limiter = threading.Event()
    posting = threading.Semaphore(0)
    taken = threading.Semaphore(0)
    looked = threading.Semaphore(0)

    def held(_: FrameRequest) -> None:
        posting.release()
        assert limiter.wait(LONG)

    def counted() -> Iterator[Frame]:
        for frame in frames(50):
            taken.release()
            yield frame

    endpoint = Endpoint(held)
    run = Run(endpoint, concurrency=3)
    sending = threading.Thread(
        target=run.sender.run, args=(counted(),), kwargs={"check": looked.release}
    )
    sending.start()
    # Three with the threads, two waiting, one that the loop holds.
    for _ in range(3):
        assert posting.acquire(timeout=LONG)
    for _ in range(6):
        assert taken.acquire(timeout=LONG)
    while looked.acquire(blocking=False):
        pass
    # The loop tries again and again to hand its frame over, and takes no other.
    for _ in range(3):
        assert looked.acquire(timeout=LONG)
    assert not taken.acquire(blocking=False)
    limiter.set()
    sending.join(LONG)
    assert endpoint.most_at_once == 3
    assert len(run.outcomes) == 50


def test_a_schedule_paces_frames_and_latency_counts_from_it() -> None:
    now = 50.0

    def stalls(request: FrameRequest) -> None:
        # The first POST stalls; the others stay due when they were due.
        nonlocal now
        now += 0.3 if request.filename == "f0" else 0.0

    tracker = InFlightTracker(wait=False, clock=lambda: now)
    outcomes: list[FrameOutcome] = []
    tracker.listen(outcomes.append)
    sender = Sender(Endpoint(stalls), tracker, ASKING, concurrency=1, clock=lambda: now)
    sender.run(frames(4), schedule=lambda frame: frame.timestamp)
    assert [o.due - 50 for o in outcomes] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [o.opened - 50 for o in outcomes] == pytest.approx([0, 0.3, 0.3, 0.3])


def test_a_refused_frame_does_not_stop_the_others() -> None:
    def picky(request: FrameRequest) -> None:
        if request.request_id.endswith("3"):
            raise FrameRefused("400: no image")

    run = Run(Endpoint(picky))
    run.sender.run(frames(6))
    assert run.statuses() == {n: "refused" if n == 3 else "accepted" for n in range(6)}
    assert run.outcomes[3].error == "400: no image"


def test_a_file_that_is_no_image_is_refused_without_a_request() -> None:
    endpoint = Endpoint()
    run = Run(endpoint)
    run.sender.run([Frame(0, "bad.bmp", 0.0, file=b"dear diary")])
    assert run.statuses() == {0: "refused"}
    assert endpoint.requests == []


def test_a_run_survives_one_undelivered_frame_but_not_eight_in_a_row() -> None:
    lost = {1, 4}

    def flaky(request: FrameRequest) -> None:
        if int(request.request_id[-6:]) in lost:
            raise FrameUndelivered("503: busy")

    run = Run(Endpoint(flaky), concurrency=1)
    run.sender.run(frames(6))
    assert run.statuses() == {n: "failed" if n in lost else "accepted" for n in range(6)}

    lost = set(range(100))
    run = Run(Endpoint(flaky), concurrency=1)
    with pytest.raises(CloudError, match="8 consecutive frames could not be delivered: 503: busy"):
        run.sender.run(frames(100))
    assert set(run.statuses().values()) == {"failed"}
    assert len(run.outcomes) == 8


@pytest.mark.parametrize("count", [1, 100])
def test_an_unreachable_cloud_ends_the_run_even_at_the_last_frame(count: int) -> None:
    def dead(_: FrameRequest) -> None:
        raise NotRunningError("nothing answers")

    run = Run(Endpoint(dead))
    with pytest.raises(NotRunningError, match="nothing answers"):
        run.sender.run(frames(count))
    run.sender.stop()


def test_a_check_that_raises_ends_the_run() -> None:
    def check() -> None:
        raise KeyboardInterrupt

    run = Run(Endpoint())
    with pytest.raises(KeyboardInterrupt):
        run.sender.run(frames(100), check=check)
    run.sender.stop()
    run.tracker.close(interrupted=True)


def test_stop_starts_no_request_and_waits_for_those_in_progress() -> None:
    limiter = threading.Event()
    posting = threading.Semaphore(0)

    def held(_: FrameRequest) -> None:
        posting.release()
        assert limiter.wait(LONG)

    endpoint = Endpoint(held)
    run = Run(endpoint, concurrency=2)

    def interrupted() -> Iterator[Frame]:
        yield from frames(4)
        for _ in range(2):
            assert posting.acquire(timeout=LONG)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.sender.run(interrupted())
    stopping = threading.Thread(target=run.sender.stop, kwargs={"grace": LONG})
    stopping.start()
    assert run.sender.stopping.wait(LONG)
    limiter.set()
    stopping.join(LONG)
    run.tracker.close(interrupted=True)
    assert len(endpoint.requests) == 2
    assert set(run.statuses().values()) == {"accepted"}


def test_sent_images_are_passed_to_the_callback() -> None:
    kept: dict[int, bytes] = {}
    endpoint = Endpoint()
    run = Run(endpoint, keep=kept.__setitem__)
    run.sender.run(frames(3))
    assert kept == {int(r.request_id[-6:]): r.image for r in endpoint.requests}
