"""Measures the CPU time of a frame in each process of the pipeline, on a local cloud of its own.

    make bench-pipeline
    python benchmarks/pipeline.py --precision int8 --frames 300 --json
    python benchmarks/pipeline.py --compare build/before.json

Frames of the sample video at 640 pixels, 8 in flight, once with the fp32 embedder and once with
int8. The CPU time of a frame is the difference between a short and a long run, divided by the
frames that the long one has more: both start the client once. CPU time is comparable on a
machine with other work, throughput and latency are not: "other" has the cores that other
processes used.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from local_cloud import ROOT, Cloud, Run
from rich.console import Console
from rich.table import Table

from facectl.naming import FUNCTIONS
from lambda_src.vision.store import PRECISIONS

VIDEO = ROOT.parent / "shared" / "samples" / "faces-1080p.mp4"
PROCESSES = ("detection", "recognition", "client", "platform")
# Of the functions, in seconds: long enough that a busy machine ends no invocation.
TIMEOUT = 60
console = Console(width=140)
progress = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=600, help="frames of the long run")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--executions", type=int, default=2, help="of face-detection at once")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=list(PRECISIONS))
    parser.add_argument("--video", type=Path, default=VIDEO)
    parser.add_argument("--compare", type=Path, help="the --out file of an earlier measurement")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-pipeline.json")
    options = parser.parse_args()
    if not options.video.exists():
        raise SystemExit(f"{options.video} is missing: --video FILE uses another one")
    load_before = os.getloadavg()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        cloud = Cloud(Path(folder))
        try:
            cloud.start()
            for precision in options.precision:
                progress.print(f"Measuring {precision}")
                rows.append(measure(cloud, precision, options))
        finally:
            cloud.stop()
    report = {"load": {"before": load_before, "after": os.getloadavg()}, "results": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2))
    if options.json:
        print(json.dumps(report, indent=2))
        return
    earlier = json.loads(options.compare.read_text()) if options.compare else {"results": []}
    before = [{**row, "precision": f"{row['precision']}, before"} for row in earlier["results"]]
    show([*before, *rows], report)


def measure(cloud: Cloud, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    # int8 of synthetic weights is refused, so both are built from trained ones.
    cloud.build("--weights", "casia-webface", "--precision", precision)
    cloud.deploy(options.executions, timeout=TIMEOUT)
    workload = ["-c", options.in_flight]
    short = cloud.bench(options.video, [*workload, "-n", options.frames // 5])
    long = cloud.bench(options.video, [*workload, "-n", options.frames])
    return {"precision": precision, **cpu_per_frame(short, long), **figures(long)}


def cpu_per_frame(short: Run, long: Run) -> dict[str, float]:
    """Milliseconds of CPU time of one frame by process."""
    more = long.frames - short.frames
    found = {
        name: (getattr(long.cpu, name) - getattr(short.cpu, name)) / more * 1e3
        for name in PROCESSES
    }
    return {f"{name}_cpu_ms": round(ms, 2) for name, ms in found.items()}


def figures(run: Run) -> dict[str, Any]:
    """Throughput, latency, cost and losses of a run, and the stages of its functions."""
    found = run.report["figures"]
    latency = found["end_to_end_s"]["all"]
    cost = run.report["cost"] or {}
    return {
        "frames": len(run.report["requests"]),
        "unanswered": len(run.report["requests"]) - found["answered"],
        "throughput_fps": found["throughput_fps"],
        # Of the measured frames alone; `client_cpu_ms` has the start of the client removed.
        "client_session_cpu_ms": found["client_cpu_ms_per_frame"],
        "sent_bytes": found["sent_bytes_per_frame"],
        "p50_s": latency["p50"],
        "p99_s": latency["p99"],
        "cost_per_1000": cost.get("per_1000_frames"),
        "cost_parts": {
            name: value
            for name, value in cost.get("parts_per_1000_frames", {}).items()
            if name in FUNCTIONS
        },
        "other_cores": round(run.cpu.other, 3),
    }


def show(rows: list[dict[str, Any]], report: dict[str, Any]) -> None:
    table = Table()
    columns = (
        "embedder", "detection", "recognition", "client", "emulator", "functions", "frames/s",
        "p50 ms", "p99 ms", "$ per 1,000", "lost", "other",
    )  # fmt: skip
    for name in columns:
        table.add_column(name, justify="left" if name == "embedder" else "right")
    for row in rows:
        cost = row["cost_per_1000"]
        table.add_row(
            row["precision"],
            *(f"{row[f'{name}_cpu_ms']:.1f}" for name in PROCESSES),
            f"{row['detection_cpu_ms'] + row['recognition_cpu_ms']:.1f}",
            f"{row['throughput_fps']:.1f}",
            f"{row['p50_s'] * 1e3:.0f}",
            f"{row['p99_s'] * 1e3:.0f}",
            "unknown" if cost is None else f"{cost:.4f}",
            str(row["unanswered"]),
            f"{row['other_cores']:.2f}",
        )
    console.print(table)
    before, after = report["load"]["before"][0], report["load"]["after"][0]
    console.print(
        f"Detection to functions: ms of CPU time per frame. Load average before {before:.1f}, "
        f"after {after:.1f}",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
