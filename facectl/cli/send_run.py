"""Runs `facectl send` and the last step of `facectl demo`: progress, output files, report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facectl.aws import Clients
from facectl.cli.run_report import drawing_bar, print_report, run_bar, warnings
from facectl.console import note, print_json, warn
from facectl.context import Deployment
from facectl.errors import FacectlError

if TYPE_CHECKING:
    from facectl.edge.earlier import EarlierAnswers
    from facectl.stream.annotate import Clip
    from facectl.stream.outcomes import FrameOutcome
    from facectl.stream.reply_queues import ReplyQueue
    from facectl.stream.run_file import RunFile
    from facectl.stream.session import RunOptions, RunReport, Session
    from facectl.stream.sources import Source
    from facectl.stream.transport import Transport
    from facectl.visits.outputs import Recording, VisitOutputs


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The requested output files: JSON lines, an annotated video, visits."""

    results: Path | None = None
    video: Path | None = None
    visits: VisitOutputs | None = None


@dataclass(frozen=True, slots=True)
class OneRun:
    """A session that is ready to run, and its source and outputs."""

    session: Session
    source: Source
    options: RunOptions
    clip: Clip | None
    recording: Recording | None
    run_file: RunFile | None

    def end(self, report: RunReport, *, synthetic: bool, camera: str | None = None) -> RunReport:
        """Complete the outputs of a run that has ended; returns the report with their failure.

        The run file is removed when nothing is left to do. `camera`: its name, where
        there are several.
        """
        if self.recording is not None:
            report = _end_visits(self.recording, report, camera)
        if self.clip is not None and self.run_file is not None:
            report = self._draw(self.clip, self.run_file, report, synthetic=synthetic)
        if self.run_file is not None and report.finished:
            self.run_file.remove()
        return report

    def _draw(
        self, clip: Clip, run_file: RunFile, report: RunReport, *, synthetic: bool
    ) -> RunReport:
        from facectl.stream.annotate import draw_all

        encoding = self.options.request_options.encoding
        try:
            with drawing_bar(report.counts.accepted) as drawn:
                draw_all(clip, self.source, encoding, run_file, synthetic=synthetic, progress=drawn)
        except FacectlError as error:
            # The frames were sent: print the report, with this failure.
            return replace(report, failure=report.failure or error)
        return report


@dataclass(frozen=True, slots=True)
class RunInput:
    """What one session sends; `results` takes its outcomes, None for no file of results."""

    source: Source
    options: RunOptions
    rows: int = 200
    run_file: RunFile | None = None
    results: Callable[[FrameOutcome], None] | None = None


def prepared(
    stack: ExitStack,
    deployment: Deployment,
    transport: Transport,
    given: RunInput,
    files: OutputFiles,
) -> OneRun:
    """The session of a run and its outputs, which the stack closes.

    Files that can't be written are found here, before anything is sent.
    """
    from facectl.stream.annotate import Clip
    from facectl.stream.results import RunStats
    from facectl.stream.run_file import RunFile
    from facectl.stream.session import Session
    from facectl.visits.outputs import recorded

    source, run_file = given.source, given.run_file
    if run_file is None and files.video is not None:
        run_file = RunFile.temporary()
    if run_file is not None:
        stack.callback(run_file.close)
    options = given.options
    if options.edge:
        from facectl.edge.transport import WINDOW

        # Frames wait on disk while the cloud does not answer.
        options = replace(options, window=WINDOW)
    session = Session(
        transport,
        options,
        RunStats(given.rows),
        synthetic=deployment.synthetic,
        run_file=run_file,
    )
    clip = None if files.video is None else Clip(files.video, source.rate)
    if given.results is not None:
        session.tracker.listen(given.results, late=given.results)
    recording = None
    if files.visits is not None:
        recording = stack.enter_context(
            recorded(files.visits, session, source, deployment=deployment, report=warn)
        )
    return OneRun(session, source, given.options, clip, recording, run_file)


def reply_queue(
    stack: ExitStack, clients: Clients, options: RunOptions, reply: str | None = None
) -> ReplyQueue | None:
    """The reply queue of this client, if it has one, which the stack deletes.

    `reply` ends its name.
    """
    from facectl.stream.reply_queues import OFFLINE_LEASE, ReplyQueue

    if not options.private_replies:
        return None
    if options.edge:
        return stack.enter_context(ReplyQueue(clients, reply, lease=OFFLINE_LEASE))
    return stack.enter_context(ReplyQueue(clients, reply))


def opened_transport(
    stack: ExitStack,
    clients: Clients,
    options: RunOptions,
    reply: ReplyQueue | None,
    *,
    live: bool,
) -> tuple[Transport, EarlierAnswers | None]:
    """The transport of a run; with edge detection, what was sent is printed at the end.

    `live`: a source would not wait for the cloud. The answers to frames of an earlier process
    are None without edge detection.
    """
    from facectl.stream.transport import Transport

    if not options.edge:
        return Transport.of(clients, connections=options.concurrency, reply=reply), None
    from facectl.edge.transport import edge_transport

    edge = edge_transport(clients, reply=reply, offline=live, report=warn)
    endpoint, outbox = edge.endpoint, edge.outbox

    def summary() -> None:
        note(
            f"Edge: faces in {endpoint.with_faces} of {endpoint.frames} frames; "
            f"{outbox.bytes_sent / 1e6:.1f} MB of crops sent instead of "
            f"{endpoint.image_bytes * 4 / 3e6:.1f} MB of frames"
        )
        if edge.earlier.count:
            note(f"{edge.earlier.count} answers to frames that an earlier process had left on disk")
        if outbox.dropped:
            warn(f"{outbox.dropped} frames were dropped: the queue on disk was full")

    stack.callback(summary)
    return edge.transport, edge.earlier


def run(
    deployment: Deployment,
    source: Source,
    options: RunOptions,
    files: OutputFiles,
    *,
    rows: int = 200,
    run_file: RunFile | None = None,
) -> RunReport:
    """Send the source's frames with a progress bar on stderr, and write the requested files.

    The run file is closed, and removed when nothing is left to do.
    """
    from facectl.stream.results import ResultsFile

    synthetic = deployment.synthetic
    with ExitStack() as stack:
        if run_file is not None:
            stack.callback(run_file.close)
        clients = Clients(deployment)
        # The id of a run that can be resumed: its next process reads the same queue.
        run_id = None if run_file is None else run_file.run
        reply = reply_queue(stack, clients, options, run_id)
        transport, earlier = opened_transport(stack, clients, options, reply, live=source.live)
        results = None
        if files.results is not None:
            results = stack.enter_context(closing(ResultsFile(files.results, synthetic=synthetic)))
            if earlier is not None:
                earlier.listen(results.earlier)
        given = RunInput(source, options, rows, run_file, results)
        one = prepared(stack, deployment, transport, given, files)
        with run_bar(source.expected, wait=options.wait) as update:
            report = one.session.run(source, progress=update)
        # Answers to accepted frames may still come, for the process that resumes the run.
        expects = report.resumable and not report.finished and report.counts.accepted > 0
        if reply is not None and expects:
            reply.keep()
        return one.end(report, synthetic=synthetic)


def _end_visits(recording: Recording, report: RunReport, camera: str | None) -> RunReport:
    """End the open visits and print how many there were; returns the report with its failure.

    `camera`: the name to print before, where there are several.
    """
    try:
        recording.finish(report)
    except FacectlError as error:
        return replace(report, failure=report.failure or error)
    note(recording.summary() if camera is None else f"{camera}: {recording.summary()}")
    return report


def finish(report: RunReport, *, wait: bool = True, json: bool = False) -> None:
    """Print the report, and exit with its error or exit code."""
    if json:
        print_json(report.as_dict())
        for line in warnings(report):
            note(line)
    else:
        print_report(report, wait=wait)
    if (error := report.incomplete()) is not None:
        raise error
    if report.exit_code:
        raise typer.Exit(report.exit_code)
