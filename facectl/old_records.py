"""Reads the deployment files of earlier versions of facectl.

    deployments/ID.json            the deployment, one for each ASU ID
    deployments/ID.options.json    {"target": ..., "options": {...}}
    deployments/current            the ASU ID

After their migration to records (`facectl.records`) they are moved to `deployments/migrated`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facectl.context import Deployment
from facectl.errors import InputError
from facectl.naming import DEMO_ASU_ID

_OPTIONS = ".options.json"


@dataclass(frozen=True, slots=True)
class OldRecord:
    """A deployment and its options from the files of an earlier version."""

    deployment: Deployment
    options: Mapping[str, Any]


def present(folder: Path) -> bool:
    """Whether there are files of an earlier version."""
    return any(_files(folder))


def read(folder: Path, asu_id: str | None = None) -> Iterator[OldRecord | InputError]:
    """Each old record, or the error of its damaged files; of one ASU ID or of all."""
    for file in _files(folder) if asu_id is None else [folder / f"{asu_id}.json"]:
        found = _read(file)
        if found is not None:
            yield found


def archive(folder: Path, asu_id: str) -> None:
    """Move the files of a migrated deployment to the folder `migrated`."""
    kept = folder / "migrated"
    kept.mkdir(exist_ok=True)
    # The deployment last: its file marks an unfinished migration.
    for name in (f"{asu_id}{_OPTIONS}", f"{asu_id}.json"):
        if (folder / name).exists():
            (folder / name).replace(kept / name)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.json") if not file.name.endswith(_OPTIONS))


def _read(file: Path) -> OldRecord | InputError | None:
    try:
        return _parse(file)
    except FileNotFoundError:
        # There is no file, or another process migrated it.
        return None
    except InputError as error:
        return error


def _parse(file: Path) -> OldRecord:
    try:
        deployment = Deployment.parse(json.loads(file.read_text()))
        if deployment.asu_id != file.stem:
            raise ValueError(f"it describes {deployment.asu_id}")
    except (ValueError, TypeError, AttributeError, InputError) as error:
        raise InputError(
            f"{file} is damaged: {error}",
            hint=f"rm '{file}'; facectl deploy --asu-id {file.stem} --target aws or local",
        ) from error
    if deployment.target == "local" and deployment.asu_id == DEMO_ASU_ID:
        deployment = replace(deployment, demo=True)
    return OldRecord(deployment, _options(file.with_name(f"{file.stem}{_OPTIONS}"), deployment))


def _options(file: Path, deployment: Deployment) -> Mapping[str, Any]:
    if not file.exists():
        return {}
    try:
        data = json.loads(file.read_text())
        options = dict(data["options"])
        # Options of another target were never used.
        return options if data["target"] == deployment.target else {}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} is damaged: {error}", hint=f"rm '{file}'") from error
