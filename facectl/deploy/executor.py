"""Carries steps out. With its writers the only part of this folder that changes the cloud."""

from __future__ import annotations

from typing import Any

from facectl.aws import cloud_errors
from facectl.deploy.models import (
    Bucket,
    Create,
    Delete,
    Function,
    FunctionUrl,
    Image,
    LogGroup,
    Permission,
    Queue,
    Replace,
    Repository,
    Resource,
    Role,
    Step,
    Trigger,
    Update,
)
from facectl.deploy.writers.base import Context, Writer
from facectl.deploy.writers.functions import (
    FunctionUrlWriter,
    FunctionWriter,
    PermissionWriter,
    TriggerWriter,
)
from facectl.deploy.writers.images import ImageWriter, RepositoryWriter
from facectl.deploy.writers.roles import RoleWriter
from facectl.deploy.writers.storage import BucketWriter, LogGroupWriter, QueueWriter

_WRITERS: dict[type[Resource], type[Writer[Any]]] = {
    Bucket: BucketWriter,
    Queue: QueueWriter,
    LogGroup: LogGroupWriter,
    Role: RoleWriter,
    Repository: RepositoryWriter,
    Image: ImageWriter,
    Function: FunctionWriter,
    FunctionUrl: FunctionUrlWriter,
    Permission: PermissionWriter,
    Trigger: TriggerWriter,
}


def carry_out(step: Step, context: Context) -> None:
    """Do what the step says and wait until it is done; raises CloudError.

    After an interruption a new plan from what is there then finishes the work.
    """
    resource = step.resource
    writer = _WRITERS[type(resource)](context)
    doing = f"{step.verb} {resource.kind} {resource.name}"
    with cloud_errors(doing, context.clients.deployment):
        match step:
            case Create():
                writer.create(resource)
            case Update():
                writer.update(resource, step.found)
            case Replace():
                writer.delete(step.found)
                writer.create(resource)
            case Delete():
                writer.delete(resource)
