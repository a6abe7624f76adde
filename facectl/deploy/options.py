"""What a deployment may be told, beside where it goes and which model it runs."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields, replace

from facectl import records
from facectl.context import Deployment
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


def remember(deployment: Deployment, options: Options) -> None:
    """Write the deployment and its choices down, for later runs and for `facectl status`."""
    data = {
        name: value
        for name, value in asdict(options).items()
        if name not in _NOT_REMEMBERED and value is not None
    }
    records.remember(deployment, data)


def recall(deployment: Deployment) -> Options:
    """The choices of this deployment's last deploy; none where there was none."""
    data = records.options(deployment.key)
    known = {each.name for each in fields(Options)}
    try:
        return Options(**{name: value for name, value in data.items() if name in known})
    except TypeError as error:
        raise InputError(
            f"The remembered options of {deployment.key} are damaged: {error}",
            hint=f"facectl deploy {deployment.key.flags} --reset",
        ) from error
