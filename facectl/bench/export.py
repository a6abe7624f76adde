"""A run's requests as a table that spreadsheets read."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from facectl import paths
from facectl.bench.report import BenchmarkReport, rows
from facectl.bench.stages import STAGES
from facectl.errors import InputError

_COLUMNS = (
    "index",
    "name",
    "request_id",
    "status",
    "result",
    "label",
    "correct",
    "cold",
    "due_s",
    "sent_s",
    "answered_s",
    "latency_s",
    "post_s",
    "attempts",
    *(f"stage_{stage}_s" for stage in STAGES),
    "error",
)
# A spreadsheet takes what begins like this for a formula; names come from outside.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(report: BenchmarkReport, file: Path) -> None:
    """Write one row for each request; raises InputError where the file can't be written."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS)
    writer.writeheader()
    for row in rows(report.run, report.labels):
        stages = row.pop("stages_s")
        cells = {**row, **{f"stage_{stage}_s": stages.get(stage) for stage in STAGES}}
        writer.writerow({name: _cell(value) for name, value in cells.items()})
    write(file, text.getvalue())


def write(file: Path, text: str) -> None:
    """Replace a file by a text, whole or not at all; raises InputError."""
    try:
        with paths.atomic_write(file, mode=0o644) as stream:
            stream.write(text.encode("utf-8"))
    except OSError as error:
        raise InputError(f"{file} can't be written: {error.strerror}") from error


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
