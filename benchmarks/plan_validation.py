"""Compares predictions of the local cloud's model (facectl/plan/local.py) with measured runs.

    make bench-plan
    python benchmarks/plan_validation.py --quick --out validation.json

Calibrates with one frame in flight: the stages of `facectl bench -c 1`, and the CPU time of a
frame in the client and in the local cloud. Then it runs ten settings on a local cloud of its own
and compares p50, p95 and throughput with what the model predicted from that calibration alone.
Run it on a quiet machine: the column "other" has the cores that other processes used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from facectl.bench.workload import Workload
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION
from facectl.plan.local import LocalCloud, LocalTimes, Prediction, predict
from facectl.plan.local_times import local_times
from facectl.plan.times import billed_seconds

ROOT = Path(__file__).parents[1]
VIDEO = ROOT.parent / "shared" / "samples" / "faces-1080p.mp4"
WITHIN = 0.20
# Of the functions: a lost worker's messages are visible again after six of them.
TIMEOUT = 6
WARMUP = 10
# Cores of other processes from which a comparison shows the load and not the model.
BUSY = 0.1
# Predictions are averages of this many seeds: one run has few frames.
SEEDS = 9
console = Console(width=110)


@dataclass(frozen=True)
class Setting:
    """One run: the workload of `facectl bench`, and the limits of the deployment."""

    name: str
    workload: Workload
    frames: int
    detection_limit: int = 2
    recognition_limit: int = 2
    lost_worker_at: float | None = None

    def arguments(self) -> list[object]:
        workload = self.workload
        if workload.concurrency is not None:
            return ["-c", workload.concurrency, "-n", self.frames]
        return ["--rate", workload.rate, "--arrivals", workload.arrivals, "-n", self.frames]


SETTINGS = (
    Setting("1 in flight", Workload(concurrency=1), 100),
    Setting("2 in flight", Workload(concurrency=2), 200),
    Setting("4 in flight", Workload(concurrency=4), 300),
    Setting("8 in flight", Workload(concurrency=8), 400),
    Setting("16 in flight", Workload(concurrency=16), 400),
    Setting("2 frames/s", Workload(rate=2), 80),
    Setting("10 frames/s, Poisson", Workload(rate=10, arrivals="poisson"), 300),
    Setting("40 frames/s", Workload(rate=40), 400),
    Setting("8 in flight, 1 detection", Workload(concurrency=8), 250, detection_limit=1),
    Setting("4 in flight, worker killed", Workload(concurrency=4), 250, lost_worker_at=6.0),
)


class Cloud:
    """A local cloud of this run, below a temporary folder."""

    def __init__(self, home: Path, cores: float) -> None:
        self.home, self.cores = home, cores

    def start(self) -> None:
        self.facectl("models", "build", "--weights", "synthetic")
        self.facectl("local", "up", "--port", random.randrange(20_000, 32_000))
        self.process = psutil.Process(self.json("local", "status")["pid"])
        self.deploy(2)

    def stop(self) -> None:
        """Stop it, also if the command that does so fails."""
        self.facectl("local", "down", "--forget", check=False)
        process = getattr(self, "process", None)
        if process is not None and process.is_running():
            for each in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.Error):
                    each.terminate()

    def deploy(self, detection_limit: int) -> None:
        self.facectl(
            "deploy", "--asu-id", "plan", "--target", "local", "--timeout", TIMEOUT,
            "--reserved-concurrency", detection_limit,
        )  # fmt: skip

    def facectl(self, *arguments: object, check: bool = True) -> str:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "FACECTL_"))
        }
        done = subprocess.run(
            [Path(sys.executable).with_name("facectl"), *map(str, arguments)],
            env={**environment, "FACECTL_HOME": str(self.home), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise SystemExit(f"facectl {' '.join(map(str, arguments))}:\n{done.stderr}")
        return done.stdout

    def json(self, *arguments: object, check: bool = True) -> Any:
        return json.loads(self.facectl(*arguments, "--json", check=check))

    def workers(self, function: str) -> list[psutil.Process]:
        found = []
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == function:
                    found.append(process)
        return found

    def bench(self, arguments: Sequence[object]) -> Run:
        """Run `facectl bench` and account for the CPU time of every process."""
        before = self._cpu()
        report = self.json(
            "bench", VIDEO, "--max-side", 640, "--purge", "--warmup", WARMUP,
            "--timeout", 240, "--target-mean", 900, *arguments, check=False,
        )  # fmt: skip
        return Run(report, self._cpu().minus(before))

    def _cpu(self) -> Cpu:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        functions = 0.0
        for process in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                functions += _used(process)
        system = psutil.cpu_times()
        return Cpu(
            at=time.monotonic(),
            client=children.ru_utime + children.ru_stime,
            platform=_used(self.process),
            functions=functions,
            machine=sum(system) - system.idle - system.iowait - system.guest - system.guest_nice,
        )


@dataclass(frozen=True)
class Cpu:
    """CPU seconds by process, of the whole machine, and the time of the reading."""

    at: float
    client: float
    platform: float
    functions: float
    machine: float

    def minus(self, other: Cpu) -> Cpu:
        return Cpu(
            self.at - other.at,
            self.client - other.client,
            self.platform - other.platform,
            self.functions - other.functions,
            self.machine - other.machine,
        )

    @property
    def other(self) -> float:
        """Cores that other processes used."""
        own = self.client + self.platform + self.functions
        return max(0.0, (self.machine - own) / self.at)


@dataclass(frozen=True)
class Run:
    """The report of a run, and the CPU time during it."""

    report: dict[str, Any]
    cpu: Cpu

    @property
    def frames(self) -> int:
        return len(self.report["requests"]) + WARMUP


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def calibrate(cloud: Cloud, frames: int, *, by_cpu: bool) -> LocalTimes:
    """The times of the model, from two runs with one frame in flight.

    The CPU time of a frame is the difference of the two: both start the client once.
    `by_cpu`: shorten the stages by the share of the functions' time that they had a core.
    """
    short = cloud.bench(["-c", 1, "-n", frames // 5])
    long = cloud.bench(["-c", 1, "-n", frames])
    more = long.frames - short.frames
    client, platform, functions = (
        (getattr(long.cpu, name) - getattr(short.cpu, name)) / more
        for name in ("client", "platform", "functions")
    )
    times = local_times(long.report)
    beside = client - times.encode.mean - 2 * times.receive
    times = replace(times, client=max(0.0, beside), platform=max(0.0, platform))
    if by_cpu:
        factor = min(1.0, functions / sum(billed_seconds(long.report).values()))
        times = times.scaled(factor)
        console.print(f"Stages shortened to {factor:.0%}: their CPU time")
    console.print(
        f"Calibrated with {frames} frames, one in flight, ms of CPU per frame: client "
        f"{client * 1e3:.1f}, local cloud {platform * 1e3:.1f}, functions {functions * 1e3:.1f}; "
        f"detect {times.detect.mean * 1e3:.1f}, embed {times.embed.mean * 1e3:.1f}; "
        f"other processes used {long.cpu.other:.2f} cores"
    )
    if long.cpu.other > BUSY:
        console.print(
            "[yellow]This machine is busy: judge the model on a quiet one, or with --busy.[/yellow]"
        )
    return times


@contextlib.contextmanager
def killing(cloud: Cloud, setting: Setting) -> Iterator[list[float]]:
    """Kill a worker of face-recognition that computes, some seconds after the block began.

    Yields a list that then has the CPU seconds that it had used.
    """
    killed: list[float] = []
    if setting.lost_worker_at is None:
        yield killed
        return
    ended = threading.Event()

    def kill() -> None:
        # The client needs some seconds to start, and sends the warm-up frames.
        if ended.wait(setting.lost_worker_at + 4):
            return
        while not ended.is_set():
            for process in cloud.workers(RECOGNITION_FUNCTION):
                with contextlib.suppress(psutil.Error):
                    used = _used(process)
                    if ended.wait(0.02):
                        return
                    if _used(process) > used:
                        killed.append(_used(process))
                        process.kill()
                        return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def predictions(times: LocalTimes, cloud: LocalCloud, setting: Setting) -> list[Prediction]:
    return [
        predict(times, cloud, setting.workload, frames=setting.frames, seed=seed)
        for seed in range(SEEDS)
    ]


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def compare(cloud: Cloud, times: LocalTimes, setting: Setting, *, subtract: bool) -> dict[str, Any]:
    """Measure one setting and predict it."""
    cloud.deploy(setting.detection_limit)
    with killing(cloud, setting) as killed:
        run = cloud.bench(setting.arguments())
    # The time of a killed worker is in the first reading and not in the second.
    cpu = replace(run.cpu, functions=run.cpu.functions + sum(killed))
    figures = run.report["figures"]
    everything = figures["end_to_end_s"]["all"]
    cores = cloud.cores - (cpu.other if subtract else 0.0)
    model = LocalCloud(
        cores=max(0.25, cores),
        detection_limit=setting.detection_limit,
        recognition_limit=setting.recognition_limit,
        visibility_timeout=6 * TIMEOUT,
        lost_worker_at=setting.lost_worker_at if killed else None,
    )
    predicted = predictions(times, model, setting)
    pairs = {
        "p50": (_mean([each.latency.p50 for each in predicted]), everything["p50"]),
        "p95": (_mean([each.latency.p95 for each in predicted]), everything["p95"]),
        "throughput": (_mean([each.throughput for each in predicted]), figures["throughput_fps"]),
    }
    return {
        "setting": setting.name,
        "answered": figures["answered"],
        "frames": setting.frames,
        "killed": bool(killed),
        "other_cores": round(cpu.other, 3),
        **{
            name: {"predicted": own, "measured": found, "error": own / found - 1}
            for name, (own, found) in pairs.items()
        },
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table()
    for name in ("setting", "p50 ms", "", "p95 ms", "", "frames/s", "", "other", "answered"):
        table.add_column(name, justify="left" if name == "setting" else "right")
    for row in rows:
        cells = []
        for name, unit in (("p50", 1e3), ("p95", 1e3), ("throughput", 1)):
            pair = row[name]
            digits = 0 if unit > 1 else 1
            cells.append(
                f"{pair['predicted'] * unit:.{digits}f} / {pair['measured'] * unit:.{digits}f}"
            )
            style = "green" if abs(pair["error"]) <= WITHIN else "red"
            cells.append(f"[{style}]{pair['error']:+.0%}[/{style}]")
        table.add_row(
            row["setting"], *cells, f"{row['other_cores']:.2f}",
            f"{row['answered']} of {row['frames']}",
        )  # fmt: skip
    console.print(table)
    errors = [row[name]["error"] for row in rows for name in ("p50", "p95", "throughput")]
    within = sum(abs(error) <= WITHIN for error in errors)
    console.print(
        f"Predicted / measured. {within} of {len(errors)} figures within {WITHIN:.0%}. "
        f"{DETECTION_FUNCTION} and {RECOGNITION_FUNCTION} with synthetic weights."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=float, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="a third of the frames")
    parser.add_argument("--only", default="", help="regular expression of the settings' names")
    parser.add_argument(
        "--busy", action="store_true",
        help="for a machine that is never quiet: calibrate by CPU time instead of the clock, and "
        "predict with the cores that other processes left in each run",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    settings = [each for each in SETTINGS if re.search(options.only, each.name)]
    if options.quick:
        settings = [replace(each, frames=each.frames // 3) for each in settings]
    if not VIDEO.exists():
        raise SystemExit(f"{VIDEO} is missing")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        cloud = Cloud(Path(folder), options.cores)
        try:
            cloud.start()
            times = calibrate(cloud, 40 if options.quick else 120, by_cpu=options.busy)
            rows.extend(compare(cloud, times, each, subtract=options.busy) for each in settings)
        finally:
            cloud.stop()
            # Also the rows until an interruption.
            if rows:
                show(rows)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
