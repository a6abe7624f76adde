"""Many clients at once on one deployment, each with a reply queue: each gets its own answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Facectl

from facectl.aws import Clients
from facectl.context import Overrides, resolve
from facectl.stream import reply_queues
from facectl.stream.frames import Frame
from facectl.stream.reply_queues import ReplyQueue
from facectl.stream.responses import LONG_POLL, Received, ResponseQueue
from facectl.stream.results import RunStats
from facectl.stream.sender import RequestOptions
from facectl.stream.session import RunOptions, RunReport, Session
from facectl.stream.transport import Transport

pytestmark = pytest.mark.e2e

FRAMES = 2
# Clients that share AWS's client objects: each has a connection pool, and takes time to make.
SHARING = 10


class Frames:
    """A source of one image file, sent several times."""

    live = False

    def __init__(self, file: bytes) -> None:
        self.problems: list[str] = []
        self._file = file

    def __iter__(self) -> Iterator[Frame]:
        for index in range(FRAMES):
            yield Frame(index, f"f{index}.jpg", index / 10, file=self._file)


class Watched:
    """A reply queue that counts its messages and those of others among them."""

    def __init__(self, queue: ResponseQueue, run: str) -> None:
        self.received = 0
        self.foreign = 0
        self._queue = queue
        self._run = run

    def receive(self, *, wait: int = LONG_POLL) -> list[Received]:
        messages = self._queue.receive(wait=wait)
        self.received += len(messages)
        self.foreign += sum(
            m.result is None or not m.result.request_id.startswith(self._run) for m in messages
        )
        return messages

    def delete(self, messages: Sequence[Received]) -> None:
        self._queue.delete(messages)

    def release(self, messages: Sequence[Received]) -> float:
        return self._queue.release(messages)


def client(clients: Clients, file: bytes, together: threading.Barrier) -> tuple[RunReport, Watched]:
    """One client: it begins when all have their queues."""
    with ReplyQueue(clients) as reply:
        together.wait(600)
        made = Transport.of(clients, connections=1, reply=reply)
        options = RunOptions(RequestOptions(), concurrency=1, timeout=900)
        session = Session(made, options, RunStats(FRAMES))
        # The session has its id before its queue is read.
        watched = Watched(reply.open(), session.tracker.run)
        session._reader._queue = watched  # type: ignore[attr-defined]
        return session.run(Frames(file)), watched


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_each_client_gets_exactly_its_own_answers(
    deployed: Facectl, portrait: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("FACECTL_HOME", str(deployed.home))
    deployment = resolve(Overrides(asu_id="e2e", target="local"))
    pixels = cv2.imread(str(portrait))
    assert pixels is not None
    small = cv2.resize(pixels, (96, 96), interpolation=cv2.INTER_AREA)
    empty = np.zeros((48, 64, 3), np.uint8)
    # Half of the frames have no face: face-detection answers these.
    files = [cv2.imencode(".jpg", image)[1].tobytes() for image in (small, empty)]
    pools = [Clients(deployment) for _ in range(-(-count // SHARING))]
    for pool in pools:
        # Made here, because making one is not thread-safe.
        assert pool.sqs is not None
        assert pool.functions is not None
    together = threading.Barrier(count)
    with ThreadPoolExecutor(count) as threads:
        running = [
            threads.submit(client, pools[n // SHARING], files[n % 2], together)
            for n in range(count)
        ]
        done = [each.result() for each in running]
    for number, (report, watched) in enumerate(done):
        assert report.failure is None
        assert report.counts.answered == FRAMES
        assert watched.received - report.counts.duplicates == FRAMES
        assert watched.foreign == 0
        assert ("No-Face" in report.stats.names) == bool(number % 2)
    assert reply_queues.found(pools[0]) == []
    [shared] = [q for q in deployed.json("purge")["queues"] if q["queue"].endswith("-resp-queue")]
    assert shared["before"]["visible"] == 0
