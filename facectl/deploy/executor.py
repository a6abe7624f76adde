"""Applies the steps of a plan; with its writers the only code that changes the cloud."""

from __future__ import annotations

from typing import Any

from facectl.aws import ClientError, cloud_errors, error_code
from facectl.deploy.models import (
    Alias,
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
from facectl.deploy.writers.attached import (
    AliasWriter,
    FunctionUrlWriter,
    PermissionWriter,
    TriggerWriter,
)
from facectl.deploy.writers.base import Context, Writer
from facectl.deploy.writers.functions import FunctionWriter
from facectl.deploy.writers.images import ImageWriter, RepositoryWriter
from facectl.deploy.writers.roles import RoleWriter
from facectl.deploy.writers.storage import BucketWriter, LogGroupWriter, QueueWriter
from facectl.errors import CloudError

_WRITERS: dict[type[Resource], type[Writer[Any]]] = {
    Bucket: BucketWriter,
    Queue: QueueWriter,
    LogGroup: LogGroupWriter,
    Role: RoleWriter,
    Repository: RepositoryWriter,
    Image: ImageWriter,
    Function: FunctionWriter,
    Alias: AliasWriter,
    FunctionUrl: FunctionUrlWriter,
    Permission: PermissionWriter,
    Trigger: TriggerWriter,
}


# Error codes for a resource that already exists.
_ALREADY = {
    "BucketAlreadyOwnedByYou",
    "EntityAlreadyExists",
    "ImageAlreadyExistsException",
    "QueueAlreadyExists",
    "QueueNameExists",
    "RepositoryAlreadyExistsException",
    "ResourceAlreadyExistsException",
    "ResourceConflictException",
}


def apply_step(step: Step, context: Context) -> None:
    """Apply the step and wait until it is complete; raises CloudError.

    After an interruption, planning again from the actual state resumes the deployment.
    """
    resource = step.resource
    writer = _WRITERS[type(resource)](context)
    doing = f"{step.verb} {resource.kind} {resource.name}"
    with cloud_errors(doing, context.clients.deployment):
        match step:
            case Create():
                _create(writer, resource)
            case Update():
                writer.update(resource, step.actual)
            case Replace():
                writer.delete(step.actual)
                _create(writer, resource)
            case Delete():
                writer.delete(resource)


def _create(writer: Writer[Any], resource: Resource) -> None:
    try:
        writer.create(resource)
    except ClientError as error:
        if error_code(error) not in _ALREADY:
            raise
        raise CloudError(
            f"The {resource.kind} {resource.name} appeared while this deploy ran: "
            f"is another one running? ({error_code(error)})",
            hint="facectl deploy, when the other has finished",
        ) from error
