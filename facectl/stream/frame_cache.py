"""Keeps outcomes, and images of sources that can't be read twice, on disk until they are drawn."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator

from facectl.errors import FacectlError
from facectl.stream.frames import Frame
from facectl.stream.in_flight import FrameOutcome, Status
from lambda_src.contract import FrameResult


class FrameCache:
    """A temporary database that vanishes when it is closed or the process ends.

    A long run does not need more memory than a short one: what is drawn after
    the run is read back in the order of the frames.
    """

    def __init__(self) -> None:
        # SQLite's unnamed database: a file of its own, already unlinked.
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        self._database.execute("CREATE TABLE outcome (frame INTEGER PRIMARY KEY, status, answer)")
        self._database.execute("CREATE TABLE image (frame INTEGER PRIMARY KEY, file)")

    def __call__(self, outcome: FrameOutcome) -> None:
        """Keep an outcome."""
        answer = None if outcome.answer is None else outcome.answer.serialise()
        self._insert(
            "INSERT OR REPLACE INTO outcome VALUES (?, ?, ?)",
            (outcome.index, outcome.status, answer),
        )

    def keep_image(self, index: int, file: bytes) -> None:
        """Keep the image file that was sent for a frame."""
        self._insert("INSERT OR REPLACE INTO image VALUES (?, ?)", (index, file))

    def _insert(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            with self._lock:
                self._database.execute(statement, values)
        except sqlite3.OperationalError as error:
            raise FacectlError(
                f"What the video is drawn from can't be kept: {error}",
                hint="TMPDIR=/another/disk facectl send, or without --annotate",
            ) from error

    def outcome(self, index: int) -> tuple[Status, FrameResult | None] | None:
        """The outcome of a frame; None for one that was never sent."""
        with self._lock:
            row = self._database.execute(
                "SELECT status, answer FROM outcome WHERE frame = ?", (index,)
            ).fetchone()
        if row is None:
            return None
        return row[0], None if row[1] is None else FrameResult.parse(row[1])

    def sent(self) -> int:
        """How many frames a function took."""
        with self._lock:
            row = self._database.execute(
                "SELECT count(*) FROM outcome WHERE status NOT IN ('unsent', 'refused', 'failed')"
            ).fetchone()
        return int(row[0])

    def frames(self) -> Iterator[Frame]:
        """The kept images in the order of their frames."""
        last = -1
        while True:
            with self._lock:
                row = self._database.execute(
                    "SELECT frame, file FROM image WHERE frame > ? ORDER BY frame LIMIT 1", (last,)
                ).fetchone()
            if row is None:
                return
            last = row[0]
            yield Frame(last, "", 0.0, file=row[1])

    def close(self) -> None:
        """Delete the database."""
        self._database.close()
