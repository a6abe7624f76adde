"""Compares detection on this computer with detection in the cloud, on a local cloud of its own.

    python benchmarks/edge.py
    python benchmarks/edge.py --frames 300 --max-side 960

Prints for both: frames per second, mean latency, CPU time of the client and of the functions per
frame, Lambda's cost of 1,000 frames by facectl's price table, the bytes that a frame sends, and the
client's peak memory. CPU time, bytes and memory are comparable on a machine with other work,
throughput and latency are not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from local_cloud import ROOT, WARMUP, Cloud
from rich.console import Console
from rich.table import Table

from facectl.demo import clip

TIMEOUT = 60
ASU_ID = "bench"
console = Console(width=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--max-side", type=int, default=640)
    parser.add_argument("--video", type=Path, help="default: the demo's clip")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        video = options.video
        if video is None:
            video = home / "demo.mp4"
            clip.write(video)
        cloud = Cloud(home)
        try:
            cloud.start()
            cloud.build("--weights", "synthetic")
            cloud.deploy(2, timeout=TIMEOUT)
            found = {way: measure(cloud, video, way, options) for way in ("cloud", "edge")}
        finally:
            cloud.stop()
    table = Table("", *found)
    for name in found["cloud"]:
        table.add_row(name, *(f"{figures[name]:.4g}" for figures in found.values()))
    console.print(table)
    console.print(f"load average {os.getloadavg()[0]:.1f}, {options.frames} frames")


def measure(cloud: Cloud, video: Path, way: str, options: argparse.Namespace) -> dict[str, float]:
    """The figures of one way: of `bench`, and of `send` with its peak memory."""
    arguments = ("-n", options.frames, "-c", 2, "--detect", way, "--max-side", options.max_side)
    run = cloud.bench(video, arguments)
    report: dict[str, Any] = run.report
    # The warm-up frames took CPU time too.
    frames = options.frames + WARMUP
    parts = report["cost"]["parts_per_1000_frames"]
    return {
        "mean latency, s": report["figures"]["end_to_end_s"]["warm"]["mean"],
        "client CPU, ms per frame": report["figures"]["client_cpu_ms_per_frame"],
        "functions CPU, ms per frame": run.cpu.functions / frames * 1e3,
        "Lambda, $ per 1,000 frames": sum(v for k, v in parts.items() if k != "queues"),
        "sent, kB per frame": report["figures"]["sent_bytes_per_frame"] / 1e3,
        "client's peak memory, MB": peak_memory(cloud, video, way, options),
    }


def peak_memory(cloud: Cloud, video: Path, way: str, options: argparse.Namespace) -> float:
    """The peak resident memory of `facectl send`, in MB."""
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("facectl"), "send", video, "--detect", way,
            "--max-side", str(options.max_side), "--max-frames", str(options.frames), "--json",
            "-c", "2", "--rows", "0",
        ],
        env={**os.environ, "FACECTL_HOME": str(cloud.home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # The kernel's own peak, which sampling would miss.
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"facectl send --detect {way} ended with {status >> 8}")
    return usage.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
