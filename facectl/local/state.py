"""The local cloud's saved state: written while it runs, checked before and compared after a start.

MiniStack writes one JSON file per service, and each object of S3 to a file of its own.
`saved.json` beside them records when the state was saved, for which port, and whether
everything was saved.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

from facectl import paths
from facectl.local.settings import LOOPBACK, services_folder, state_folder

SAVED_NAME = "saved.json"

_LAMBDA, _S3 = "lambda.json", "s3.json"
_BLOB = re.compile(r'"code_blob_ref": "([0-9a-f]{64})"')
_SHOWN = 20

# Each resource as "kind name", with the number of messages in a queue or of objects in a
# bucket; 0 for the other kinds.
Inventory = dict[str, int]


@dataclass(frozen=True, slots=True)
class Saved:
    """The content of `saved.json`.

    `at`: when the state was saved, in seconds since 1970; 0 before the first save. `ended`:
    the cloud stopped after this save, so it is the last state. `failed`: MiniStack's
    messages about what could not be saved.
    """

    at: float
    port: int
    ended: bool
    failed: tuple[str, ...] = ()
    inventory: Inventory = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The state that a start restores; `damaged` names the files that were moved away."""

    saved: Saved | None
    damaged: tuple[str, ...] = ()


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
        """The resources, messages and objects that were saved and are not restored, as text."""
        return _missing(self.saved.inventory, self.now) if self.saved is not None else []

    @property
    def messages(self) -> int:
        """The number of messages in all queues."""
        return sum(held for label, held in self.now.items() if label.startswith("queue "))

    def complete(self) -> bool:
        return not any(self.problems())

    def problems(self) -> Iterator[str]:
        """A sentence for each thing that is lost or may be lost."""
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
            yield f"Damaged, and moved to {damaged_folder()}: {files}"
        if self.missing:
            yield "Not restored: " + _some(self.missing)

    def commands(self) -> list[str]:
        """The commands that recreate what is lost."""
        if self.complete():
            return []
        known = _asu_ids({**(self.saved.inventory if self.saved else {}), **self.now})
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


def saved_file() -> Path:
    return state_folder() / SAVED_NAME


def damaged_folder() -> Path:
    """The folder that keeps damaged files until the state is deleted."""
    return state_folder() / "damaged"


def write(saved: Saved, file: Path | None = None) -> None:
    """Write `saved.json`; raises OSError."""
    with paths.atomic_write(saved_file() if file is None else file) as stream:
        stream.write(json.dumps(asdict(saved)).encode())


def read() -> Saved | None:
    """The content of `saved.json`; None if it is missing or damaged."""
    try:
        data = json.loads(saved_file().read_bytes())
        inventory = {str(label): int(held) for label, held in data["inventory"].items()}
        return Saved(
            float(data["at"]),
            int(data["port"]),
            data["ended"] is True,
            tuple(map(str, data["failed"])),
            inventory,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def delete() -> None:
    """Delete the state."""
    shutil.rmtree(state_folder(), ignore_errors=True)


def prepare(port: int) -> Prepared:
    """Prepare the saved state for a start at `port`.

    Moves damaged files away, and changes the port in saved addresses. Until the next
    save, the state counts as that of a cloud that was interrupted. Raises OSError if a
    file can't be written.
    """
    services_folder().mkdir(parents=True, exist_ok=True)
    for folder in (state_folder(), services_folder()):
        folder.chmod(0o700)
    saved = read()
    damaged = tuple(_set_aside(list(_damaged())))
    if saved is None and saved_file().exists():
        damaged += tuple(_set_aside([saved_file().name]))
    if saved is not None and saved.port != port:
        _change_port(services_folder().glob("*.json"), saved.port, port)
        _change_port(_records(), saved.port, port)
    write(replace(saved or Saved(0.0, port, False), port=port, ended=False, failed=()))
    return Prepared(saved, damaged)


def _damaged() -> Iterator[str]:
    """The names of the services' files that can't be restored."""
    for file in sorted(services_folder().glob("*.json")):
        try:
            text = file.read_text()
            readable = isinstance(json.loads(text), dict)
        except (OSError, ValueError):
            text, readable = "", False
        if not readable or (file.name == _LAMBDA and not _has_intact_code(text)):
            yield file.name


def _has_intact_code(text: str) -> bool:
    """Whether the code of every function exists and matches its digest."""
    for digest in set(_BLOB.findall(text)):
        try:
            code = (services_folder() / "lambda-blobs" / f"{digest}.zip").read_bytes()
        except OSError:
            return False
        if hashlib.sha256(code).hexdigest() != digest:
            return False
    return True


def _set_aside(names: list[str]) -> list[str]:
    """Move files into the folder of damaged files; returns their names."""
    if names:
        damaged_folder().mkdir(exist_ok=True)
    for name in names:
        file = state_folder() / name
        if not file.exists():
            file = services_folder() / name
        target = damaged_folder() / f"{time.time_ns()}-{name}"
        file.replace(target)
        objects = state_folder() / "objects"
        if name == _S3 and objects.exists():
            # Without the buckets' records, the objects would be in buckets without an owner.
            objects.replace(target.with_suffix(".objects"))
    return names


def _change_port(files: Iterable[Path], before: int, after: int) -> None:
    """Replace the port in the local cloud's addresses in the files."""
    address = re.compile(rf"(?<![\w.]){re.escape(LOOPBACK)}:{before}(?!\d)")
    for file in files:
        text = file.read_text()
        changed = address.sub(f"{LOOPBACK}:{after}", text)
        if changed != text:
            with paths.atomic_write(file) as stream:
                stream.write(changed.encode())


def _records() -> Iterator[Path]:
    """The files of the records of local deployments."""
    for file in (paths.state_dir() / "deployments").rglob("*.json"):
        try:
            record = json.loads(file.read_text())
        except (OSError, ValueError):
            # The command that needs the record reports the damage.
            continue
        if isinstance(record, dict) and record.get("target") == "local":
            yield file


def _missing(before: Inventory, now: Inventory) -> list[str]:
    """The resources, messages and objects in `before` that `now` does not have, as text."""
    lines = []
    for label, held in before.items():
        if label not in now:
            lines.append(label)
        elif now[label] < held:
            what = "messages" if label.startswith("queue ") else "objects"
            lines.append(f"{held - now[label]} of {held} {what} in {label}")
    return lines


def _asu_ids(inventory: Inventory) -> list[str]:
    """The ASU IDs of the response queues."""
    names = (label.removeprefix("queue ") for label in inventory if label.startswith("queue "))
    return sorted(
        {name.removesuffix("-resp-queue") for name in names if name.endswith("-resp-queue")}
    )


def _some(things: Sequence[str]) -> str:
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return ", ".join(things[:_SHOWN]) + more


def _interrupted(saved: Saved) -> str:
    what = "The local cloud was not stopped by 'facectl local down'"
    if not saved.at:
        return f"{what}, and nothing had been saved"
    when = datetime.fromtimestamp(saved.at).astimezone().isoformat(" ", "seconds")
    return f"{what}: its queues and logs are as they were saved at {when}"
