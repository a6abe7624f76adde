"""Builds the images of the functions and pushes them, without deploying them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.context import Deployment
from facectl.deploy import options as remembered
from facectl.deploy.access import read_account
from facectl.deploy.deployer import Progress
from facectl.deploy.executor import apply_step
from facectl.deploy.image_digests import resolved
from facectl.deploy.models import Account
from facectl.deploy.options import Options
from facectl.deploy.packages import packages
from facectl.deploy.resources import Context, Image
from facectl.deploy.steps import Create
from facectl.errors import CloudError
from facectl.naming import FUNCTIONS
from lambda_src.vision.store import Model


@dataclass(frozen=True, slots=True)
class Push:
    """The images that the registry lacks, and the URIs of both by function."""

    clients: Clients
    account: Account
    options: Options
    steps: tuple[Create, ...]
    uris: Mapping[str, str]


def prepare(deployment: Deployment, model: Model, options: Options) -> Push:
    """Read which images the registry has; unset options are those of the last deploy or push.

    Raises InputError, and CloudError if there is no repository.
    """
    clients = Clients(deployment)
    options = replace(options.over(remembered.recall(deployment)), packaging="image")
    options = resolved(clients, options)
    account = read_account(clients)
    found = packages(model, options, account, zipped=False)
    context = Context(clients, account)
    steps, uris = [], {}
    with cloud_errors("reading the repositories", deployment):
        for function, package in zip(FUNCTIONS, (found.detection, found.recognition), strict=True):
            _check_repository(clients, function)
            uris[function] = package.digest
            image = Image(function, package.tag, package.recipe)
            if image.read(context) is None:
                steps.append(Create(image))
    return Push(clients, account, options, tuple(steps), uris)


def apply(push: Push, progress: Progress) -> None:
    """Build and push the images, and record the options of the builds; raises CloudError.

    By them `facectl status` knows the images that this computer builds.
    """
    deployment = push.clients.deployment
    earlier = remembered.recall(deployment)
    kept = replace(
        earlier,
        architecture=push.options.architecture,
        builder=push.options.builder,
        base_image=push.options.base_image,
        package_index=push.options.package_index,
        base_digest=push.options.base_digest,
        base_python=push.options.base_python,
    )
    remembered.remember_found(deployment, kept)
    context = Context(
        push.clients, push.account, tell=progress.tell, note=progress.note, count=progress.count
    )
    for step in push.steps:
        progress(step, False)
        apply_step(step, context)
        progress(step, True)


def _check_repository(clients: Clients, function: str) -> None:
    describe = clients.ecr.describe_repositories
    if unless_missing(describe, repositoryNames=[function]) is None:
        raise CloudError(
            f"There is no repository {function} in {clients.deployment.key}",
            hint="create the stack of `facectl export cloudformation` first   or   facectl deploy",
        )
