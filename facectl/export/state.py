"""The desired state of a template: account and images are filled in where the template is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from facectl.context import Deployment
from facectl.deploy.access import account_of, fitting_concurrency
from facectl.deploy.desired import cloud
from facectl.deploy.models import Account, DesiredState, Package, Packages
from facectl.deploy.options import Options
from facectl.deploy.packages import given_packages
from facectl.deploy.resources import (
    Alarm,
    Function,
    LogGroup,
    Queue,
    Repository,
    Resource,
    Role,
)
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names


@dataclass(frozen=True, slots=True)
class Dialect:
    """The expressions of a format: those of the account, and of the image of each function."""

    account: Account
    images: Mapping[str, str]


def desired_state(deployment: Deployment, options: Options, dialect: Dialect) -> DesiredState:
    """The desired state for the options, with the expressions of a dialect.

    What deploy derives from the limits of the account is as in an account whose limits are not
    known. Without given images there are repositories for them. Raises InputError.
    """
    target = cloud("aws", options.packaging)
    # They are parameters of the template; a tag stands for images of one's own repositories.
    tag = "" if given_packages(options.image_uris) else "parameter"
    detection, recognition = (
        Package("image", dialect.images[function], tag=tag)
        for function in (DETECTION_FUNCTION, RECOGNITION_FUNCTION)
    )
    sizing = options.sizing
    if sizing.pollers is None and sizing.max_concurrency is None:
        most = fitting_concurrency(target.recognition_concurrency, None)
        sizing = replace(sizing, max_concurrency=most)
    return DesiredState(
        names=deployment.names,
        account=dialect.account,
        cloud=target,
        packages=Packages(detection, recognition),
        sizing=sizing,
        environment=options.environment,
        role_arn=options.role_arn,
        boundary=options.boundary,
        auth=options.auth or target.auth,
        alarms=options.alarms,
        # A key is of one account and region: the template then is too.
        kms_key=options.key_in(account_of(deployment)),
    )


def given_images(options: Options) -> dict[str, str]:
    """The URIs of given images by function; empty without any. Raises InputError."""
    return {name: package.digest for name, package in given_packages(options.image_uris).items()}


def label(resource: Resource, names: Names) -> str:
    """The name of a resource inside a template, unique among those of its kind, as `dead-letter`.

    Empty for a kind of which a deployment has one at most.
    """
    if isinstance(resource, (Role, Queue)):
        return {
            names.detection_role: "detection",
            names.recognition_role: "recognition",
            names.request_queue: "request",
            names.response_queue: "response",
            names.dead_letter_queue: "dead-letter",
        }[resource.name]
    if isinstance(resource, (Function, Repository)):
        return stage(resource.name)
    if isinstance(resource, LogGroup):
        return stage(resource.function[1])
    if isinstance(resource, Alarm):
        return resource.name.removeprefix(names.alarm(""))
    return ""


def stage(function: str) -> str:
    """`detection` or `recognition`."""
    return function.removeprefix("face-")


def mapped(value: Any, change: Callable[[str], Any]) -> Any:
    """A JSON value whose strings are replaced by `change` of them; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(each, change) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [mapped(each, change) for each in value]
    return value
