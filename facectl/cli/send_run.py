"""Runs `facectl send` and the last step of `facectl demo`: progress, output files, report."""

from __future__ import annotations

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
    from facectl.stream.run_file import RunFile
    from facectl.stream.session import RunOptions, RunReport
    from facectl.stream.sources import Source
    from facectl.visits.outputs import Recording, VisitOutputs


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """The requested output files: JSON lines, an annotated video, visits."""

    results: Path | None = None
    video: Path | None = None
    visits: VisitOutputs | None = None


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
    from facectl.stream.annotate import Clip, draw_all
    from facectl.stream.results import ResultsFile, RunStats
    from facectl.stream.run_file import RunFile
    from facectl.stream.session import Session, Transport
    from facectl.visits.outputs import recorded

    synthetic = deployment.synthetic
    with ExitStack() as stack:
        if run_file is None and files.video is not None:
            run_file = RunFile.temporary()
        if run_file is not None:
            stack.callback(run_file.close)
        transport = Transport.of(Clients(deployment), connections=options.concurrency)
        session = Session(
            transport, options, RunStats(rows), synthetic=synthetic, run_file=run_file
        )
        # Files that can't be written are found before anything is sent.
        clip = None if files.video is None else Clip(files.video, source.rate)
        if files.results is not None:
            results = stack.enter_context(closing(ResultsFile(files.results, synthetic=synthetic)))
            session.tracker.listen(results, late=results)
        recording = None
        if files.visits is not None:
            recording = stack.enter_context(
                recorded(files.visits, session, source, deployment=deployment, report=warn)
            )
        with run_bar(source.expected, wait=options.wait) as update:
            report = session.run(source, progress=update)
        if recording is not None:
            report = _end_visits(recording, report)
        if clip is not None and run_file is not None:
            encoding = options.request_options.encoding
            try:
                with drawing_bar(report.counts.accepted) as drawn:
                    draw_all(clip, source, encoding, run_file, synthetic=synthetic, progress=drawn)
            except FacectlError as error:
                # The frames were sent: print the report, with this failure.
                report = replace(report, failure=report.failure or error)
        if run_file is not None and report.finished:
            run_file.remove()
    return report


def _end_visits(recording: Recording, report: RunReport) -> RunReport:
    """End the open visits and print how many there were; returns the report with its failure."""
    try:
        recording.finish(report)
    except FacectlError as error:
        return replace(report, failure=report.failure or error)
    note(recording.summary())
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
