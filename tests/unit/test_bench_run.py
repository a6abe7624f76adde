"""Runs against a pipeline in this process whose stalls are known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from bench_fakes import JPEG, Clip, FakePipeline, Stalls

from facectl.bench import run as run_module
from facectl.bench.run import Load, Run, measure
from facectl.bench.stages import Breakdown, stages_of
from facectl.bench.workload import Workload
from facectl.errors import NotRunningError
from facectl.stream.frames import Frame
from facectl.stream.outcomes import AcceptedPost
from facectl.stream.sender import RequestOptions
from facectl.stream.transport import Transport
from lambda_src.contract import FrameRequest

# These stages are measured in this process, so a loaded machine adds to them; the others are
# told by the functions and by SQS's stamps, which are whole milliseconds.
CLIENT = ("wait", "encode", "post", "poll")
CUT_OFF = 0.0011


def run(pipeline: FakePipeline, workload: Workload, **more: Any) -> Run:
    source = more.pop("source", Clip(5))
    load = Load(source, 10, RequestOptions(detail=True), workload, **more)
    return measure(pipeline.transport, load)


def breakdown(done: Run) -> Breakdown:
    found = [stages_of(sample, done.readings, done.offset) for sample in done.samples]
    return Breakdown.of([stages for stages in found if stages is not None])


@pytest.mark.parametrize("stage", ["detect", "request_queue", "embed", "response_queue"])
def test_a_stall_is_attributed_to_its_stage(stage: str) -> None:
    pipeline = FakePipeline(lambda _: Stalls(**{stage: 0.15}))
    done = run(pipeline, Workload(4, concurrency=2))
    shares = breakdown(done).shares
    assert shares.pop(stage) == pytest.approx(0.15, abs=CUT_OFF)
    others = [seconds for name, seconds in shares.items() if name not in CLIENT]
    assert others == pytest.approx([0, 0, 0], abs=CUT_OFF)


@pytest.mark.parametrize(("stall", "stage"), [("way_in", "post"), ("poll", "poll")])
def test_a_network_stall_is_located_as_precisely_as_the_clock_offset(
    stall: str, stage: str
) -> None:
    # One frame in three without the stall is what tells the way from the clocks.
    pipeline = FakePipeline(lambda index: Stalls(**({stall: 0.3} if index % 3 else {}), skew=7.0))
    done = run(pipeline, Workload(9, concurrency=1))
    assert done.offset is not None
    assert done.offset.seconds == pytest.approx(-7.0, abs=done.offset.uncertainty + 0.001)
    # The quickest of nine frames bounds it, and the stall is not in it.
    assert done.offset.uncertainty < 0.15
    shares = breakdown(done).shares
    assert max(shares, key=lambda name: shares[name]) == stage
    assert shares[stage] > 0.2 - done.offset.uncertainty - CUT_OFF


def test_stalls_of_encoder_and_client_are_attributed_to_the_client() -> None:
    class SlowSource(Clip):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                if frame.index == 2:
                    time.sleep(0.4)
                yield frame

    done = run(FakePipeline(lambda _: Stalls()), Workload(4, rate=20), source=SlowSource(4))
    waits = [sample.opened - sample.due for sample in done.samples]
    # Frame 2 was due at 0.1 s and read at 0.4 at the earliest; latency says so.
    assert waits[2] > 0.29
    latency = done.samples[2].latency
    assert latency is not None
    assert latency > 0.29
    retry_delay = [sample.post.retry_delay for sample in done.samples if sample.post is not None]
    assert breakdown(done).shares["wait"] == pytest.approx(
        sum(waits) / 4, abs=sum(retry_delay) / 4 + 1e-6
    )


def test_retry_delays_count_as_waiting_and_not_as_the_post() -> None:
    class Gated(FakePipeline):
        def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
            time.sleep(0.2)
            return super().post(request, sleep=sleep)

    done = run(Gated(lambda _: Stalls(way_in=0.02)), Workload(3, concurrency=1))
    shares = breakdown(done).shares
    assert shares["wait"] >= 0.2
    assert shares["post"] < shares["wait"]


def test_the_stages_add_up_to_the_end_to_end_time() -> None:
    stalls = Stalls(way_in=0.02, detect=0.03, request_queue=0.02, embed=0.04, skew=-3)
    done = run(FakePipeline(lambda _: stalls), Workload(5, concurrency=1))
    for sample in done.samples:
        stages = stages_of(sample, done.readings, done.offset)
        assert stages is not None
        assert sum(stages.values()) == pytest.approx(sample.latency)


def test_an_open_loop_measures_the_queue_that_a_closed_loop_hides() -> None:
    # One server, 0.03 s a frame, and one stall of 0.9 s. Closed: one frame in 20 is slow.
    # Open at 20 a second: the 17 frames due during the stall wait for its end, each less.
    def stalls(index: int) -> Stalls:
        return Stalls(detect=0.9 if index == 2 else 0.03, serial=True)

    closed = run(FakePipeline(stalls), Workload(20, concurrency=1))
    open_ = run(FakePipeline(stalls), Workload(20, rate=20))
    slow_closed, slow_open = (
        sum((sample.latency or 0) > 0.3 for sample in done.samples) for done in (closed, open_)
    )
    # A frame due k / 20 s after the stalled one waits for at least 0.9 - k / 20 s: about twelve
    # of them for 0.3 s and more however fast the machine is. On a slow one more do, in both loops.
    assert slow_open >= 10
    assert 1 <= slow_closed < slow_open
    assert all(sample.opened == sample.due for sample in closed.samples)


def test_a_closed_loop_bounds_the_frames_in_flight() -> None:
    together = threading.Barrier(3, timeout=120)

    class InThrees(FakePipeline):
        def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
            together.wait()
            return super().post(request, sleep=sleep)

    done = run(InThrees(lambda _: Stalls()), Workload(12, concurrency=3))
    edges = sorted(
        [(s.opened, 1) for s in done.samples] + [(s.answered or 0.0, -1) for s in done.samples]
    )
    level = most = 0
    for _, step in edges:
        level += step
        most = max(most, level)
    assert most == 3


def test_warm_up_frames_are_sent_and_not_counted() -> None:
    pipeline = FakePipeline(lambda _: Stalls(cold={0}))
    done = run(pipeline, Workload(4, concurrency=1, warmup=3))
    assert pipeline.posts == 7
    assert [sample.index for sample in done.samples] == [0, 1, 2, 3]
    assert [sample.cold for sample in done.samples] == [True, False, False, False]


def test_the_bytes_and_the_cpu_time_are_those_of_the_measured_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline = FakePipeline(lambda _: Stalls())
    cpu = [0.0]
    monkeypatch.setattr(run_module.time, "process_time", lambda: cpu[0])

    def transport() -> Transport:
        before = pipeline.posts
        original = pipeline.post

        def post(request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
            cpu[0] += 0.25
            return original(request, sleep=sleep)

        endpoint = SimpleNamespace(post=post)
        return Transport(endpoint, pipeline, bytes_sent=lambda: (pipeline.posts - before) * 1000)

    load = Load(Clip(5), 10, RequestOptions(), Workload(4, concurrency=1, warmup=3))
    done = measure(transport, load)
    assert (pipeline.posts, done.bytes_sent, done.client_cpu) == (7, 4000, 1.0)


@pytest.mark.parametrize("workload", [Workload(4, rate=50), Workload(4, concurrency=1)])
def test_a_frame_without_an_answer_is_unanswered_and_the_rest_is_sent(workload: Workload) -> None:
    pipeline = FakePipeline(lambda _: Stalls())
    pipeline.silent = {1}
    done = run(pipeline, workload, timeout=3)
    assert [sample.status for sample in done.samples] == [
        "answered",
        "unanswered",
        "answered",
        "answered",
    ]
    assert done.complete


def test_an_unreachable_target_ends_the_run_and_keeps_its_samples() -> None:
    class Dying(FakePipeline):
        def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
            if self.posts >= 3:
                raise NotRunningError("nothing answers")
            return super().post(request, sleep=sleep)

    done = run(Dying(lambda _: Stalls()), Workload(10, concurrency=1))
    assert not done.complete
    assert done.ended is not None
    assert "nothing answers" in done.ended
    assert [sample.status for sample in done.samples] == ["answered"] * 3 + ["failed"]


def test_frames_are_sent_unchanged() -> None:
    seen: list[FrameRequest] = []

    class Watching(FakePipeline):
        def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
            seen.append(request)
            return super().post(request, sleep=sleep)

    run(Watching(lambda _: Stalls()), Workload(2, concurrency=1))
    assert [(r.image, r.detail) for r in seen] == [(JPEG, True)] * 2
