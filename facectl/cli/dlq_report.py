"""Prints dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from facectl.cli.run_report import printable
from facectl.console import out
from facectl.logs.times import local_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facectl.logs.failure_reasons import Failure


def show_failures(failures: Sequence[Failure]) -> None:
    """Print one row per message."""
    if not failures:
        out.print("The dead-letter queue is empty.")
        return
    table = Table("request", "sent", "failed", "deliveries", "faces", "reason")
    for failure in failures:
        facts = failure.as_dict()
        table.add_row(
            _request_of(failure),
            local_time(failure.dead_letter.sent_at),
            "-" if failure.failed_at is None else local_time(failure.failed_at),
            str(failure.deliveries or "-"),
            "-" if facts["faces"] is None else str(facts["faces"]),
            Text(printable(failure.reason)),
        )
    out.print(table)
    out.print(f"{len(failures)} dead letters. Next: facectl trace REQUEST_ID")


def show_failure(failure: Failure) -> None:
    """Print all fields of one message; of images only the size."""
    table = Table.grid(padding=(0, 2))
    for key, value in failure_facts(failure).items():
        if key != "crops":
            table.add_row(key.replace("_", " "), Text(_field_text(key, value)))
    out.print(table)
    for crop in failure_facts(failure)["crops"]:
        box = ", ".join(f"{edge:.0f}" for edge in crop["box"])
        out.print(
            Text(f"face at ({box}), probability {crop['probability']:.3f}, {crop['bytes']} bytes")
        )
    if failure.dead_letter.request_id is not None:
        out.print(Text(f"Next: facectl trace {printable(failure.dead_letter.request_id)}"))


def failure_facts(failure: Failure) -> dict[str, Any]:
    """All fields of a dead letter as JSON; of images only the size."""
    message = failure.dead_letter.message
    return {
        **failure.as_dict(),
        "space": None if message is None else message.space,
        "crops": [
            {"box": list(face.box), "probability": face.probability, "bytes": len(face.image)}
            for face in (message.faces if message else ())
        ],
    }


def _request_of(failure: Failure) -> Text:
    return Text(
        printable(failure.dead_letter.request_id or f"message {failure.dead_letter.message_id}")
    )


def _field_text(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key.endswith("_at"):
        return local_time(value)
    return printable(str(value))
