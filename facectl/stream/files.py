"""The files that a run leaves behind: results as they come, a video at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from facectl.stream.annotate import Clip, draw_all
from facectl.stream.frames import Encoding
from facectl.stream.ledger import Outcome
from facectl.stream.results import ResultsFile
from facectl.stream.sources import Source
from facectl.stream.spool import Spool


@dataclass(frozen=True, slots=True)
class Files:
    """What is asked for: a file of JSON lines, an annotated video."""

    results: Path | None = None
    video: Path | None = None


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The same, open; `spool` only where a video is asked for."""

    listeners: tuple[Callable[[Outcome], None], ...]
    spool: Spool | None
    clip: Clip | None
    synthetic: bool

    def draw(self, source: Source, encoding: Encoding, progress: Callable[[int], None]) -> None:
        """Draw the video, if one is asked for, of all that was sent."""
        if self.clip is not None and self.spool is not None:
            draw_all(
                self.clip,
                source,
                encoding,
                self.spool,
                synthetic=self.synthetic,
                progress=progress,
            )


@contextmanager
def open_files(files: Files, rate: float, *, synthetic: bool) -> Iterator[OpenFiles]:
    """Open what is asked for; `rate` is the video's frames a second. Raises InputError."""
    with ExitStack() as stack:
        clip = None if files.video is None else Clip(files.video, rate)
        spool = None if clip is None else Spool()
        if spool is not None:
            stack.callback(spool.close)
        results = None
        if files.results is not None:
            results = ResultsFile(files.results, synthetic=synthetic)
            stack.callback(results.close)
        listeners = tuple(listener for listener in (results, spool) if listener is not None)
        yield OpenFiles(listeners, spool, clip, synthetic)
