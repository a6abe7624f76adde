"""Sustained load and many clients: backpressure instead of failure, bounded memory."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from fault_injection import LONG, PEOPLE, FaultInjector, Outcome, judge

from facectl.aws import Clients
from facectl.context import Deployment
from facectl.stream.results import RunStats
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from facectl.stream.session import RunOptions, Session
from facectl.stream.sources import open_source
from facectl.stream.transport import Transport

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

FRAMES = 10_000 if LONG else 120
CLIENTS, EACH = (50, 20) if LONG else (10, 8)
# How much more each may hold at the end than a tenth of the way in. MiniStack keeps the
# functions' logs in memory, about 4 kB of them a frame.
MOST_MB = {"client": 30.0, "functions": 150.0, "cloud": 20.0 + FRAMES * 0.006}


class Memory(threading.Thread):
    """Samples the memory of the client, of all workers together and of the local cloud.

    It begins when a tenth of the frames is answered: until then the client and the
    functions load their libraries, for longer the busier the machine is.
    """

    def __init__(self, injector: FaultInjector, client: int, out: Path) -> None:
        super().__init__(daemon=True)
        self._out = out
        self.samples: list[dict[str, float]] = []
        self._injector = injector
        self._client = psutil.Process(client)
        self.stopping = threading.Event()

    def run(self) -> None:
        while self._answered() < FRAMES // 10 and not self.stopping.wait(0.1):
            pass
        while not self.stopping.wait(0.25):
            # A process that ends just now holds nothing.
            with contextlib.suppress(psutil.Error):
                self.samples.append(self._now())

    def _answered(self) -> int:
        return len(self._out.read_bytes().splitlines()) if self._out.exists() else 0

    def _now(self) -> dict[str, float]:
        functions = ("face-detection", "face-recognition")
        workers = [each for name in functions for each in self._injector.workers(name)]
        return {
            "client": _mb(self._client),
            "functions": sum(map(_mb, workers)),
            "cloud": _mb(self._injector.cloud),
        }

    def growth(self) -> dict[str, float]:
        """The difference of the medians of the last and the first tenth of samples, in MB."""
        tenth = max(1, len(self.samples) // 10)
        early, late = self.samples[:tenth], self.samples[-tenth:]

        def middle(samples: list[dict[str, float]], who: str) -> float:
            return sorted(sample[who] for sample in samples)[len(samples) // 2]

        return {who: middle(late, who) - middle(early, who) for who in MOST_MB}


def _mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 1e6)


def test_memory_stays_bounded(
    injector: FaultInjector, out: Path, table: list[Outcome], notes: list[str]
) -> None:
    injector.settle()
    # Cold functions hold nothing yet.
    injector.report(injector.start(injector.frames(40), out))
    out.unlink()
    client = injector.start(injector.frames(FRAMES), out, "--concurrency", 8, "--timeout", "1200")
    memory = Memory(injector, client.pid, out)
    memory.start()
    report = injector.report(client, within=3500)
    memory.stopping.set()
    outcome = judge(f"none: {FRAMES:,} frames in a row", FRAMES, [out])
    outcome.dropped = report["duplicates"]
    table.append(outcome)
    growth = memory.growth()
    notes.append(
        f"{FRAMES:,} frames in {report['seconds']:.0f} s, memory at the end "
        + ", ".join(
            f"{who} {memory.samples[-1][who]:.0f} MB ({grown:+.0f})"
            for who, grown in growth.items()
        )
    )
    assert (outcome.lost, outcome.doubled, outcome.wrong) == (0, 0, 0), outcome.problems
    assert all(growth[who] < most for who, most in MOST_MB.items()), growth


def test_many_clients_share_the_concurrency(
    injector: FaultInjector, table: list[Outcome], notes: list[str], isolated: Path
) -> None:
    """Two functions for all of them: they are answered 429 and come again, and none fails."""
    injector.settle()
    known = injector.facectl.json("context")
    deployment = Deployment(
        known["asu_id"], "local", endpoint_url=known["endpoint_url"],
        function_url=known["function_url"],
    )  # fmt: skip
    folder = injector.frames(EACH)
    reports: list[Any] = []
    wrong: list[str] = []

    def client() -> None:
        stats = RunStats(EACH)
        plan = RunOptions(RequestOptions(), concurrency=2, timeout=1200)
        session = Session(Transport.of(Clients(deployment), connections=2), plan, stats)
        reports.append(session.run(open_source([str(folder)], Sampling())))
        for seen in stats.first:
            expected = PEOPLE[seen.index % len(PEOPLE)]
            if seen.answer is None or seen.answer.result != expected:
                wrong.append(f"{seen.name}: {seen.status} {seen.answer}, not {expected}")

    began = time.monotonic()
    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sum(
        (report.stats.statuses for report in reports), start=type(RunStats(0).statuses)()
    )
    longest = max(report.stats.latency.most for report in reports)
    table.append(
        Outcome(
            f"none: {CLIENTS} clients at once",
            CLIENTS * EACH,
            lost=CLIENTS * EACH - statuses["answered"],
            wrong=len(wrong),
            dropped=sum(report.counts.duplicates for report in reports),
            held=longest,
        )
    )
    notes.append(
        f"{CLIENTS} clients, {CLIENTS * EACH} frames in {time.monotonic() - began:.0f} s, "
        f"the longest wait {longest:.1f} s"
    )
    assert [report.exit_code for report in reports] == [0] * CLIENTS
    assert statuses == {"answered": CLIENTS * EACH}
    assert wrong == []
