"""The output files of a run: results as they arrive, and a video after the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from facectl.stream.annotate import Clip, draw_all
from facectl.stream.frame_cache import FrameCache
from facectl.stream.frames import Encoding
from facectl.stream.in_flight import FrameOutcome
from facectl.stream.results import ResultsFile
from facectl.stream.sources import Source


@dataclass(frozen=True, slots=True)
class Files:
    """The requested output files: JSON lines, an annotated video."""

    results: Path | None = None
    video: Path | None = None


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The open output files; `cache` is None without a video."""

    listeners: tuple[Callable[[FrameOutcome], None], ...]
    cache: FrameCache | None
    clip: Clip | None
    synthetic: bool

    def draw(self, source: Source, encoding: Encoding, progress: Callable[[int], None]) -> None:
        """Draw the video of all frames that were sent, if one was requested."""
        if self.clip is not None and self.cache is not None:
            draw_all(
                self.clip,
                source,
                encoding,
                self.cache,
                synthetic=self.synthetic,
                progress=progress,
            )


@contextmanager
def open_files(files: Files, rate: float, *, synthetic: bool) -> Iterator[OpenFiles]:
    """Open the requested files; `rate` is the video's frames a second. Raises InputError."""
    with ExitStack() as stack:
        clip = None if files.video is None else Clip(files.video, rate)
        cache = None if clip is None else FrameCache()
        if cache is not None:
            stack.callback(cache.close)
        results = None
        if files.results is not None:
            results = ResultsFile(files.results, synthetic=synthetic)
            stack.callback(results.close)
        listeners = tuple(listener for listener in (results, cache) if listener is not None)
        yield OpenFiles(listeners, cache, clip, synthetic)
