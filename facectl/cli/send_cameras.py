"""Runs `facectl send` with several sources: a session for each, side by side in one process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from facectl.aws import Clients
from facectl.cli.run_report import SYNTHETIC, UNCLAIMED, run_bar, warnings
from facectl.cli.send_run import (
    OneRun,
    OutputFiles,
    RunInput,
    opened_transport,
    prepared,
    reply_queue,
)
from facectl.cli.tables import safe
from facectl.console import note, out, print_json, warn
from facectl.context import Deployment
from facectl.errors import FacectlError, InputError

if TYPE_CHECKING:
    from facectl.stream.cameras import Camera
    from facectl.stream.live import Reconnection
    from facectl.stream.many import CamerasReport
    from facectl.stream.session import RunOptions
    from facectl.stream.sources import Source

# Sources that are opened at once; an RTSP camera that does not answer takes ten seconds.
_OPENED_AT_ONCE = 32
# Names that the table shows for each camera; --json has them all.
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class CamerasInput:
    """What a run with several sources sends, and how; `rows` of each are in the JSON."""

    cameras: Sequence[Camera]
    options: RunOptions
    reconnection: Reconnection
    rows: int = 200


def run(deployment: Deployment, given: CamerasInput, files: OutputFiles) -> CamerasReport:
    """Send the frames of all cameras with one progress bar, and write the requested files.

    A camera that can't be opened is reported like one that has ended; a file that can't
    be opened is an error before anything is sent.
    """
    from facectl.stream.many import CameraRun, run_all
    from facectl.stream.shared import SharedTransport

    videos = _videos(given.cameras, files.video)
    sources, unopened = _opened(given)
    concurrency = given.options.concurrency
    with ExitStack() as stack:
        clients = Clients(deployment)
        reply = reply_queue(stack, clients, given.options)
        live = any(camera.live for camera in given.cameras)
        transport, earlier = opened_transport(stack, clients, given.options, reply, live=live)
        shared = stack.enter_context(SharedTransport(transport, concurrency=concurrency))
        outputs = _SharedFiles(stack, deployment, files)
        if earlier is not None and outputs.results is not None:
            earlier.listen(outputs.results.earlier)
        ready: dict[str, OneRun] = {}
        for camera in given.cameras:
            if camera.name in sources:
                ready[camera.name] = prepared(
                    stack,
                    deployment,
                    shared.camera(camera.name),
                    _input(deployment, camera, sources[camera.name], given, outputs),
                    OutputFiles(video=videos.get(camera.name), visits=outputs.visits),
                )
        runs = [CameraRun(name, one.session, one.source) for name, one in ready.items()]
        with run_bar(_expected(sources.values()), wait=given.options.wait) as update:
            report = run_all(runs, unopened=unopened, progress=update)
        synthetic = deployment.synthetic
        ended = {
            name: ready[name].end(each, synthetic=synthetic, camera=name)
            for name, each in report.reports.items()
        }
    return replace(report, reports=ended)


def finish(report: CamerasReport, *, wait: bool, json: bool, synthetic: bool) -> None:
    """Print the report, and exit with its error or exit code."""
    if json:
        print_json(report.as_dict())
    else:
        if synthetic:
            out.print("[yellow]Synthetic weights: the names mean nothing[/yellow]")
        out.print(_table(report, wait=wait))
        out.print(_figures(report, wait=wait), soft_wrap=True)
    for line in _warnings(report):
        (note if json else warn)(line)
    if synthetic and not json:
        warn(SYNTHETIC)
    if (error := report.incomplete()) is not None:
        raise error
    if report.exit_code:
        raise typer.Exit(report.exit_code)


class _SharedFiles:
    """The files that all cameras write: the results and the visits."""

    def __init__(self, stack: ExitStack, deployment: Deployment, files: OutputFiles) -> None:
        from facectl.stream.results import ResultsFile
        from facectl.visits.file import VisitsFile

        self.results: ResultsFile | None = None
        if files.results is not None:
            opened = ResultsFile(files.results, synthetic=deployment.synthetic)
            self.results = stack.enter_context(closing(opened))
        self.visits = files.visits
        if files.visits is not None and files.visits.file is not None:
            visits = stack.enter_context(closing(VisitsFile(files.visits.file, None)))
            self.visits = replace(files.visits, file=None, shared_file=visits)


def _input(
    deployment: Deployment,
    camera: Camera,
    source: Source,
    given: CamerasInput,
    outputs: _SharedFiles,
) -> RunInput:
    """What the camera's session sends. A video has a run file: alone it can be resumed."""
    from facectl.stream.run_file import RunTask, open_run_file
    from facectl.stream.shared import sender_threads

    request_options = replace(given.options.request_options, encoding=camera.encoding)
    options = replace(
        given.options,
        request_options=request_options,
        concurrency=sender_threads(given.options.concurrency, len(given.cameras)),
    )
    task = RunTask(deployment.key.name, (camera.source,), camera.sampling, request_options)
    run_file = open_run_file(task, live=source.live, resume=False)
    results = None if outputs.results is None else outputs.results.of_camera(camera.name)
    return RunInput(source, options, given.rows, run_file, results)


def _opened(given: CamerasInput) -> tuple[dict[str, Source], dict[str, FacectlError]]:
    """The open sources and the errors of cameras and streams that can't be opened, by name.

    Raises InputError for a file that can't be opened.
    """

    def opened(camera: Camera) -> Source | FacectlError:
        try:
            return camera.open(reconnection=given.reconnection)
        except FacectlError as error:
            if not camera.live:
                raise
            return error

    with ThreadPoolExecutor(min(_OPENED_AT_ONCE, len(given.cameras))) as pool:
        found = list(zip(given.cameras, pool.map(opened, given.cameras), strict=True))
    errors = {c.name: each for c, each in found if isinstance(each, FacectlError)}
    sources = {c.name: each for c, each in found if not isinstance(each, FacectlError)}
    return sources, errors


def _expected(sources: Iterable[Source]) -> int | None:
    """The frames of all sources; None where one has no end."""
    counts = [source.expected for source in sources]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _videos(cameras: Sequence[Camera], video: Path | None) -> dict[str, Path]:
    """The annotated video of each camera: `seen.mp4` is `seen-NAME.mp4`.

    Raises InputError where two cameras would have the same.
    """
    if video is None:
        return {}
    named: dict[str, Path] = {}
    for camera in cameras:
        path = video.with_stem(f"{video.stem}-{camera.slug}")
        if path in named.values():
            raise InputError(
                f"--annotate would write {path} for two cameras",
                hint="give the cameras names that differ in letters or digits, in --cameras FILE",
            )
        named[camera.name] = path
    return named


def _table(report: CamerasReport, *, wait: bool) -> Table:
    table = Table()
    table.add_column("camera", overflow="fold")
    for column in ("sent", *(("answered", "not answered", "latency") if wait else ()), "frames/s"):
        table.add_column(column, justify="right")
    if wait:
        table.add_column("seen", overflow="fold")
    for name, each in report.reports.items():
        counts = each.counts
        row = [str(counts.accepted)]
        if wait:
            mean = each.stats.latency.mean
            missing = counts.opened - counts.answered
            row += [str(counts.answered), str(missing), "" if mean is None else f"{mean:.3f} s"]
        done = counts.answered if wait else counts.accepted
        row.append(f"{done / each.seconds:.1f}" if each.seconds else "")
        if wait:
            row.append(safe(_seen(each.stats.by_frames())))
        table.add_row(safe(name), *row)
    for name in report.unopened:
        table.add_row(safe(name), *["-"] * (len(table.columns) - 1))
    return table


def _seen(names: dict[str, int]) -> str:
    shown = [f"{name} ({frames})" for name, frames in list(names.items())[:_NAMES_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _figures(report: CamerasReport, *, wait: bool) -> str:
    counts = report.counts
    cameras = len(report.reports) + len(report.unopened)
    done = counts.answered if wait else counts.accepted
    parts = [f"{cameras} cameras", f"{counts.accepted} sent"]
    if wait:
        parts.append(f"{counts.answered} answered")
    if counts.duplicates:
        parts.append(f"{counts.duplicates} duplicate answers dropped")
    parts.append(f"{report.seconds:.1f} s")
    if report.seconds:
        parts.append(f"{done / report.seconds:.1f} frames/s")
    return ", ".join(parts)


def _warnings(report: CamerasReport) -> list[str]:
    """Problems of the cameras, each with its camera's name."""
    lines = []
    for name, each in report.reports.items():
        resuming = f"facectl send of {name} alone with the same options and --resume"
        # The problems of a source begin with its name.
        lines += [
            line if line.startswith(name) else f"{name}: {line}"
            for line in warnings(each, resuming=resuming, purge=False)
        ]
    if any(each.unclaimed for each in report.reports.values()):
        lines.append(UNCLAIMED)
    return lines
