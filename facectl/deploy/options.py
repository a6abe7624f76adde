"""What a deployment may be told, beside where it goes and which model it runs."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from facectl import paths
from facectl.context import Target
from facectl.deploy.models import Auth, Packaging, Sizing
from facectl.deploy.recipe import Architecture, BuildOptions
from facectl.errors import InputError

_POLLERS = re.compile(r"(\d{1,4}):(\d{1,4})")
_ROLE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+")
# Said for one run: an image that was given once is not what later runs build.
_NOT_REMEMBERED = {"image_uris", "adopt"}


@dataclass(frozen=True)
class Options:
    """The choices of `facectl deploy`; None leaves one to what was chosen before, or to the target.

    `memory` in MB, `timeout` in seconds. `role_arn` is a role for both
    functions, where none can be made. `image_uris` are FUNCTION=URI of images
    that are built already. `adopt`: take over resources that facectl did not make.
    `log_names`: whether the functions' logs may say who was seen.
    """

    memory: int | None = None
    timeout: int | None = None
    batch_size: int | None = None
    reserved_concurrency: int | None = None
    provisioned_concurrency: int | None = None
    max_concurrency: int | None = None
    pollers: tuple[int, int] | None = None
    auth: Auth | None = None
    role_arn: str | None = None
    packaging: Packaging | None = None
    architecture: Architecture | None = None
    base_image: str | None = None
    package_index: str | None = None
    image_uris: tuple[str, ...] = ()
    adopt: bool = False
    log_names: bool | None = None

    def __post_init__(self) -> None:
        if self.pollers is not None:
            # JSON has no tuples.
            object.__setattr__(self, "pollers", tuple(self.pollers))
        if self.role_arn is not None and not _ROLE.fullmatch(self.role_arn):
            raise InputError(
                f"--role-arn {self.role_arn!r} is not the ARN of a role",
                hint="--role-arn arn:aws:iam::123456789012:role/LabRole",
            )

    @property
    def sizing(self) -> Sizing:
        """How large the functions are to be."""
        chosen = {
            each.name: value
            for each in fields(Sizing)
            if (value := getattr(self, each.name)) is not None
        }
        return Sizing(**chosen)

    @property
    def environment(self) -> dict[str, str]:
        """What the functions are told of these choices."""
        return {"FACECTL_LOG_NAMES": "0"} if self.log_names is False else {}

    @property
    def build(self) -> BuildOptions:
        """How images are built."""
        return BuildOptions(self.sizing.architecture, self.base_image, self.package_index)

    def over(self, earlier: Options) -> Options:
        """These choices, and the earlier ones where these say nothing."""
        kept = {
            each.name: getattr(earlier, each.name)
            for each in fields(self)
            if each.name not in _NOT_REMEMBERED and getattr(self, each.name) is None
        }
        return replace(self, **kept)


def parse_pollers(text: str) -> tuple[int, int]:
    """The least and most pollers of `2:10`; raises InputError.

    At least 2 and at most 2,000, by AWS's documentation of SQS' provisioned mode.
    """
    found = _POLLERS.fullmatch(text)
    least, most = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if not 2 <= least <= most <= 2000:
        raise InputError(f"--pollers {text!r} is not LEAST:MOST, from 2 to 2000", hint="2:10")
    return least, most


def remember(asu_id: str, target: Target, options: Options) -> None:
    """Write the choices down, for later runs and for `facectl status`."""
    data = {
        name: value
        for name, value in asdict(options).items()
        if name not in _NOT_REMEMBERED and value is not None
    }
    with paths.atomic_write(_file(asu_id)) as stream:
        stream.write(json.dumps({"target": target, "options": data}, indent=2).encode())


def recall(asu_id: str, target: Target) -> Options:
    """The choices of the last deploy to this target; none where there was none."""
    file = _file(asu_id)
    if not file.exists():
        return Options()
    try:
        data = json.loads(file.read_text())
        return Options(**data["options"]) if data["target"] == target else Options()
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} is damaged: {error}", hint=f"rm {file}") from error


def forget(asu_id: str) -> None:
    """Remove what was written down."""
    _file(asu_id).unlink(missing_ok=True)


def _file(asu_id: str) -> Path:
    return paths.state_dir() / "deployments" / f"{asu_id}.options.json"
