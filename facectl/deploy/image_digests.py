"""Pins the images that options name to digests, before a plan is made."""

from __future__ import annotations

import re
from dataclasses import replace

from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.aws_errors import is_denied
from facectl.container_images.bases import is_file
from facectl.deploy.desired import cloud
from facectl.deploy.direct import base_image
from facectl.deploy.logins import logins
from facectl.deploy.options import Options
from facectl.deploy.recipe import default_base
from facectl.errors import CloudError, InputError
from facectl.naming import DETECTION_FUNCTION

_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([\w-]+)\.amazonaws\.com(?:\.cn)?")


def resolved(clients: Clients, options: Options) -> Options:
    """The options with the digests of their images: given ones, and the base of a build.

    The base image of a registry stays the one of the last deploy until `rebuild`, or
    another base image, is asked for. Raises InputError, CloudError.
    """
    if options.image_uris:
        uris = tuple(_with_digest(clients, uri) for uri in options.image_uris)
        return replace(options, image_uris=uris)
    if options.rebuild and options.build.builder == "docker":
        raise InputError(
            "--rebuild looks for a newer base image without Docker; with --builder docker "
            "the engine has it",
            hint="docker pull IMAGE   or   --builder direct",
        )
    packaging = cloud(clients.deployment.target, options.packaging).packaging
    if packaging == "zip" or options.build.builder == "docker":
        return options
    name = options.base_image or default_base(DETECTION_FUNCTION)
    if options.base_digest and options.base_python and not is_file(name):
        return options
    base = base_image(name, replace(options.build, base_digest=""), logins(clients))
    return replace(options, base_digest=base.digest, base_python=base.python)


def image_digest(clients: Clients, uri: str) -> str | None:
    """The digest of the image with this tag or digest, empty if ECR does not have it.

    None if it can't be looked up: it is in another registry, or the access is denied.
    """
    registry, _, path = uri.partition("/")
    name, _, digest = path.partition("@")
    repository, _, tag = name.partition(":")
    deployment = clients.deployment
    if deployment.target == "local":
        own = str(deployment.endpoint_url).partition("://")[2].rstrip("/") == registry
        account = clients.account
    else:
        found = _ECR.fullmatch(registry)
        own = found is not None and found.group(2) == deployment.region
        account = found.group(1) if found else ""
    if not own or not (tag or digest):
        return None
    try:
        with cloud_errors(f"reading {uri}", deployment):
            answer = unless_missing(
                clients.ecr.describe_images,
                registryId=account,
                repositoryName=repository,
                imageIds=[{"imageDigest": digest} if digest else {"imageTag": tag}],
            )
    except CloudError as error:
        if is_denied(error):
            # Of another account, whose repository this one may pull but not describe.
            return None
        raise
    return answer["imageDetails"][0]["imageDigest"] if answer and answer["imageDetails"] else ""


def _with_digest(clients: Clients, given: str) -> str:
    """FUNCTION=URI with the digest of the URI's tag, where ECR tells it: a tag can move."""
    function, _, uri = given.partition("=")
    registry, _, path = uri.partition("/")
    if "@" in path:
        return given
    digest = image_digest(clients, uri)
    repository = path.partition(":")[0]
    return f"{function}={registry}/{repository}@{digest}" if digest else given
