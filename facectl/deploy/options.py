"""What a deployment may be told, beside where it goes and which model it runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from facectl.deploy.images import BuildOptions
from facectl.deploy.models import Auth, Packaging, Sizing
from facectl.errors import InputError

_ROLE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+")


@dataclass(frozen=True)
class Options:
    """The choices of `facectl deploy`; None leaves a choice to the target.

    `image_uris` are FUNCTION=URI of images that are built already. `role_arn`
    is a role for both functions, where none can be made. `adopt`: take over
    resources that facectl did not make.
    """

    sizing: Sizing = field(default_factory=Sizing)
    auth: Auth | None = None
    role_arn: str | None = None
    packaging: Packaging | None = None
    image_uris: tuple[str, ...] = ()
    build: BuildOptions = field(default_factory=BuildOptions)
    adopt: bool = False

    def __post_init__(self) -> None:
        if self.role_arn is not None and not _ROLE.fullmatch(self.role_arn):
            raise InputError(
                f"--role-arn {self.role_arn!r} is not the ARN of a role",
                hint="--role-arn arn:aws:iam::123456789012:role/LabRole",
            )
