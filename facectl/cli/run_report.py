"""Prints a run of `facectl send`: progress bars, then the results, the figures and warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from facectl.console import err, out, printable, warn

if TYPE_CHECKING:
    from facectl.stream.outcomes import FrameCounts, FrameOutcome
    from facectl.stream.session import RunReport

SYNTHETIC = (
    "Synthetic weights: the model is untrained, so its names mean nothing. "
    "Trained ones: facectl models build, then facectl deploy"
)
UNCLAIMED = (
    "The response queue contains answers of other runs that no client receives; they slow "
    "this run down. facectl purge removes them"
)
# Others are counted; --out has them all.
_MOST_LOST = 20


@contextmanager
def run_bar(
    total: int | None, *, doing: str = "", wait: bool = True
) -> Iterator[Callable[[FrameCounts], None]]:
    """Show the frames sent and answered on stderr; yields a function that updates the bar.

    `total` None shows a spinner, for a run without a known number of frames.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[state]}"),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(doing, total=total, state="" if doing else "sending")

        def update(counts: FrameCounts) -> None:
            of = "" if total is None else f" of {total}"
            answered = f", {counts.answered} answered" if wait else ""
            progress.update(
                task,
                completed=counts.answered if wait else counts.accepted,
                state=f"{counts.accepted} sent{of}{answered}",
            )

        yield update


@contextmanager
def drawing_bar(total: int) -> Iterator[Callable[[int], None]]:
    """Show the frames drawn on stderr; yields a function that updates the bar."""
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("drawing", total=total)
        yield lambda frames: progress.update(task, completed=frames)


def print_report(report: RunReport, *, wait: bool) -> None:
    """Print the results and figures on stdout, the warnings on stderr."""
    if report.synthetic:
        out.print("[yellow]Synthetic weights: the names mean nothing[/yellow]")
    if report.stats.first:
        out.print(_table(report, wait=wait))
    _print_names(report)
    out.print(_figures(report, wait=wait), soft_wrap=True)
    for line in warnings(report):
        warn(line)
    if report.synthetic:
        warn(SYNTHETIC)


def warnings(
    report: RunReport, *, resuming: str = "The same command with --resume", purge: bool = True
) -> list[str]:
    """Problems of the run, a sentence each.

    `resuming`: what continues it. `purge`: whether to mention answers of other runs.
    """
    from facectl.stream.results import ranges

    statuses = report.stats.statuses
    lines = list(report.problems)
    for status, words in (
        ("refused", "refused"),
        ("failed", "not delivered"),
        ("unanswered", "unanswered"),
        ("unsent", "not sent"),
    ):
        if statuses[status]:
            named = [o.index for o in report.stats.lost if o.status == status]
            lines.append(f"{statuses[status]} {words}: frames {ranges(named)}")
    if report.counts.late:
        lines.append(f"{report.counts.late} answered after their deadline: --out has the answers")
    if report.interrupted:
        flying = [o.index for o in report.stats.lost if o.status == "in-flight"]
        lines.append(
            f"Stopped. {statuses['in-flight']} still in flight"
            + (f": frames {ranges(flying)}. facectl tail shows their answers" if flying else "")
        )
    reasons = [o for o in report.stats.lost if o.error is not None]
    lines += [f"frame {o.index} ({o.name}): {o.error}" for o in reasons[:_MOST_LOST]]
    if len(reasons) > _MOST_LOST:
        lines.append(f"and {len(reasons) - _MOST_LOST} more errors: --out has them all")
    if report.resumable and not report.finished:
        lines.append(f"{resuming} continues this run")
    if report.unclaimed and purge:
        lines.append(UNCLAIMED)
    return [printable(line) for line in lines]


def _table(report: RunReport, *, wait: bool) -> Table:
    table = Table()
    for column in ("frame", "result"):
        # Folded, not cut: a name in a pipe must come out whole.
        table.add_column(column, overflow="fold")
    if wait:
        table.add_column("latency", justify="right")
    for outcome in sorted(report.stats.first, key=lambda o: o.index):
        row = [printable(outcome.name), _result(outcome)]
        if wait:
            row.append("" if outcome.latency is None else f"{outcome.latency:.3f} s")
        table.add_row(*row)
    return table


def _result(outcome: FrameOutcome) -> str:
    if outcome.answer is not None:
        return escape(printable(outcome.answer.result))
    return f"[red]{outcome.status}[/red]" if outcome.status != "accepted" else "sent"


def _print_names(report: RunReport) -> None:
    hidden = report.counts.opened - len(report.stats.first)
    if hidden > 0:
        out.print(f"and {hidden} more frames: --rows shows more, --out writes all")
    if report.stats.names:
        names = ", ".join(
            f"{escape(printable(name))} ({frames})"
            for name, frames in report.stats.by_frames().items()
        )
        out.print(f"Seen (number of frames): {names}", soft_wrap=True)


def _figures(report: RunReport, *, wait: bool) -> str:
    counts = report.counts
    parts = [f"{counts.accepted} sent"]
    if wait:
        parts.append(f"{counts.answered} answered")
    if counts.earlier:
        parts.append(f"{counts.earlier} of them before the run was resumed")
    if counts.duplicates:
        parts.append(f"{counts.duplicates} duplicate answers dropped")
    parts.append(f"{report.seconds:.1f} s")
    rate = ((counts.answered if wait else counts.accepted) - counts.earlier) / report.seconds
    parts.append(f"{rate:.1f} frames/s")
    latency = report.stats.latency
    if latency.mean is not None:
        parts.append(
            f"latency mean {latency.mean:.3f} s ({latency.least:.3f} to {latency.most:.3f})"
        )
    return ", ".join(parts)
