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
import json
import os
import re
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
    sent, memory = send(cloud, video, way, options)
    parts = report["cost"]["parts_per_1000_frames"]
    return {
        "mean latency, s": report["figures"]["end_to_end_s"]["warm"]["mean"],
        "client CPU, ms per frame": run.cpu.client / frames * 1e3,
        "functions CPU, ms per frame": run.cpu.functions / frames * 1e3,
        "Lambda, $ per 1,000 frames": sum(v for k, v in parts.items() if k != "queues"),
        "sent, kB per frame": sent / 1e3,
        "client's peak memory, MB": memory,
    }


def send(cloud: Cloud, video: Path, way: str, options: argparse.Namespace) -> tuple[float, float]:
    """The bytes that `facectl send` sends per frame, and its peak resident memory in MB."""
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("facectl"), "send", video, "--detect", way,
            "--max-side", str(options.max_side), "--max-frames", str(options.frames), "--json",
            "-c", "2", "--rows", "0",
        ],
        env={**os.environ, "FACECTL_HOME": str(cloud.home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    report = json.loads(process.stdout.read())
    told = process.stderr.read()
    # The kernel's own peak, which sampling would miss.
    _, _, usage = os.wait4(process.pid, 0)
    memory = usage.ru_maxrss / 1024
    edge = re.search(r"([\d.]+) MB of crops sent instead of ([\d.]+) MB of frames", told)
    if edge is not None:
        return float(edge[1]) * 1e6 / report["answered"], memory
    return frame_bytes(video, options), memory


def frame_bytes(video: Path, options: argparse.Namespace) -> float:
    """The mean size of a request with a frame: its JPEG in base64."""
    from facectl.stream.frames import Encoding
    from facectl.stream.sampling import Sampling
    from facectl.stream.sources import open_source

    encoding = Encoding(options.max_side)
    sizes = [
        len(encoding.file_of(frame)) * 4 / 3
        for frame in open_source([str(video)], Sampling(limit=options.frames))
    ]
    return sum(sizes) / len(sizes)


if __name__ == "__main__":
    main()
