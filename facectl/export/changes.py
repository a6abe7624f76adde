"""The commands that change a deployment which a template made, in place of `facectl deploy`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from facectl.context import Deployment
from facectl.deploy.models import Template
from facectl.deploy.status import ResourceStatus, Status
from facectl.export import cloudformation

# The file that documentation and help name.
TEMPLATE_FILE = "facectl.json"
VARIABLES_FILE = "images.auto.tfvars.json"
_CHANGE_SET = "facectl-drift"
# What a function has of its image.
_OF_IMAGES = {"code", "digest"}


@dataclass(frozen=True, slots=True)
class Advice:
    """Commands, and the situation in which they are right."""

    when: str
    commands: tuple[str, ...]


def stack_name(deployment: Deployment) -> str:
    """The name of the stack that `facectl export` suggests: stacks allow no underscore."""
    return f"facectl-{deployment.asu_id.replace('_', '-')}"


def update_stack(deployment: Deployment, stack: str, file: str = TEMPLATE_FILE) -> str:
    """The command that creates or updates a stack."""
    return (
        f"aws cloudformation deploy --template-file {file} --stack-name {stack} "
        f"--region {deployment.region} --capabilities CAPABILITY_NAMED_IAM"
    )


def update_images(deployment: Deployment, stack: str, file: str = TEMPLATE_FILE) -> str:
    """The command that pushes the images of this computer and has the stack use them."""
    push = f"$(facectl push {deployment.key.flags})"
    return f"{update_stack(deployment, stack, file)} --parameter-overrides {push}"


def push_variables(deployment: Deployment) -> str:
    """The command that pushes the images and writes their URIs for Terraform."""
    return f"facectl push {deployment.key.flags} --json > {VARIABLES_FILE}"


def advice(template: Template, deployment: Deployment, found: Status) -> list[Advice]:
    """What to run against the drift of a deployment that a template made; empty without drift."""
    differing = [each for each in found.resources if each.state != "ok"]
    if not differing:
        return []
    images = any(map(_has_other_image, differing))
    settings = any(map(_has_other_settings, differing))
    make = _of_stack if template.form == "cloudformation" else _of_terraform
    return [
        *make(template, deployment, images=images, settings=settings),
        Advice(
            "It was changed there, and this computer remembers what it was before",
            (f"facectl context add {deployment.key.flags}",),
        ),
    ]


def owner(template: Template) -> str:
    """What made the deployment, as in `CloudFormation (stack facectl-42)`."""
    if template.form == "terraform":
        return "Terraform"
    return f"CloudFormation (stack {template.stack})" if template.stack else "CloudFormation"


def _of_stack(
    template: Template, deployment: Deployment, *, images: bool, settings: bool
) -> Iterator[Advice]:
    stack = template.stack or stack_name(deployment)
    if images:
        yield Advice(
            "The functions should have the images that this computer builds",
            (update_images(deployment, stack),),
        )
    if settings:
        # An update with an equal template changes nothing. Without their previous values the
        # parameters would be empty, which removes the functions. Source: CloudFormation User
        # Guide, "Using drift-aware change sets"; API Reference, Parameter, UsePreviousValue.
        which = f"--stack-name {stack} --region {deployment.region} --change-set-name {_CHANGE_SET}"
        kept = " ".join(
            f"ParameterKey={name},UsePreviousValue=true" for name in cloudformation.IMAGES.values()
        )
        yield Advice(
            "Something else changed the resources, and they should be as in the template again",
            (
                (
                    f"aws cloudformation create-change-set {which} --deployment-mode REVERT_DRIFT "
                    "--use-previous-template --capabilities CAPABILITY_NAMED_IAM "
                    f"--parameters {kept}"
                ),
                f"aws cloudformation wait change-set-create-complete {which}",
                f"aws cloudformation execute-change-set {which}",
            ),
        )


def _of_terraform(
    _template: Template, deployment: Deployment, *, images: bool, settings: bool
) -> Iterator[Advice]:
    if images:
        yield Advice(
            "The functions should have the images that this computer builds",
            (push_variables(deployment), "terraform apply"),
        )
    if settings:
        yield Advice(
            "Something else changed the resources, and they should be as in the configuration "
            "again",
            ("terraform apply",),
        )


def _has_other_image(each: ResourceStatus) -> bool:
    """Whether other images are missing or run; a stack without images has no functions."""
    if each.kind == "function":
        return each.state == "missing" or any(c.attribute in _OF_IMAGES for c in each.changes)
    return each.kind == "image"


def _has_other_settings(each: ResourceStatus) -> bool:
    if each.kind == "function" and each.state == "differs":
        return any(c.attribute not in _OF_IMAGES for c in each.changes)
    return each.kind != "image"
