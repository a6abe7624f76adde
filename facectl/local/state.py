"""The saved state of the local cloud: where it is, whether it is whole, and for which port.

MiniStack writes one JSON file per service and the objects of S3 one by one;
`saved.json` beside them says when, by which port, and whether all was written.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from facectl import paths
from facectl.local.inventory import Inventory
from facectl.local.settings import LOOPBACK, services_folder, state_folder

SAVED_NAME = "saved.json"

_LAMBDA, _S3 = "lambda.json", "s3.json"
_BLOB = re.compile(r'"code_blob_ref": "([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written, and when.

    `at`: seconds since 1970, 0 where nothing was written yet. `ended`: the
    cloud ended after it, so that it is the last state. `failed`: what could
    not be written, in MiniStack's words.
    """

    at: float
    port: int
    ended: bool
    failed: tuple[str, ...] = ()
    inventory: Inventory = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The state that a start begins with; `damaged` are files of it that were set aside."""

    saved: Saved | None
    damaged: tuple[str, ...] = ()


def saved_file() -> Path:
    return state_folder() / SAVED_NAME


def damaged_folder() -> Path:
    """Where damaged files are kept until the state is forgotten."""
    return state_folder() / "damaged"


def write(saved: Saved, file: Path | None = None) -> None:
    """Write down what was saved; raises OSError."""
    with paths.atomic_write(saved_file() if file is None else file) as stream:
        stream.write(json.dumps(asdict(saved)).encode())


def read() -> Saved | None:
    """What was saved last; None where nothing is known of it."""
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


def forget() -> bool:
    """Delete the state; returns whether there was any."""
    there = state_folder().exists()
    shutil.rmtree(state_folder(), ignore_errors=True)
    return there


def prepare(port: int) -> Prepared:
    """Make the saved state one that a cloud at `port` can start with.

    What is damaged is set aside; addresses with the former port get the new
    one. Until something is saved the state counts as one that was not ended.
    Raises OSError where nothing can be written.
    """
    services_folder().mkdir(parents=True, exist_ok=True)
    for folder in (state_folder(), services_folder()):
        folder.chmod(0o700)
    saved = read()
    damaged = tuple(_set_aside(list(_damaged())))
    if saved is None and saved_file().exists():
        damaged += tuple(_set_aside([saved_file().name]))
    if saved is not None and saved.port != port:
        _move(services_folder().glob("*.json"), saved.port, port)
        _move(_records(), saved.port, port)
    write(replace(saved or Saved(0.0, port, False), port=port, ended=False, failed=()))
    return Prepared(saved, damaged)


def _damaged() -> Iterator[str]:
    """The names of the services' files that can't be restored, each with those that need it."""
    for file in sorted(services_folder().glob("*.json")):
        try:
            text = file.read_text()
            readable = isinstance(json.loads(text), dict)
        except (OSError, ValueError):
            text, readable = "", False
        if not readable or (file.name == _LAMBDA and not _whole_code(text)):
            yield file.name


def _whole_code(text: str) -> bool:
    """Whether the code of every function is there as it was."""
    for digest in set(_BLOB.findall(text)):
        try:
            code = (services_folder() / "lambda-blobs" / f"{digest}.zip").read_bytes()
        except OSError:
            return False
        if hashlib.sha256(code).hexdigest() != digest:
            return False
    return True


def _set_aside(names: list[str]) -> list[str]:
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
            # Objects without their bucket's owner would be a bucket that belongs to nobody.
            objects.replace(target.with_suffix(".objects"))
    return names


def _move(files: Iterable[Path], before: int, after: int) -> None:
    """Give the addresses in the files another port."""
    address = re.compile(rf"(?<![\w.]){re.escape(LOOPBACK)}:{before}(?!\d)")
    for file in files:
        text = file.read_text()
        moved = address.sub(f"{LOOPBACK}:{after}", text)
        if moved != text:
            with paths.atomic_write(file) as stream:
                stream.write(moved.encode())


def _records() -> Iterator[Path]:
    """The files in which deployments to the local cloud are remembered."""
    for file in (paths.state_dir() / "deployments").rglob("*.json"):
        try:
            record = json.loads(file.read_text())
        except (OSError, ValueError):
            # Whoever needs the record says that it is damaged.
            continue
        if isinstance(record, dict) and record.get("target") == "local":
            yield file
