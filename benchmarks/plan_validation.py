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
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from local_cloud import Cloud, used
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


def calibrate(cloud: Cloud, frames: int, *, by_cpu: bool) -> LocalTimes:
    """The times of the model, from two runs with one frame in flight.

    The CPU time of a frame is the difference of the two: both start the client once.
    `by_cpu`: shorten the stages by the share of the functions' time that they had a core.
    """
    short = cloud.bench(VIDEO, ["-c", 1, "-n", frames // 5])
    long = cloud.bench(VIDEO, ["-c", 1, "-n", frames])
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
                    before = used(process)
                    if ended.wait(0.02):
                        return
                    if used(process) > before:
                        killed.append(used(process))
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


def compare(
    cloud: Cloud, times: LocalTimes, setting: Setting, *, cores: float, subtract: bool
) -> dict[str, Any]:
    """Measure one setting and predict it."""
    cloud.deploy(setting.detection_limit, timeout=TIMEOUT)
    with killing(cloud, setting) as killed:
        run = cloud.bench(VIDEO, setting.arguments())
    # The time of a killed worker is in the first reading and not in the second.
    cpu = replace(run.cpu, functions=run.cpu.functions + sum(killed))
    figures = run.report["figures"]
    everything = figures["end_to_end_s"]["all"]
    left = cores - (cpu.other if subtract else 0.0)
    model = LocalCloud(
        cores=max(0.25, left),
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
        cloud = Cloud(Path(folder))
        try:
            cloud.start()
            cloud.build("--weights", "synthetic")
            cloud.deploy(2, timeout=TIMEOUT)
            times = calibrate(cloud, 40 if options.quick else 120, by_cpu=options.busy)
            rows.extend(
                compare(cloud, times, each, cores=options.cores, subtract=options.busy)
                for each in settings
            )
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
