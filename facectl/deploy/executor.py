"""Applies the steps of a plan; only this module changes resources."""

from __future__ import annotations

from dataclasses import fields
from typing import TypeVar

from facectl.aws import ClientError, cloud_errors
from facectl.aws_errors import error_code, error_message
from facectl.deploy.planner import owner_of
from facectl.deploy.resources import Context, Resource, Tagged
from facectl.deploy.resources.base import is_existing, is_in_progress
from facectl.deploy.steps import Create, Delete, Replace, Step, Update
from facectl.errors import CloudError

R = TypeVar("R", bound=Resource)

# Error codes for a resource that already exists.
_ALREADY = {
    "BucketAlreadyOwnedByYou",
    "DuplicateRecordException",
    "EntityAlreadyExists",
    "ImageAlreadyExistsException",
    "QueueAlreadyExists",
    "QueueNameExists",
    "RepositoryAlreadyExistsException",
    "ResourceAlreadyExistsException",
}

# Calls that list may show a new resource after some seconds.
_LAG_SECONDS, _LAG_INTERVAL = 30.0, 2.0


def apply_step(step: Step, context: Context) -> None:
    """Apply the step and wait until it is complete; raises CloudError.

    After an interruption, planning again from the actual state resumes the deployment.
    """
    resource = step.resource
    doing = f"{step.verb} {resource.kind} {resource.name}"
    with cloud_errors(doing, context.clients.deployment):
        try:
            _apply(step, context)
        except ClientError as error:
            if not is_in_progress(error):
                raise
            raise CloudError(
                f"{doing}: another change of it has not ended, so another deploy is running: "
                f"{error_message(error)}",
                hint="facectl deploy, when the other has finished",
            ) from error


def _apply(step: Step, context: Context) -> None:
    match step:
        case Create(resource):
            _create(resource, context)
        case Update(resource, actual):
            resource.update(context, actual)
        case Replace(resource, actual):
            actual.delete(context)
            _create(resource, context)
        case Delete(resource):
            resource.delete(context)


def _create(resource: Resource, context: Context) -> None:
    try:
        resource.create(context)
    except ClientError as error:
        if error_code(error) not in _ALREADY and not is_existing(error):
            raise
        _complete(resource, context, error)


def _seen(resource: R, context: Context) -> R | None:
    """The actual resource as soon as AWS shows it; None if it does not for half a minute."""
    deadline = context.clock() + _LAG_SECONDS
    while (actual := context.call(resource.current, context)) is None:
        if context.clock() > deadline:
            return None
        context.sleep(_LAG_INTERVAL)
    return actual


def _complete(resource: R, context: Context, error: ClientError) -> None:
    """Complete a resource that exists although the plan found none; raises CloudError.

    It is this deploy's own if only what `create` sets last is missing: botocore repeats a call
    whose answer was lost, and calls that list or read may lag behind. Otherwise another deploy
    has created it.
    """
    actual = _seen(resource, context)
    foreign = isinstance(actual, Tagged) and not actual.belongs_to(owner_of(resource))
    if actual is not None and not foreign:
        differing = {
            each.name
            for each in fields(resource)
            if each.compare and getattr(resource, each.name) != getattr(actual, each.name)
        }
        if differing <= resource.set_later:
            if differing:
                resource.update(context, actual)
            return
    raise CloudError(
        f"The {resource.kind} {resource.name} appeared while this deploy ran: "
        f"is another one running? ({error_code(error)})",
        hint="facectl deploy, when the other has finished",
    ) from error
