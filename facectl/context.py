"""Chooses the deployment of a command: flags, then FACECTL_* variables, then the current one.

A deployment is an ASU ID in one target, region and account. Each has a record
(`facectl.records`); one of the records is current.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from facectl.errors import InputError
from facectl.naming import Names, is_asu_id

Target = Literal["aws", "local"]
TARGETS: tuple[Target, ...] = ("aws", "local")
DEFAULT_REGION = "us-east-1"
# The account of MiniStack with any credentials.
LOCAL_ACCOUNT = "000000000000"
_UNKNOWN = "unknown"
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ACCOUNT = re.compile(r"\d{12}")
_KEY = re.compile(r"(?P<target>aws|local)-(?P<region>[a-z0-9-]+)-(?P<account>\d{12}|unknown)")


@dataclass(frozen=True, slots=True)
class Overrides:
    """The values of flags and FACECTL_* variables; None if unset."""

    asu_id: str | None = None
    target: Target | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    account: str | None = None

    def __post_init__(self) -> None:
        if self.asu_id is not None:
            Names(self.asu_id)
        if self.region is not None:
            check_region(self.region, "--region")
        if self.account is not None and not _ACCOUNT.fullmatch(self.account):
            raise InputError(
                f"--account {self.account!r} is not the twelve digits of an AWS account",
                hint="aws sts get-caller-identity",
            )
        if self.target == "local" and self.account not in (None, LOCAL_ACCOUNT):
            raise InputError(
                f"The local cloud has one account, {LOCAL_ACCOUNT}, not {self.account}",
                hint=f"--target aws --account {self.account}",
            )

    def match(self, key: Key) -> bool:
        """Whether every set value equals that of the key."""
        pairs = (
            (self.asu_id, key.asu_id),
            (self.target, key.target),
            (self.region, key.region),
            (self.account, key.account),
        )
        return all(None in pair or pair[0] == pair[1] for pair in pairs)

    @property
    def complete(self) -> bool:
        """Whether the values are enough to name a deployment that has no record."""
        return None not in (self.asu_id, self.target, self.region)


@dataclass(frozen=True, slots=True)
class Key:
    """The unique key of a deployment; `account` None until it is known."""

    asu_id: str
    target: Target
    region: str
    account: str | None = None

    @property
    def place(self) -> str:
        """Target, region and account, as in file names."""
        return f"{self.target}-{self.region}-{self.account or _UNKNOWN}"

    @property
    def name(self) -> str:
        """The name of the deployment's record."""
        return f"{self.asu_id}/{self.place}"

    @property
    def flags(self) -> str:
        """The flags that name this deployment and no other."""
        account = f" --account {self.account}" if self.account and self.target == "aws" else ""
        return f"--asu-id {self.asu_id} --target {self.target} --region {self.region}{account}"

    def __str__(self) -> str:
        account = f"account {self.account}" if self.account else "account not known"
        return f"{self.asu_id} on {self.target}, {self.region}, {account}"

    @classmethod
    def parse(cls, name: str) -> Key | None:
        """The key with this `name`; None for an invalid name."""
        asu_id, _, place = name.partition("/")
        found = _KEY.fullmatch(place)
        if found is None or not is_asu_id(asu_id):
            return None
        account = None if found["account"] == _UNKNOWN else found["account"]
        target: Target = "aws" if found["target"] == "aws" else "local"
        return cls(asu_id, target, found["region"], account)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment: what is needed to reach its queues and functions."""

    asu_id: str
    target: Target
    region: str = DEFAULT_REGION
    profile: str | None = None
    endpoint_url: str | None = None
    function_url: str | None = None
    # The embedding space of the deployed model, whether its weights are synthetic, and its
    # precision, None if deployed by an earlier version.
    space: str | None = None
    synthetic: bool = False
    precision: str | None = None
    # The authentication of the Function URL; None if not deployed from this computer.
    auth: Literal["iam", "none"] | None = None
    # The twelve digits of the AWS account; None until it is known.
    account: str | None = None
    # Made by `facectl demo`: a deploy of another ASU ID to the same place removes it.
    demo: bool = False

    @property
    def names(self) -> Names:
        return Names(self.asu_id)

    @property
    def key(self) -> Key:
        """The unique key of the deployment."""
        account = LOCAL_ACCOUNT if self.target == "local" else self.account
        return Key(self.asu_id, self.target, self.region, account)

    @property
    def signs(self) -> bool:
        """Whether requests to the Function URL have to be signed."""
        return self.target == "aws" if self.auth is None else self.auth == "iam"

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Deployment:
        """A deployment from its record, written by this or another version of facectl.

        Raises InputError, TypeError and ValueError.
        """
        known = {field.name for field in fields(cls)}
        found = cls(**{name: value for name, value in data.items() if name in known})
        Names(found.asu_id)
        if found.target not in TARGETS:
            raise ValueError(f"{found.target!r} is not a target")
        if Key.parse(found.key.name) != found.key:
            raise ValueError(f"{found.key} is not a deployment")
        return found


def resolve(overrides: Overrides, *, new: bool = False) -> Deployment:
    """The deployment that a command acts on; raises InputError if it is ambiguous or unknown.

    `new`: ASU ID, target and region may name a second deployment of an ASU ID that
    is deployed in another region or account.
    """
    from facectl import records

    current = records.current()
    asu_id = overrides.asu_id
    if asu_id is None:
        if current is None:
            raise _nothing_chosen(records.known())
        asu_id = current.asu_id
    if overrides.asu_id is None and current is not None and overrides.match(current):
        return _overridden(records.read(current), overrides)
    known = records.known(asu_id)
    matching = [key for key in known if overrides.match(key)]
    if len(matching) > 1:
        raise _ambiguous(asu_id, matching)
    if matching:
        return _overridden(records.read(matching[0]), overrides)
    elsewhere = [key for key in known if overrides.target in (None, key.target)]
    if elsewhere and not (new and overrides.complete):
        raise _elsewhere(elsewhere, overrides, new=new)
    target = overrides.target or "aws"
    region = overrides.region or _region(target, overrides.profile, os.environ)
    return _overridden(Deployment(asu_id, target, region), overrides)


def check_region(region: str, source: str) -> None:
    """Raise InputError for an invalid region name."""
    if len(region) > 40 or not _REGION.fullmatch(region):
        raise InputError(
            f"{source} {region!r} is not the name of a region", hint="--region us-east-1"
        )


def _overridden(deployment: Deployment, overrides: Overrides) -> Deployment:
    names = ("profile", "endpoint_url", "account")
    chosen = {name: value for name in names if (value := getattr(overrides, name)) is not None}
    return replace(deployment, **chosen)


def _region(target: Target, profile: str | None, environment: Mapping[str, str]) -> str:
    """The default region of a deployment without a region flag and a record."""
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        if region := environment.get(variable):
            check_region(region, variable)
            return region
    if target == "aws":
        from facectl.aws import profile_region

        if region := profile_region(profile):
            return region
    return DEFAULT_REGION


def _nothing_chosen(known: Sequence[Key]) -> InputError:
    if not known:
        return InputError(
            "No deployment yet: none is remembered on this computer and none was named",
            hint="facectl demo   or   facectl deploy --asu-id ID --target local",
        )
    return InputError(
        f"No deployment is current, and none was named. Recorded deployments:{_listed(known)}",
        hint=f"facectl context use {known[0].asu_id} --target {known[0].target}",
    )


def _ambiguous(asu_id: str, matching: Sequence[Key]) -> InputError:
    for flag, values in (
        ("--target", [key.target for key in matching]),
        ("--region", [key.region for key in matching]),
        ("--account", [key.account or "" for key in matching]),
    ):
        if len(set(values)) > 1:
            hint = "   or   ".join(f"{flag} {value}" for value in dict.fromkeys(values) if value)
            break
    return InputError(
        f"ASU ID {asu_id} is deployed in {len(matching)} places; say which one:{_listed(matching)}",
        hint=hint,
    )


def _elsewhere(known: Sequence[Key], overrides: Overrides, *, new: bool) -> InputError:
    if overrides.region is not None and all(key.region != overrides.region for key in known):
        where = f"not in {overrides.region}"
    else:
        where = f"not in account {overrides.account}"
    hint = known[0].flags
    if new:
        region = overrides.region or known[0].region
        second = Key(
            known[0].asu_id, overrides.target or known[0].target, region, overrides.account
        )
        hint = f"{hint}   or, for a second deployment: {second.flags}"
    return InputError(
        f"ASU ID {known[0].asu_id} is deployed elsewhere, {where}:{_listed(known)}", hint=hint
    )


def _listed(known: Sequence[Key]) -> str:
    return "".join(f"\n  {key}: {key.flags}" for key in known)
