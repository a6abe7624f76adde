"""Prints the table of injected faults at the end of the run.

Each test hands its rows over in its report: a run with several workers prints one table.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

ROW, NOTE = "fault", "fault_note"


def print_table(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the rows and notes of the reports, nothing where there are none."""
    found = [
        entry
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for entry in report.user_properties
    ]
    rows: list[dict[str, Any]] = [value for name, value in found if name == ROW]
    if not rows:
        return
    form = "long" if os.environ.get("FACECTL_FAULTS") == "long" else "short"
    columns = f"{'frames':>7}{'lost':>6}{'doubled':>9}{'wrong':>7}{'Error':>7}{'dropped':>9}"
    terminalreporter.section(f"faults, {form} form")
    terminalreporter.line(f"{'fault':<52}{columns}{'recovered in':>14}")
    for row in rows:
        terminalreporter.line(
            f"{row['fault']:<52}{row['frames']:>7}{row['lost']:>6}{row['doubled']:>9}"
            f"{row['wrong']:>7}{row['errors']:>7}{row['dropped']:>9}{row['recovered']:>12.1f} s"
        )
    terminalreporter.line(
        "dropped: second copies that the reader did not count; "
        "recovered in: from the fault's end to the last answer that it held up"
    )
    for note in (value for name, value in found if name == NOTE):
        terminalreporter.line(note)
