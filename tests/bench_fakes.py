"""A pipeline in this process, with delays of known length in known stages."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from facectl.stream.frames import Frame
from facectl.stream.outcomes import AcceptedPost
from facectl.stream.responses import Received
from facectl.stream.transport import Transport
from lambda_src.contract import FrameRequest, FrameResult

JPEG = b"\xff\xd8\xff\xe0 a JPEG for all that the client looks at"


@dataclass
class Stalls:
    """Seconds by stage, for each frame; `skew`: SQS's clock minus the client's."""

    way_in: float = 0.0
    detect: float = 0.0
    request_queue: float = 0.0
    embed: float = 0.0
    response_queue: float = 0.0
    poll: float = 0.0
    skew: float = 0.0
    cold: set[int] = field(default_factory=set)
    # Frames one after the other, as if one function did them all.
    serial: bool = False


class FakePipeline:
    """Both ends of a pipeline that takes the time it is told to, and answers every frame."""

    def __init__(self, stalls: Callable[[int], Stalls]) -> None:
        self.stalls = stalls
        self.posts = 0
        self.fails_from: int | None = None
        self.silent: set[int] = set()
        self._numbers = itertools.count()
        self._answers: list[tuple[float, int, Received, float]] = []
        self._news = threading.Condition()
        self._one = threading.Lock()

    def transport(self) -> Transport:
        return Transport(self, self)

    def post(self, request: FrameRequest, *, sleep: Callable[[float], object]) -> AcceptedPost:
        index = int(request.request_id.rpartition("-")[2])
        stalls = self.stalls(index)
        self.posts += 1
        began = time.perf_counter()
        if stalls.serial:
            with self._one:
                time.sleep(stalls.way_in + stalls.detect)
        else:
            time.sleep(stalls.way_in + stalls.detect)
        if index not in self.silent:
            self._answer(index, request, stalls)
        return AcceptedPost(1, 1, time.perf_counter() - began)

    def _answer(self, index: int, request: FrameRequest, stalls: Stalls) -> None:
        timings = {
            "decode": 0.0,
            "detect": stalls.detect * 1e3,
            "request_queue": stalls.request_queue * 1e3,
            "embed": stalls.embed * 1e3,
        }
        if index in stalls.cold:
            timings["detection_init"] = 500.0
        sent = time.time() + stalls.request_queue + stalls.embed
        given_out = sent + stalls.response_queue
        received = Received(
            message_id=f"m{next(self._numbers)}",
            receipt="r",
            body="",
            sent_at=_stamp(sent + stalls.skew),
            age=0.0,
            result=FrameResult(request.request_id, "Ann", (), timings),
            first_received_at=_stamp(given_out + stalls.skew),
        )
        with self._news:
            heapq.heappush(
                self._answers, (given_out + stalls.poll, next(self._numbers), received, given_out)
            )
            self._news.notify()

    def receive(self, *, wait: int = 20) -> list[Received]:
        deadline = time.time() + min(wait, 0.5)
        with self._news:
            while True:
                now = time.time()
                if self._answers and self._answers[0][0] <= now:
                    return [heapq.heappop(self._answers)[2]]
                if now >= deadline:
                    return []
                soonest = self._answers[0][0] - now if self._answers else 0.1
                self._news.wait(max(0.0005, min(soonest, deadline - now)))

    def delete(self, messages: Sequence[Received]) -> None:
        """They are gone already."""

    def release(self, messages: Sequence[Received]) -> float:
        return 0.0


class Clip:
    """A source of `count` equal frames, a tenth of a second apart."""

    live = False
    rate = 10.0

    def __init__(self, frames: int) -> None:
        self.problems: list[str] = []
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        for n in range(self._frames):
            yield Frame(n, f"clip-{n:06d}.jpg", n / self.rate, file=JPEG)


def _stamp(seconds: float) -> float:
    return int(seconds * 1000) / 1000
