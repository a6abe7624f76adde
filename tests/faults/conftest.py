"""A local cloud to break things in, and the table of what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from driver import Facectl, free_port
from hands import ASU_ID, LONG, PEOPLE, TIMEOUT, Hands, Outcome, looks

_outcomes: list[Outcome] = []
_notes: list[str] = []


@pytest.fixture(scope="session")
def table() -> list[Outcome]:
    return _outcomes


@pytest.fixture(scope="session")
def notes() -> list[str]:
    """Sentences for below the table."""
    return _notes


@pytest.fixture(scope="session")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hands]:
    folder = tmp_path_factory.mktemp("faults")
    facectl = Facectl(tmp_path_factory.mktemp("home"))
    facectl("models", "build", "--weights", "synthetic")
    facectl("local", "up", "--port", free_port())
    try:
        facectl("deploy", "--asu-id", ASU_ID, "--target", "local", "--timeout", TIMEOUT)
        for name in PEOPLE[:3]:
            photo = folder / f"{name}.png"
            cv2.imwrite(str(photo), looks()[name])
            facectl("gallery", "enroll", name, photo)
        made = Hands(facectl, folder)
        yield made
        made.proxy.stop()
    finally:
        facectl("local", "down", expect=None)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _outcomes:
        return
    columns = f"{'frames':>7}{'lost':>6}{'doubled':>9}{'wrong':>7}{'Error':>7}{'dropped':>9}"
    terminalreporter.section(f"faults, {'long' if LONG else 'short'} form")
    terminalreporter.line(f"{'fault':<52}{columns}{'recovered in':>14}")
    for row in _outcomes:
        terminalreporter.line(
            f"{row.fault:<52}{row.frames:>7}{row.lost:>6}{row.doubled:>9}{row.wrong:>7}"
            f"{row.errors:>7}{row.dropped:>9}{row.recovered:>12.1f} s"
        )
    terminalreporter.line(
        "dropped: second copies that the reader did not count; "
        "recovered in: from the fault's end to the last answer that it held up"
    )
    for note in _notes:
        terminalreporter.line(note)
