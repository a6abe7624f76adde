"""The files in which earlier versions of facectl remembered deployments.

    deployments/ID.json            the deployment, one for each ASU ID
    deployments/ID.options.json    {"target": ..., "options": {...}}
    deployments/current            the ASU ID

Once they are records (`facectl.records`) they are kept in `deployments/migrated`.
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
class Old:
    """A deployment as an earlier version remembered it."""

    deployment: Deployment
    options: Mapping[str, Any]


def present(folder: Path) -> bool:
    """Whether there are files of an earlier version."""
    return any(_files(folder))


def read(folder: Path, asu_id: str | None = None) -> Iterator[Old | InputError]:
    """Each remembered deployment, or what is wrong with its files; of one ASU ID, or of all."""
    for file in _files(folder) if asu_id is None else [folder / f"{asu_id}.json"]:
        found = _read(file)
        if found is not None:
            yield found


def put_away(folder: Path, asu_id: str) -> None:
    """Keep the files of a deployment that has become a record out of the way."""
    kept = folder / "migrated"
    kept.mkdir(exist_ok=True)
    # The deployment last: as long as it is there, the work is not done.
    for name in (f"{asu_id}{_OPTIONS}", f"{asu_id}.json"):
        if (folder / name).exists():
            (folder / name).replace(kept / name)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.json") if not file.name.endswith(_OPTIONS))


def _read(file: Path) -> Old | InputError | None:
    try:
        return _parse(file)
    except FileNotFoundError:
        # There is none, or another process has brought it over.
        return None
    except InputError as error:
        return error


def _parse(file: Path) -> Old:
    try:
        deployment = Deployment.parse(json.loads(file.read_text()))
        if deployment.asu_id != file.stem:
            raise ValueError(f"it is of {deployment.asu_id}")
    except (ValueError, TypeError, AttributeError, InputError) as error:
        raise InputError(
            f"{file} is damaged: {error}",
            hint=f"rm '{file}'; facectl deploy --asu-id {file.stem} --target aws or local",
        ) from error
    if deployment.target == "local" and deployment.asu_id == DEMO_ASU_ID:
        deployment = replace(deployment, demo=True)
    return Old(deployment, _options(file.with_name(f"{file.stem}{_OPTIONS}"), deployment))


def _options(file: Path, deployment: Deployment) -> Mapping[str, Any]:
    if not file.exists():
        return {}
    try:
        data = json.loads(file.read_text())
        options = dict(data["options"])
        # Options of the other target were not used either.
        return options if data["target"] == deployment.target else {}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} is damaged: {error}", hint=f"rm '{file}'") from error
