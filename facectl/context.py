"""Which deployment the commands talk to: flags, then FACECTL_* variables, then what was remembered.

A deployment is one JSON file in the state folder; `current` names the one that
commands use when nothing else is said.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

from facectl import paths
from facectl.errors import InputError
from facectl.naming import Names

Target = Literal["aws", "local"]
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What flags and FACECTL_* variables say; None where they say nothing."""

    asu_id: str | None = None
    target: Target | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment: enough to reach its queues and functions without asking AWS."""

    asu_id: str
    target: Target
    region: str = DEFAULT_REGION
    profile: str | None = None
    endpoint_url: str | None = None
    function_url: str | None = None
    # Of the model that was deployed: shown wherever a name is.
    space: str | None = None
    synthetic: bool = False
    # Who may call the Function URL; None where it was not deployed from here.
    auth: Literal["iam", "none"] | None = None

    @property
    def names(self) -> Names:
        return Names(self.asu_id)

    @property
    def signs(self) -> bool:
        """Whether requests to the Function URL have to be signed."""
        return self.target == "aws" if self.auth is None else self.auth == "iam"


def _folder() -> Path:
    return paths.state_dir() / "deployments"


def _file(asu_id: str) -> Path:
    return _folder() / f"{asu_id}.json"


def remember(deployment: Deployment) -> Path:
    """Write the deployment down and make it the current one."""
    file = _file(deployment.asu_id)
    with paths.atomic_write(file) as stream:
        stream.write(json.dumps(asdict(deployment), indent=2).encode())
    with paths.atomic_write(_folder() / "current") as stream:
        stream.write(deployment.asu_id.encode())
    return file


def forget(asu_id: str) -> None:
    """Remove what was written down about a deployment."""
    _file(asu_id).unlink(missing_ok=True)
    current = _folder() / "current"
    if current.exists() and current.read_text() == asu_id:
        current.unlink()


def recall(asu_id: str | None = None) -> Deployment | None:
    """The remembered deployment of that ASU ID, or the current one; None where there is none."""
    if asu_id is None:
        current = _folder() / "current"
        if not current.exists():
            return None
        asu_id = current.read_text().strip()
    file = _file(asu_id)
    if not file.exists():
        return None
    try:
        data = json.loads(file.read_text())
        known = {field.name for field in fields(Deployment)}
        return Deployment(**{key: value for key, value in data.items() if key in known})
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file} is damaged: {error}", hint=f"facectl deploy --asu-id {asu_id}"
        ) from error


def resolve(overrides: Overrides) -> Deployment:
    """The deployment to talk to; raises InputError where nothing says which."""
    if overrides.asu_id is not None:
        Names(overrides.asu_id)
    remembered = recall(overrides.asu_id)
    if remembered is None:
        if overrides.asu_id is None:
            raise InputError(
                "No deployment yet: none is remembered on this computer and none was named",
                hint="facectl demo   or   facectl deploy --asu-id ID --target local",
            )
        remembered = Deployment(asu_id=overrides.asu_id, target=overrides.target or "aws")
    if overrides.target is not None and overrides.target != remembered.target:
        remembered = Deployment(asu_id=remembered.asu_id, target=overrides.target)
    changes = {
        key: value
        for key in ("region", "profile", "endpoint_url")
        if (value := getattr(overrides, key)) is not None
    }
    return replace(remembered, **changes)
