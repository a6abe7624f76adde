"""Runs several sessions at once, each in a thread; the end of one is not that of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from facectl.errors import FacectlError, IncompleteError
from facectl.stream.outcomes import FrameCounts
from facectl.stream.session import FrameSource, RunReport, Session

_TICK = 0.1
# Seconds after Ctrl-C for requests in progress and for sources that are slow to close.
_GRACE = 8.0


@dataclass(frozen=True, slots=True)
class CamerasReport:
    """The reports of all cameras by name, and the errors of those that never ran.

    `seconds`: from the start of the first to the end of the last.
    """

    reports: Mapping[str, RunReport]
    unopened: Mapping[str, FacectlError]
    seconds: float

    @property
    def counts(self) -> FrameCounts:
        """The frames of all cameras."""
        return total([report.counts for report in self.reports.values()])

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return any(report.interrupted for report in self.reports.values())

    @property
    def exit_code(self) -> int:
        """3 if a camera never ran or ended early, 1 if a frame of one is missing or late, else 0.

        A camera that never ran has the code 3 too: what was asked for was not done.
        """
        codes = [report.exit_code for report in self.reports.values()]
        return max([*codes, IncompleteError.exit_code if self.unopened else 0], default=0)

    def incomplete(self) -> FacectlError | None:
        """The error to exit with, which names the cameras; None where none ended early."""
        errors = dict(self.unopened)
        for name, report in self.reports.items():
            if (error := report.incomplete()) is not None:
                errors[name] = error
        if not errors:
            return None
        cameras = len(self.reports) + len(self.unopened)
        if not self.counts.accepted and len(errors) == cameras:
            # One reason for all of them: that the deployment is absent, for example.
            first = next(iter(errors.values()))
            if len({str(error) for error in errors.values()}) == 1:
                return first
        # The errors of a source begin with its name.
        named = "; ".join(
            str(error) if str(error).startswith(name) else f"{name}: {error}"
            for name, error in errors.items()
        )
        hints = [error.hint for error in errors.values() if error.hint is not None]
        return IncompleteError(
            f"{len(errors)} of {cameras} cameras ended early. {named}",
            hint=hints[0] if hints else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON: the sums, then each camera's own report."""
        cameras = {name: report.as_dict() for name, report in self.reports.items()}
        summed = (
            "sent", "answered", "unanswered", "late", "in_flight", "refused", "failed", "unsent",
            "duplicates", "earlier",
        )  # fmt: skip
        unopened = {name: {"error": str(error)} for name, error in self.unopened.items()}
        return {
            **{key: sum(camera[key] for camera in cameras.values()) for key in summed},
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "cameras": {**cameras, **unopened},
        }


@dataclass(slots=True)
class CameraRun:
    """A session and its source; `report` once it has ended, `error` where that was a defect."""

    name: str
    session: Session
    source: FrameSource
    report: RunReport | None = None
    error: BaseException | None = None

    def run(self) -> None:
        """Run the session to its end."""
        try:
            self.report = self.session.run(self.source)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            self.error = error

    def interrupt(self) -> None:
        """End the session as Ctrl-C does."""
        self.session.interrupt()
        close = getattr(self.source, "close", None)
        if close is not None:
            close()


def run_all(
    runs: Sequence[CameraRun],
    *,
    unopened: Mapping[str, FacectlError] | None = None,
    progress: Callable[[FrameCounts], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> CamerasReport:
    """Run the sessions side by side until each has ended; Ctrl-C ends them all with a report.

    `unopened` are the cameras that have no session. Raises the error of a session that ended
    with something else than a report.
    """
    began = clock()
    threads = [
        threading.Thread(target=run.run, name=f"facectl-camera-{run.name}", daemon=True)
        for run in runs
    ]
    try:
        for thread in threads:
            thread.start()
        while _wait(threads, _TICK):
            progress(total([run.session.tracker.counts for run in runs]))
    except KeyboardInterrupt:
        for run in runs:
            run.interrupt()
        deadline = clock() + _GRACE
        while _wait(threads, _TICK) and clock() < deadline:
            pass
    failed = dict(unopened or {})
    for run in runs:
        if run.error is not None:
            raise run.error
        if run.report is None:
            failed[run.name] = FacectlError(f"it did not end within {_GRACE:g} s of Ctrl-C")
    reports = {run.name: run.report for run in runs if run.report is not None}
    return CamerasReport(reports, failed, clock() - began)


def total(counts: Sequence[FrameCounts]) -> FrameCounts:
    """The sum of the counts of several runs."""
    names = [field.name for field in fields(FrameCounts)]
    return FrameCounts(**{name: sum(getattr(each, name) for each in counts) for name in names})


def _wait(threads: Sequence[threading.Thread], timeout: float) -> bool:
    """Wait up to `timeout` seconds for one that runs; whether one still does."""
    running = next((thread for thread in threads if thread.is_alive()), None)
    if running is not None:
        running.join(timeout)
    return any(thread.is_alive() for thread in threads)
