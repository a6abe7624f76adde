"""Loads and searches one published gallery in its own process; prints JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from lambda_src.gallery.loading import load
from lambda_src.gallery.parts import Manifest


def main() -> None:
    """Measure load time, memory and search time of the gallery in the folder argv[1]."""
    folder = Path(sys.argv[1])
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    manifest = Manifest.parse((folder / "manifest.json").read_bytes())
    gallery, _ = load(manifest, lambda sha256: (folder / sha256).read_bytes())
    loaded = time.perf_counter() - started
    milliseconds: dict[str, list[float]] = {}
    computing: dict[str, list[float]] = {}
    answers: dict[str, list[int]] = {}
    for file in sorted(folder.glob("probes-*.npy")):
        probes = np.load(file)
        for probe in probes[:50]:
            gallery.match(probe[None])
        times, busy, found = [], [], []
        for probe in probes:
            start, worked = time.perf_counter(), time.thread_time()
            [match] = gallery.nearest(probe, 1)
            times.append((time.perf_counter() - start) * 1e3)
            busy.append((time.thread_time() - worked) * 1e3)
            found.append(int(match.name.rpartition(" ")[2]))
        cosine = file.stem.partition("-")[2]
        milliseconds[cosine], answers[cosine] = times, found
        computing[cosine] = busy
    memory = psutil.Process().memory_info()
    shared = getattr(memory, "shared", 0)
    json.dump(
        {
            "load_s": loaded,
            "resident_mb": memory.rss / 1e6,
            "before_mb": before / 1e6,
            "anonymous_mb": (memory.rss - shared) / 1e6,
            "ms": milliseconds,
            "cpu_ms": computing,
            "answers": answers,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
