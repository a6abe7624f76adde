"""Progress of a running benchmark, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from facectl.console import err

if TYPE_CHECKING:
    from facectl.bench.run import Load
    from facectl.stream.in_flight import FrameCounts


class TerminalWatch:
    """Shows progress as spinners and progress bars."""

    def tell(self, sentence: str) -> None:
        """Print a line."""
        err.print(escape(sentence), soft_wrap=True)

    @contextmanager
    def status(self, doing: str) -> Iterator[Callable[[str], None]]:
        """Show a spinner; yields a function that updates its details."""
        with err.status(escape(doing)) as status:
            yield lambda more: status.update(escape(f"{doing}: {more}"))

    @contextmanager
    def frames(self, load: Load, doing: str) -> Iterator[Callable[[FrameCounts], None]]:
        """Show a progress bar of the frames, or a spinner if only the duration ends them."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
        )
        total = load.workload.limit
        with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
            task = bar.add_task(doing, total=total, state="")

            def update(counts: FrameCounts) -> None:
                of = "" if total is None else f" of {total}"
                bar.update(
                    task,
                    completed=counts.answered,
                    state=f"{counts.accepted} sent{of}, {counts.answered} answered",
                )

            yield update
