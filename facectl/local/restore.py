"""Reports what a restarted local cloud restored, what is missing, and how to recreate it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from facectl.local.inventory import Inventory, asu_ids, missing
from facectl.local.state import Prepared, Saved, damaged_folder

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Restored:
    """The saved state, and the resources of the restarted cloud.

    `replaced`: the process id of the cloud that did not answer and was replaced.
    """

    prepared: Prepared
    now: Inventory
    replaced: int | None = None

    @property
    def saved(self) -> Saved | None:
        return self.prepared.saved

    @property
    def missing(self) -> list[str]:
        """What was saved, or should have been, and is not there."""
        return missing(self.saved.inventory, self.now) if self.saved is not None else []

    @property
    def messages(self) -> int:
        """How many messages are in the queues."""
        return sum(held for label, held in self.now.items() if label.startswith("queue "))

    def complete(self) -> bool:
        return not any(self.problems())

    def problems(self) -> Iterator[str]:
        """What was lost, or may have been: one sentence each."""
        saved = self.saved
        if self.replaced is not None:
            yield (
                f"The local cloud that ran (process {self.replaced}) did not answer: "
                "it was stopped and replaced"
            )
        if saved is not None and not saved.ended:
            yield _interrupted(saved)
        if saved is not None and saved.failed:
            yield "This could not be saved: " + _some(saved.failed)
        if self.prepared.damaged:
            files = ", ".join(self.prepared.damaged)
            yield f"Damaged, and set aside in {damaged_folder()}: {files}"
        if self.missing:
            yield "Not there again: " + _some(self.missing)

    def commands(self) -> list[str]:
        """What to run to have again what was lost."""
        if self.complete():
            return []
        known = asu_ids({**(self.saved.inventory if self.saved else {}), **self.now})
        lost = self.missing
        if self.prepared.damaged or not known or any(" of " not in line for line in lost):
            return [f"facectl deploy --asu-id {each} --target local" for each in known or ["ID"]]
        if any(" objects in " in line for line in lost):
            return [f"facectl gallery publish --asu-id {each} --target local" for each in known]
        return [f"facectl status --asu-id {each} --target local" for each in known]

    def as_dict(self) -> dict[str, object]:
        return {
            "resources": len(self.now),
            "messages": self.messages,
            "missing": self.missing,
            "problems": list(self.problems()),
            "commands": self.commands(),
        }


def _some(things: Sequence[str]) -> str:
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return ", ".join(things[:_SHOWN]) + more


def _interrupted(saved: Saved) -> str:
    what = "The local cloud was not ended by 'facectl local down'"
    if not saved.at:
        return f"{what}, and nothing of it had been saved"
    when = datetime.fromtimestamp(saved.at).astimezone().isoformat(" ", "seconds")
    return f"{what}: its queues and logs are as they were saved at {when}"
