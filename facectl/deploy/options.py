"""The options of a deployment, apart from its target and its model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from facectl import records
from facectl.context import Deployment
from facectl.deploy.models import OFF, Account, Auth, Packaging, Restored, Sizing
from facectl.deploy.recipe import Architecture, Builder, BuildOptions
from facectl.errors import InputError
from lambda_src.log import METRICS_VARIABLE

_POLLERS = re.compile(r"(\d{1,5}):(\d{1,5})")
_ROLE = re.compile(r"arn:aws[\w-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_BOUNDARY = re.compile(r"arn:aws[\w-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+")
# Not an alias: IAM policies name keys by their ARN.
_KEY = re.compile(r"arn:(aws[\w-]*):kms:([\w-]+):(\d{12}):key/[\w-]+", re.ASCII)
# SNS takes ASCII addresses; these characters may be in a tag too, which records the address.
_EMAIL = re.compile(r"[\w.+=/-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)
# These apply to one deploy only.
_NOT_REMEMBERED = {"image_uris", "adopt", "rebuild", "restored"}
# This is of the computer, and its URL may contain a password.
_NOT_RECORDED = {"package_index"}
# The base image that the last deploy built on.
_PINNED = {"base_digest", "base_python"}
# Beside the options of a rollback: the version that it deployed.
_ROLLED_BACK = "rolled_back"
# Options that replace each other, and what to say instead of both.
_EXCLUSIVE = {
    ("max_concurrency", "pollers"): "--pollers 2:10",
    ("role_arn", "boundary"): "a boundary is for the roles that a deploy creates",
}


@dataclass(frozen=True)
class Options:
    """The options of `facectl deploy`; None: the last deploy's value, or the target's default.

    `memory` in MB, `timeout` in seconds. `role_arn` is an existing
    role for both functions; `boundary` the permissions boundary of created roles.
    `min_face_size`: the smallest face that is looked for, in pixels.
    `image_uris` are FUNCTION=URI of existing images.
    `adopt`: take over resources without an owner tag. `log_names`: whether the
    functions log the recognized names. `metrics`: whether log lines are CloudWatch metrics too.
    `base_digest` and `base_python` pin the base image
    until `rebuild` looks for a newer one. `alarms`: an e-mail address, or `off`.
    `kms_key`: the ARN of a key, or `off`. `restored`: what a rollback deploys.
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
    boundary: str | None = None
    packaging: Packaging | None = None
    architecture: Architecture | None = None
    base_image: str | None = None
    package_index: str | None = None
    image_uris: tuple[str, ...] = ()
    adopt: bool = False
    log_names: bool | None = None
    metrics: bool | None = None
    builder: Builder | None = None
    rebuild: bool = False
    base_digest: str | None = None
    base_python: str | None = None
    alarms: str | None = None
    kms_key: str | None = None
    min_face_size: int | None = None
    restored: Restored | None = None

    def __post_init__(self) -> None:
        if self.pollers is not None:
            # JSON stores a tuple as a list.
            object.__setattr__(self, "pollers", tuple(self.pollers))
        object.__setattr__(self, "image_uris", tuple(self.image_uris))
        if self.role_arn is not None and not _ROLE.fullmatch(self.role_arn):
            raise InputError(
                f"--role-arn {self.role_arn!r} is not the ARN of a role",
                hint="--role-arn arn:aws:iam::123456789012:role/LabRole",
            )
        if self.boundary is not None and not _BOUNDARY.fullmatch(self.boundary):
            raise InputError(
                f"--boundary {self.boundary!r} is not the ARN of a managed policy",
                hint="--boundary arn:aws:iam::123456789012:policy/NAME",
            )

        if self.alarms not in (None, OFF) and not _EMAIL.fullmatch(self.alarms):
            raise InputError(
                f"--alarms {self.alarms!r} is neither an e-mail address nor {OFF!r}",
                hint="--alarms you@example.com",
            )
        if self.kms_key not in (None, OFF) and not _KEY.fullmatch(self.kms_key):
            raise InputError(
                f"--kms-key {self.kms_key!r} is neither the ARN of a key nor {OFF!r}",
                hint="aws kms describe-key --key-id alias/NAME --query KeyMetadata.Arn",
            )

    @property
    def sizing(self) -> Sizing:
        """The sizing of the functions, with defaults for unset options."""
        chosen = {
            each.name: value
            for each in fields(Sizing)
            if (value := getattr(self, each.name)) is not None
        }
        return Sizing(**chosen)

    def key_in(self, account: Account) -> str:
        """The ARN of the KMS key, empty without one; raises InputError for one of elsewhere."""
        found = _KEY.fullmatch(self.kms_key or "")
        if found is None:
            return ""
        partition, region, number = found.groups()
        # A policy can be printed for any account.
        number = account.number if account.number == "*" else number
        if (partition, region, number) != (account.partition, account.region, account.number):
            raise InputError(
                f"--kms-key {self.kms_key} is not of this account and region: "
                f"{account.number}, {account.region}",
                hint=f"aws kms list-keys --region {account.region}",
            )
        return str(self.kms_key)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that these options set."""
        size = self.min_face_size
        return {
            **({"FACECTL_LOG_NAMES": "0"} if self.log_names is False else {}),
            **({METRICS_VARIABLE: "1"} if self.metrics else {}),
            **({} if size is None else {"FACECTL_MIN_FACE_SIZE": str(size)}),
        }

    @property
    def build(self) -> BuildOptions:
        """The options of image builds."""
        return BuildOptions(
            self.sizing.architecture,
            self.base_image,
            self.package_index,
            self.builder or "direct",
            self.base_digest or "",
            self.base_python or "",
        )

    def over(self, earlier: Options) -> Options:
        """These options, with unset ones taken from `earlier`.

        `max_concurrency` and `pollers` replace each other, as do `role_arn` and `boundary`;
        raises InputError if both are set.
        """
        own = set(_NOT_REMEMBERED)
        for pair, hint in _EXCLUSIVE.items():
            chosen = [name for name in pair if getattr(self, name) is not None]
            if len(chosen) > 1:
                first, second = (f"--{name.replace('_', '-')}" for name in pair)
                raise InputError(f"Give {first} or {second}, not both", hint=hint)
            if chosen:
                own.update(pair)
        if self.rebuild or self.base_image not in (None, earlier.base_image):
            own |= _PINNED
        kept = {
            each.name: getattr(earlier, each.name)
            for each in fields(self)
            if each.name not in own and getattr(self, each.name) is None
        }
        return replace(self, **kept)


def parse_pollers(text: str) -> tuple[int, int]:
    """The minimum and maximum number of pollers in `2:10`; raises InputError.

    The ranges are those of ProvisionedPollerConfig for SQS (Lambda API Reference).
    """
    found = _POLLERS.fullmatch(text)
    least, most = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if not 2 <= least <= 200 or not least <= most <= 10_000:
        raise InputError(
            f"--pollers {text!r} is not LEAST:MOST, with LEAST from 2 to 200 "
            "and MOST from LEAST to 10000",
            hint="--pollers 2:10",
        )
    return least, most


def remember(deployment: Deployment, options: Options) -> None:
    """Record the deployment with its options, for later deploys and `facectl status`."""
    back = {} if options.restored is None else {_ROLLED_BACK: options.restored.version}
    records.remember(deployment, {**_lasting(options), **back})


def rolled_back(deployment: Deployment) -> int | None:
    """The version that this computer went back to; None if it has deployed since."""
    found = records.options(deployment.key).get(_ROLLED_BACK)
    return found if isinstance(found, int) else None


def remember_found(deployment: Deployment, options: Options) -> None:
    """Record a deployment that something else made, with its images, for `facectl status`.

    The next deploy does not take the images over: it builds its own.
    """
    records.remember(deployment, {**_lasting(options), "image_uris": list(options.image_uris)})


def recorded(options: Options) -> dict[str, Any]:
    """The options that are recorded in the account, as JSON data."""
    return {name: value for name, value in _lasting(options).items() if name not in _NOT_RECORDED}


def of_record(data: Mapping[str, Any]) -> Options:
    """The options that `recorded` returned.

    Raises InputError, and ValueError for options or values that this facectl does not know.
    """
    kinds = get_type_hints(Options)
    for name, value in data.items():
        if name not in kinds or name in _NOT_REMEMBERED | _NOT_RECORDED:
            raise ValueError(f"this version of facectl does not know {name}")
        if not any(_is_of(value, kind) for kind in get_args(kinds[name])):
            raise ValueError(f"{name} can't be {value!r}")
    return Options(**data)


def _is_of(value: object, kind: Any) -> bool:
    """Whether a value of JSON is one of a type: a class, a Literal, or a pair of integers."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list) and [type(each) for each in value] == [int, int]
    return type(value) is kind


def _lasting(options: Options) -> dict[str, Any]:
    return {
        name: value
        for name, value in asdict(options).items()
        if name not in _NOT_REMEMBERED and value is not None
    }


def recall(deployment: Deployment) -> Options:
    """The options of the deployment's last deploy; defaults if it was never deployed."""
    data = records.options(deployment.key)
    known = {each.name for each in fields(Options)}
    try:
        return Options(**{name: value for name, value in data.items() if name in known})
    except TypeError as error:
        raise InputError(
            f"The remembered options of {deployment.key} are damaged: {error}",
            hint=f"facectl deploy {deployment.key.flags} --reset",
        ) from error
