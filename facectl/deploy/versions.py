"""Records successful deploys in the deployment's bucket, where every computer finds them.

    deployments/000007.json            images, options and model of the seventh recorded deploy
    deployments/packages/<sha256>.zip  the code of functions that run without images

A number is taken by a conditional write, so that two computers can't record the same one.
The last ten are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata
from itertools import islice
from typing import Any, get_args

from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.deploy.image_digests import image_digest
from facectl.deploy.models import DesiredState, Package, Packages, Packaging, Sizing, TargetCloud
from facectl.deploy.options import Options, recorded
from facectl.errors import CloudError, FacectlError
from facectl.gallery.bucket import GalleryBucket
from facectl.naming import DEPLOYMENTS, DETECTION_FUNCTION, FUNCTIONS, RECOGNITION_FUNCTION
from lambda_src.vision.store import Model

KEPT = 10
# Increased when an earlier facectl can't read new records.
_FORMAT = 1
_NAME = re.compile(rf"{DEPLOYMENTS}(\d{{6,}})\.json")
# The base image is part of the images.
_PINS = {"base_digest", "base_python"}
# Retries after another computer took the number.
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """The model of a deploy: its name on that computer, embedding space and precision."""

    name: str
    space: str
    precision: str
    synthetic: bool


@dataclass(frozen=True, slots=True)
class Content:
    """What a deploy deployed.

    `code`: by function, the URI of the image or the base64 sha256 of the zip. `digests`: by
    function, the image's; empty where the registry does not tell it. `options`: those that
    were set, by their names in `facectl.deploy.options.Options`; `defaults`: the values of
    others that were not, which another version of facectl may have other defaults for.
    """

    model: RecordedModel
    packaging: Packaging
    code: Mapping[str, str]
    digests: Mapping[str, str]
    options: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def to_restore(self, today: Mapping[str, Any]) -> dict[str, Any]:
        """The options that deploy the same again; `today`: facectl's present defaults."""
        changed = {
            name: self.defaults[name]
            for name, value in today.items()
            if name in self.defaults and self.defaults[name] != value
        }
        return {**changed, **self.options}


@dataclass(frozen=True, slots=True)
class Version:
    """A recorded deploy. `time` is UTC, in ISO 8601; `rollback_to`: the version it restored."""

    number: int
    time: str
    facectl: str
    content: Content
    rollback_to: int | None = None

    def facts(self) -> dict[str, Any]:
        """The version as JSON data."""
        return {
            "version": self.number,
            "time": self.time,
            "facectl": self.facectl,
            "rollback_to": self.rollback_to,
            **asdict(self.content),
        }

    @classmethod
    def parse(cls, data: bytes) -> Version:
        """The version of a record; raises ValueError, TypeError and KeyError."""
        found = json.loads(data)
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise ValueError("it is damaged, or of a newer version of facectl")
        content = Content(
            RecordedModel(**found["model"]),
            _packaging(found["packaging"]),
            {function: str(found["code"][function]) for function in FUNCTIONS},
            {function: str(found["digests"][function]) for function in FUNCTIONS},
            dict(found["options"]),
            dict(found.get("defaults", {})),
        )
        back = found["rollback_to"]
        return cls(
            int(found["version"]), str(found["time"]), str(found["facectl"]), content,
            None if back is None else int(back),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Damaged:
    """A record that can't be read, and why."""

    number: int
    problem: str


def defaults(cloud: TargetCloud) -> dict[str, Any]:
    """The values of options that are not set, by name, as JSON data."""
    sizing = Sizing()
    return {
        "memory": sizing.memory,
        "timeout": sizing.timeout,
        "batch_size": sizing.batch_size,
        "architecture": sizing.architecture,
        "auth": cloud.auth,
        "packaging": cloud.packaging,
    }


def read(clients: Clients) -> list[Version | Damaged]:
    """The recorded deploys, the newest first; raises CloudError."""
    bucket = GalleryBucket(clients)
    with cloud_errors(f"reading the recorded deploys in {bucket.name}", clients.deployment):
        found = [_read(bucket, number) for number in sorted(_numbers(bucket), reverse=True)]
    return [each for each in found if each is not None]


def last(clients: Clients) -> Version | None:
    """The newest recorded deploy; None if there is none or it can't be read."""
    with suppress(FacectlError):
        return next((each for each in read(clients) if isinstance(each, Version)), None)
    return None


def newest(clients: Clients, count: int) -> list[Version]:
    """The newest recorded deploys, at most `count`; those that can't be read are left out."""
    with suppress(FacectlError):
        return list(islice(_newest_first(clients), count))
    return []


def with_digests(clients: Clients, packages: Packages) -> Packages:
    """The packages with the digests that deploys recorded for their images.

    An image's tag is the hash of what it is built from; its digest tells whether the tag still
    names what was built. Digests that can't be read are unknown.
    """
    built = {DETECTION_FUNCTION: packages.detection, RECOGNITION_FUNCTION: packages.recognition}
    wanted = {name: each for name, each in built.items() if each.tag and not each.recorded}
    found: dict[str, str] = {}
    with suppress(FacectlError):
        for version in _newest_first(clients) if wanted else ():
            for name, each in wanted.items():
                # The local cloud's registry may have another port since.
                if _path(version.content.code[name]) == _path(each.digest):
                    found.setdefault(name, version.content.digests[name])
            if len(found) == len(wanted):
                break
    detection, recognition = (
        replace(each, recorded=found.get(name, each.recorded)) for name, each in built.items()
    )
    return Packages(detection, recognition)


def record(clients: Clients, desired: DesiredState, options: Options, model: Model) -> Version:
    """Record a successful deploy, unless it equals the newest recorded one; returns the record.

    Raises CloudError.
    """
    bucket = GalleryBucket(clients)
    try:
        with cloud_errors(f"writing {DEPLOYMENTS} in {bucket.name}", clients.deployment):
            return _record(bucket, _content(clients, desired, options, model), desired, options)
    except CloudError as error:
        raise CloudError(
            f"Both functions answer, but the deploy is not recorded for a rollback: {error}",
            hint=error.hint or "facectl deploy",
        ) from error


def package(clients: Clients, version: Version) -> Package | None:
    """The zip of a version's functions; None if the bucket does not have it.

    Raises CloudError.
    """
    bucket = GalleryBucket(clients)
    digest = version.content.code[DETECTION_FUNCTION]
    with cloud_errors(f"reading the code of version {version.number}", clients.deployment):
        found = bucket.read(_package_key(digest))
    if found is None or Package.zipped(found[0]).digest != digest:
        return None
    return Package.zipped(found[0])


def changes(before: Version | None, after: Version) -> list[str]:
    """How a version differs from another one, or its options from the defaults."""
    new = after.content
    old = new if before is None else before.content
    found = [
        f"{function.removeprefix('face-')} {new.packaging}"
        for function in FUNCTIONS
        if _identity(old, function) != _identity(new, function)
    ]
    if old.model != new.model:
        found.append(f"model {_name(old.model)} → {_name(new.model)}")
    for name in sorted(old.defaults.keys() & new.defaults.keys()):
        was, now = old.defaults[name], new.defaults[name]
        if was != now:
            found.append(f"default of {name.replace('_', ' ')} {_text(was)} → {_text(now)}")
    options = {} if before is None else old.options
    for name in sorted({*options, *new.options} - _PINS):
        was, now = options.get(name), new.options.get(name)
        if was != now:
            found.append(f"{name.replace('_', ' ')} {_text(was)} → {_text(now)}")
    return found


def _record(
    bucket: GalleryBucket, content: Content, desired: DesiredState, options: Options
) -> Version:
    back = None if options.restored is None else options.restored.version
    for _ in range(_ATTEMPTS):
        numbers = _numbers(bucket)
        newest = _read(bucket, max(numbers)) if numbers else None
        if isinstance(newest, Version) and newest.content == content:
            return newest
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        number = max(numbers, default=0) + 1
        version = Version(number, now, metadata.version("facectl"), content, back)
        if content.packaging == "zip":
            # First the code: a record must not name code that is missing.
            package = desired.packages.detection
            bucket.write(_package_key(package.digest), package.archive)
        data = json.dumps({"format": _FORMAT, **version.facts()}, indent=2).encode()
        if bucket.swap(_key(number), data, None):
            _delete_old(bucket, [*numbers, number])
            return version
    raise CloudError(f"{bucket.name} is changed repeatedly by another computer")


def _delete_old(bucket: GalleryBucket, numbers: list[int]) -> None:
    """Delete all records but the last ten, and the code that only deleted records name."""
    ordered = sorted(numbers)
    old, kept = ordered[:-KEPT], ordered[-KEPT:]
    if not old:
        return
    gone, named = (
        {
            _package_key(each.content.code[DETECTION_FUNCTION])
            for number in part
            if isinstance(each := _read(bucket, number), Version)
            and each.content.packaging == "zip"
        }
        for part in (old, kept)
    )
    bucket.delete([*map(_key, old), *sorted(gone - named)])


def _content(clients: Clients, desired: DesiredState, options: Options, model: Model) -> Content:
    packages = {
        DETECTION_FUNCTION: desired.packages.detection,
        RECOGNITION_FUNCTION: desired.packages.recognition,
    }
    return Content(
        RecordedModel(model.path.name, model.space, model.precision, model.synthetic),
        desired.packages.detection.packaging,
        {function: each.digest for function, each in packages.items()},
        {function: _digest(clients, function, each) for function, each in packages.items()},
        # As it is read: JSON has no tuples.
        json.loads(json.dumps(recorded(options))),
        {
            name: value
            for name, value in defaults(desired.cloud).items()
            if getattr(options, name) is None
        },
    )


def _digest(clients: Clients, function: str, package: Package) -> str:
    """The digest of a function's image; empty for a zip, or if nothing tells it."""
    if package.packaging == "zip":
        return ""
    given = package.digest.partition("@")[2]
    if known := given or image_digest(clients, package.digest):
        return known
    answer = unless_missing(clients.functions.get_function, FunctionName=function)
    return answer["Code"].get("ResolvedImageUri", "").partition("@")[2] if answer else ""


def _newest_first(clients: Clients) -> Iterator[Version]:
    """The records that can be read, each read when it is needed; raises CloudError."""
    bucket = GalleryBucket(clients)
    with cloud_errors(f"reading the recorded deploys in {bucket.name}", clients.deployment):
        for number in sorted(_numbers(bucket), reverse=True):
            found = _read(bucket, number)
            if isinstance(found, Version):
                yield found


def _path(uri: str) -> str:
    """Repository and tag of an image."""
    return uri.partition("/")[2]


def _numbers(bucket: GalleryBucket) -> list[int]:
    listed = unless_missing(bucket.listed, DEPLOYMENTS) or []
    return [int(found.group(1)) for item in listed if (found := _NAME.fullmatch(item.key))]


def _read(bucket: GalleryBucket, number: int) -> Version | Damaged | None:
    """A recorded deploy; None if it was deleted since the listing."""
    found = bucket.read(_key(number))
    if found is None:
        return None
    try:
        version = Version.parse(found[0])
        if version.number != number:
            raise ValueError(f"it is of version {version.number}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return Damaged(number, f"{_key(number)} can't be read: {type(error).__name__}: {error}")
    return version


def _key(number: int) -> str:
    return f"{DEPLOYMENTS}{number:06d}.json"


def _package_key(digest: str) -> str:
    # Base64 has slashes, which would be folders.
    name = digest.replace("/", "_").replace("+", "-")
    return f"{DEPLOYMENTS}packages/{name}.zip"


def _packaging(text: str) -> Packaging:
    for known in get_args(Packaging):
        if text == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"packaging {text!r} is unknown")


def _identity(content: Content, function: str) -> str:
    return content.digests[function] or content.code[function]


def _name(model: RecordedModel) -> str:
    return f"{model.name}, {model.precision}"


def _text(value: object) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ":".join(map(str, value)) if isinstance(value, list) else str(value)
