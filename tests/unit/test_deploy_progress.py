"""The bars of `facectl deploy`: steps, and the bytes of layers."""

from __future__ import annotations

import io
from collections.abc import Callable

from fake_clock import FakeClock
from rich.console import Console
from rich.progress import Progress

from facectl.cli.deploy_report import StepProgress, columns
from facectl.deploy.resources import LogGroup
from facectl.deploy.steps import Create

STEP = Create(LogGroup("/aws/lambda/face-detection", "42", 14))


def shown(act: Callable[[StepProgress, FakeClock, Progress], None], *, terminal: bool) -> str:
    """What a terminal, or a file, receives while a step sends bytes."""
    stream, clock = io.StringIO(), FakeClock()
    console = Console(file=stream, force_terminal=terminal, width=120, color_system=None)
    bar = Progress(
        *columns(), console=console, transient=True, auto_refresh=False,
        get_time=clock,
    )  # fmt: skip
    with bar:
        progress = StepProgress(bar, 2, clock)
        progress(STEP, False)
        act(progress, clock, bar)
    return stream.getvalue()


def sending(progress: StepProgress, clock: FakeClock, bar: Progress) -> None:
    for done in range(0, 60_000_001, 10_000_000):
        progress.count(done, 80_000_000)
        bar.refresh()
        clock.now += 4


def test_a_terminal_shows_bytes_and_speed() -> None:
    text = shown(sending, terminal=True)
    assert "0/2" in text
    assert "60.0/80.0 MB" in text
    assert "2.5 MB/s" in text


def test_a_file_gets_a_line_every_ten_seconds() -> None:
    lines = shown(sending, terminal=False).splitlines()
    assert [line.strip() for line in lines if line.strip()] == [
        "30.0 of 80.0 MB sent, 2.5 MB/s",
        "60.0 of 80.0 MB sent, 2.5 MB/s",
    ]


def test_the_bar_of_the_bytes_ends_with_its_step() -> None:
    def act(progress: StepProgress, _clock: FakeClock, bar: Progress) -> None:
        progress.count(1, 2)
        assert len(bar.tasks) == 2
        progress(STEP, True)
        assert len(bar.tasks) == 1

    assert "create log group /aws/lambda/face-detection" in shown(act, terminal=True)
