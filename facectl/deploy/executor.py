"""Applies the steps of a plan; only this module changes resources."""

from __future__ import annotations

from facectl.aws import ClientError, cloud_errors, error_code
from facectl.deploy.resources import Context, Resource
from facectl.deploy.steps import Create, Delete, Replace, Step, Update
from facectl.errors import CloudError

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
    doing = f"{step.verb} {resource.kind} {resource.name}"
    with cloud_errors(doing, context.clients.deployment):
        match step:
            case Create():
                _create(resource, context)
            case Update():
                resource.update(context, step.actual)
            case Replace():
                step.actual.delete(context)
                _create(resource, context)
            case Delete():
                resource.delete(context)


def _create(resource: Resource, context: Context) -> None:
    try:
        resource.create(context)
    except ClientError as error:
        if error_code(error) not in _ALREADY:
            raise
        raise CloudError(
            f"The {resource.kind} {resource.name} appeared while this deploy ran: "
            f"is another one running? ({error_code(error)})",
            hint="facectl deploy, when the other has finished",
        ) from error
