"""Where a benchmark's frames come from: what `facectl send` takes, or the demo's clip."""

from __future__ import annotations

from collections.abc import Sequence

from facectl import paths
from facectl.bench.run import Load
from facectl.bench.workload import Workload
from facectl.demo import clip
from facectl.stream.sampling import Sampling
from facectl.stream.sender import RequestOptions
from facectl.stream.sources import open_source


def load_of(
    source: Sequence[str] | None,
    workload: Workload,
    request_options: RequestOptions,
    timeout: float,
) -> tuple[Load, str]:
    """The load and its source's name; raises InputError for a source without frames."""
    words = list(source or ())
    frames = open_source(words or [_demo_clip()], Sampling())
    load = Load(frames, frames.rate, request_options, workload, timeout)
    return load, frames.name if words else "the demo's clip"


def _demo_clip() -> str:
    file = paths.cache_dir() / "bench" / "demo.mp4"
    if not file.exists():
        clip.write(file)
    return str(file)
