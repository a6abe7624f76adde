"""The files that a run leaves behind: results as they come, a video at the end."""

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
    """What is asked for: a file of JSON lines, an annotated video."""

    results: Path | None = None
    video: Path | None = None


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The same, open; `cache` only where a video is asked for."""

    listeners: tuple[Callable[[FrameOutcome], None], ...]
    cache: FrameCache | None
    clip: Clip | None
    synthetic: bool

    def draw(self, source: Source, encoding: Encoding, progress: Callable[[int], None]) -> None:
        """Draw the video, if one is asked for, of all that was sent."""
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
    """Open what is asked for; `rate` is the video's frames a second. Raises InputError."""
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
