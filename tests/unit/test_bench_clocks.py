"""The estimated offset of SQS's clock and its uncertainty."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from facectl.bench.clocks import Bounds, Offset, Readings, from_messages, from_samples
from facectl.bench.recorder import FrameTiming, PostTiming, Stamps
from facectl.context import Deployment
from facectl.stream.responses import Received

READINGS = Readings(epoch=1000.0, monotonic=50.0)


def sample(sent_at: float, given_out: float | None, *, answered: float) -> FrameTiming:
    """A frame posted at 1000.0 by the local clock, with 0.1 s in the functions."""
    return FrameTiming(
        index=0,
        name="f",
        request_id="r",
        status="answered",
        due=50.0,
        opened=50.0,
        latency=answered - 1000.0,
        post=PostTiming(50.0, 50.1, 1),
        stamps=Stamps(sent_at, given_out),
        timings_ms={"detect": 60.0, "embed": 40.0},
    )


def test_a_frame_bounds_the_offset_on_both_sides() -> None:
    # By our clock on the queue at 1000.1 or later, in hand at 1000.3; SQS says 995.2 and 995.25.
    bounds = from_samples([sample(995.2, 995.25, answered=1000.3)], READINGS)
    assert (bounds.low, bounds.high) == pytest.approx((4.899, 5.05))
    assert bounds.offset is not None
    assert bounds.offset.seconds == pytest.approx(4.9745)
    assert bounds.offset.uncertainty == pytest.approx(0.0755)


def test_the_fastest_frames_give_the_tightest_bounds() -> None:
    slow, quick = sample(995.5, 995.6, answered=1002), sample(995.12, 995.13, answered=1000.14)
    together = from_samples([slow, quick], READINGS)
    assert together == from_samples([quick], READINGS)


def test_one_sided_and_contradictory_bounds_give_no_offset() -> None:
    assert Bounds(low=1.0).offset is None
    assert Bounds(1.0, 2.0).narrowed([Bounds(3.0, 4.0)]).offset is None
    assert from_samples([], READINGS).offset is None


def test_own_messages_bound_the_offset_by_their_round_trip() -> None:
    class Sqs:
        sent: int = 0

        def get_queue_url(self, **_: Any) -> dict[str, str]:
            return {"QueueUrl": "q"}

        def send_message(self, **_: Any) -> dict[str, str]:
            self.sent += 1
            return {"MessageId": f"m{self.sent}"}

    class Queue:
        name = "q"

        def __init__(self) -> None:
            self.deleted: list[str] = []
            self.returned: list[str] = []

        def receive(self, *, wait: int) -> list[Received]:
            # Stamped in the middle of its round trip: ours shows 100.0 to 100.02, theirs 3 s less.
            ids = [f"m{n}" for n in range(1, 6)] + ["stranger"]
            return [Received(i, "r", "", 97.010 + n * 10, 0, None) for n, i in enumerate(ids)]

        def delete(self, messages: list[Received]) -> None:
            self.deleted += [m.message_id for m in messages]

        def release(self, messages: list[Received]) -> float:
            self.returned += [m.message_id for m in messages]
            return 0.0

    class Clients:
        sqs = Sqs()
        deployment = Deployment("x", "local")

    ticks = (100.0 + n * 10 + half for n in itertools.count() for half in (0.0, 0.02))
    queue = Queue()
    bounds = from_messages(Clients(), queue, clock=lambda: next(ticks))  # type: ignore[arg-type]
    assert bounds.offset is not None
    assert bounds.offset.seconds == pytest.approx(3.0, abs=0.001)
    assert bounds.offset.uncertainty == pytest.approx(0.0105, abs=0.001)
    assert queue.deleted == ["m1", "m2", "m3", "m4", "m5"]
    assert queue.returned == ["stranger"]


def test_the_offset_as_text() -> None:
    assert str(Offset(0.0123, 0.002)) == (
        "this computer's clock is 12.3 ms ahead of that of SQS, to 2.0 ms"
    )
    assert "behind" in str(Offset(-1, 0))
